"""AWS's protocols: which operation a request is for, its parameters, and the answer's bytes.

All of it follows botocore's own service models, in moto's reading of them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from botocore.utils import parse_timestamp
from moto.core.model import OperationModel, ServiceModel
from moto.core.parse import UNDEFINED, EC2QueryParser, QueryParser
from moto.core.serialize import EC2Serializer, QuerySerializer, SerializationContext
from moto.core.utils import get_service_model

from rehearsal.api import shapes
from rehearsal.api.errors import ApiError
from rehearsal.api.shapes import Problem

Answer = Mapping[str, Any]
Parameters = dict[str, Any]

# A service's name in a signature, where botocore knows the service by another.
_SIGNED_AS = {"elasticloadbalancing": "elbv2", "monitoring": "cloudwatch"}
_SCOPE = re.compile(
    r"^AWS4-\S+\s+Credential=[^,\s]*?/\d{8}/(?P<region>[^/,]+)/(?P<service>[^/,]+)/"
)
# The version of the classic load balancer's API, which signs by the same name.
CLASSIC = "2012-06-01"
_FORM = "application/x-www-form-urlencoded"
# Those that speak XML without forms; S3 is moto's.
_XML = {"cloudfront", "route53"}
# In every request of the query protocol, beside the parameters.
_BESIDE = {"Action", "Version", "AWSAccessKeyId", "SignatureMethod", "SignatureVersion",
           "Signature", "Timestamp", "Expires", "SecurityToken"}  # fmt: skip
_QUERY_FIELDS = 10_000
# XML cannot say these, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Asked:
    """The operation of a request, by botocore's names, and the region that it was signed for."""

    service: str
    operation: str
    region: str


@dataclass(frozen=True)
class Response:
    """What is sent back."""

    status: int
    content_type: str
    body: bytes
    request_id: str


def signed_for(environ: Mapping[str, Any]) -> str:
    """Give the service that a request is signed for, by its name in signatures; else nothing."""
    scope = _scope(environ)
    return scope["service"].lower() if scope else ""


def identify(environ: Mapping[str, Any], body: bytes) -> Asked | None:
    """Tell which operation a signed request is for; None where it does not say."""
    scope = _scope(environ)
    if scope is None:
        return None
    service = scope["service"].lower()
    target = str(environ.get("HTTP_X_AMZ_TARGET", ""))
    operation = target.rpartition(".")[2]
    if not operation:
        fields = dict(_fields(environ, body))
        operation = fields.get("Action", "")
        if service == "elasticloadbalancing" and fields.get("Version") == CLASSIC:
            return None
    if not operation:
        return None
    return Asked(_SIGNED_AS.get(service, service), operation, scope["region"])


def _scope(environ: Mapping[str, Any]) -> re.Match[str] | None:
    return _SCOPE.match(str(environ.get("HTTP_AUTHORIZATION", "")))


def operation_of(asked: Asked) -> OperationModel | None:
    """Give the model of an operation; None where there is none of that name."""
    service = model(asked.service)
    if asked.operation not in service.operation_names:
        return None
    found: OperationModel = service.operation_model(asked.operation)
    return found


@cache
def model(service: str) -> ServiceModel:
    """Give botocore's model of a service."""
    return get_service_model(service)


def parse(operation: OperationModel, environ: Mapping[str, Any], body: bytes) -> Parameters:
    """Read and check the parameters of a request; raise ApiError as AWS would."""
    protocol = protocol_of(operation)
    if protocol == "json":
        found = _parse_json(body)
    else:
        found = _parse_query(operation, dict(_fields(environ, body)), protocol)
    if operation.input_shape is not None:
        for problem in shapes.problems(operation.input_shape, found):
            raise _refuse(operation, problem)
    elif found:
        raise _refuse(operation, Problem("unknown", next(iter(found)), None, "no parameter"))
    return {name: value for name, value in found.items() if value is not None}


def protocol_of(operation: OperationModel) -> str:
    """Name the protocol in which an operation's requests come: json, query or ec2."""
    return str(operation.service_model.metadata["protocol"])


def _parse_json(body: bytes) -> Parameters:
    try:
        found = json.loads(body or b"{}", parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError("SerializationException", f"The body is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ApiError("SerializationException", "Start of list or value found where not expected.")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


def _fields(environ: Mapping[str, Any], body: bytes) -> Iterator[tuple[str, str]]:
    texts = [str(environ.get("QUERY_STRING", ""))]
    if str(environ.get("CONTENT_TYPE", "")).startswith(_FORM):
        texts.append(body.decode("utf-8", "replace"))
    for text in texts:
        try:
            yield from parse_qsl(text, keep_blank_values=True, max_num_fields=_QUERY_FIELDS)
        except ValueError as error:
            raise ApiError("MalformedQueryString", str(error)) from None


class _Taken(dict[str, str]):
    """Fields that remember which of them were asked for, so that the others can be refused."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__(fields)
        self.taken: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        self.taken.add(key)
        return super().get(key, default)


def _parse_query(operation: OperationModel, fields: Mapping[str, str], protocol: str) -> Parameters:
    if operation.input_shape is None:
        return {name: value for name, value in fields.items() if name not in _BESIDE}
    kind = EC2QueryParser if protocol == "ec2" else QueryParser
    parser = kind(operation, timestamp_parser=_seconds)
    taken = _Taken(fields)
    try:
        found = parser.parse({"values": taken})  # type: ignore[typeddict-item]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ApiError("MalformedInput", f"A parameter is not of its type: {error}") from None
    left = sorted(set(fields) - taken.taken - _BESIDE)
    if left:
        problem = Problem("unknown", left[0], fields[left[0]], "a parameter that there is")
        raise _refuse(operation, problem)
    return {} if found is UNDEFINED else dict(found)


def _seconds(text: str) -> float:
    return float(parse_timestamp(text).timestamp())


def _refuse(operation: OperationModel, problem: Problem) -> ApiError:
    """Word a problem with a request's parameters as the service does, as far as that is known."""
    service, protocol = operation.service_model.service_name, protocol_of(operation)
    if protocol == "ec2":
        code = {"unknown": "UnknownParameter", "missing": "MissingParameter"}.get(
            problem.kind, "InvalidParameterValue"
        )
        return ApiError(code, str(problem))
    if problem.kind == "type":
        code = "SerializationException" if protocol == "json" else "MalformedInput"
        return ApiError(code, str(problem))
    if protocol == "query":
        code = "ValidationError"
    else:
        code = "InvalidParameterException" if service == "ecs" else "ValidationException"
    constraint = {
        "missing": "Member must not be null",
        "unknown": "Member must be known",
    }.get(problem.kind, f"Member must satisfy: {problem.expected}")
    shown = "null" if problem.value is None else repr(problem.value)[:100]
    return ApiError(
        code,
        f"1 validation error detected: Value {shown} at '{problem.where}' failed to satisfy "
        f"constraint: {constraint}",
    )


def answer(operation: OperationModel, result: Answer) -> Response:
    """Write an answer in its operation's protocol."""
    request_id = str(uuid.uuid4())
    protocol = protocol_of(operation)
    if protocol == "json":
        version = operation.service_model.metadata.get("jsonVersion", "1.0")
        body = json.dumps(_without_none(result)).encode()
        return Response(200, f"application/x-amz-json-{version}", body, request_id)
    kind = EC2Serializer if protocol == "ec2" else QuerySerializer
    serialized = kind(operation, SerializationContext(request_id)).serialize(_plain(result))
    text = serialized["body"]
    body = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return Response(serialized["status_code"], "text/xml", body, request_id)


def error(operation: OperationModel, failed: ApiError) -> Response:
    """Write an error in an operation's protocol."""
    return _error(
        failed,
        protocol_of(operation),
        version=operation.service_model.metadata.get("jsonVersion", "1.0"),
        namespace=operation.metadata.get("xmlNamespace", ""),
    )


def error_of(environ: Mapping[str, Any], failed: ApiError) -> Response:
    """Write an error for a request of which no more is known than what it looks like."""
    is_form = str(environ.get("CONTENT_TYPE", "")).startswith(_FORM)
    return _error(failed, "query" if is_form or signed_for(environ) in _XML else "json")


def _error(
    failed: ApiError, protocol: str, *, version: str = "1.0", namespace: str = ""
) -> Response:
    request_id = str(uuid.uuid4())
    if protocol == "json":
        body = json.dumps({"__type": failed.code, "message": failed.message})
        return Response(
            failed.status, f"application/x-amz-json-{version}", body.encode(), request_id
        )
    code, message = (escape(_NOT_XML.sub("?", one)) for one in (failed.code, failed.message))
    if protocol == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
            f"</Errors><RequestID>{request_id}</RequestID></Response>"
        )
    else:
        fault = "Receiver" if failed.status >= 500 else "Sender"
        text = (
            f'<ErrorResponse xmlns="{namespace}"><Error><Type>{fault}</Type><Code>{code}</Code>'
            f"<Message>{message}</Message></Error><RequestId>{request_id}</RequestId>"
            "</ErrorResponse>"
        )
    return Response(failed.status, "text/xml", text.encode(), request_id)


def _without_none(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, Mapping):
        return {name: _without_none(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_without_none(one) for one in value]
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Take away what XML cannot say."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items() if one is not None}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return _NOT_XML.sub("?", value) if isinstance(value, str) else value
