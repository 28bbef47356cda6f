"""The WSGI application: the AWS API, the task metadata, and the rehearsal's own commands."""

from __future__ import annotations

import io
import json
import logging
import sys
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from ipaddress import ip_network
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from flask import Response as FlaskResponse
from moto.backends import SERVICE_NAMES
from moto.core.config import default_user_config
from moto.core.model import OperationModel
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from rehearsal.api import guard, metadata, seeds, wire
from rehearsal.api.account import Account
from rehearsal.api.errors import ApiError, PassOn
from rehearsal.api.operations import ANSWERED, MOTO, OF_THE_REGION, refusal, unplayed
from rehearsal.api.wire import Asked, Response
from rehearsal.folder import COMMANDS
from rehearsal.world import World

LIMIT = 10 << 20
JSON = "application/json"
_LOG = logging.getLogger("rehearsal.api")
_FAILED = "The rehearsal failed to answer; its log says why."
# AWS's own words for a request that nobody has signed.
_UNSIGNED = "Request is missing Authentication Token"
Headers = list[tuple[str, str]]


class TooLargeError(Exception):
    """A body is larger than any of AWS's that is answered here."""


class UnplayedError(Exception):
    """Moto would answer for a service that is not passed on to it; its argument is which."""


class Application:
    """Answers for one World; `control` takes the rehearsal's own commands.

    Raises nothing: an error that nobody foresaw is logged, and the client is told no more than
    that there was one.
    """

    def __init__(
        self, world: World, *, control: WSGIApplication | None = None, token: str = ""
    ) -> None:
        self.account = Account(world)
        self._world = world
        self._control = control
        self._token = token
        # Beside the list of what is passed on: its own defaults are to start containers.
        default_user_config["batch"] = {"use_docker": False}
        default_user_config["lambda"] = {"use_docker": False}
        self._moto = DomainDispatcherApplication(_backend)
        self._sown: object = None
        self.sow()

    def listening(
        self, names: Collection[str], port: int, *, subnet: str | None = None
    ) -> WSGIApplication:
        """Give the application as one socket serves it.

        A `subnet` says that it serves the containers of a network: it answers to addresses of
        this CIDR block alone. Containers do not see the commands.
        """
        allowed = guard.names_of(names, port)
        machine = guard.names_of(guard.MACHINE_NAMES, port)
        peers = None if subnet is None else ip_network(subnet, strict=False)

        def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            inside = peers is not None or str(environ.get("HTTP_HOST", "")).lower() in machine
            why = guard.forbidden(environ, names=allowed | machine, token=self._token, peers=peers)
            if why:
                return _send(start_response, _plain(environ, 403, why))
            try:
                return self._answer(environ, start_response, inside=inside)
            except TooLargeError:
                words = f"Bodies end at {LIMIT} bytes."
                return _send(start_response, _plain(environ, 413, words))
            except Exception:
                _LOG.exception("%s %s", environ.get("REQUEST_METHOD"), environ.get("PATH_INFO"))
                return _send(start_response, _plain(environ, 500, _FAILED), failed=True)

        return serve

    def sow(self) -> None:
        """Tell moto of a new assembly, once."""
        with self._world.lock:
            if self._sown is self._world.graph:
                return
            if self._sown is not None:
                self.account.updated = self.account.wall(self.account.now())
            self._sown = self._world.graph
            seeds.sow(self.account)

    def call(self, operation: OperationModel, parameters: wire.Parameters) -> wire.Answer:
        """Answer an operation from the World; raise ApiError or PassOn."""
        service = operation.service_model.service_name
        answer = ANSWERED[service][operation.name]
        with self._world.lock:
            return answer(self.account, parameters)

    def _answer(
        self, environ: WSGIEnvironment, start_response: StartResponse, *, inside: bool
    ) -> Iterable[bytes]:
        path = str(environ.get("PATH_INFO", ""))
        body = _read(environ)
        if path.startswith(COMMANDS):
            if inside or self._control is None:
                return _send(start_response, _plain(environ, 404, "There is nothing here."))
            return self._control(environ, start_response)
        if path.startswith(metadata.PREFIX):
            return _send(start_response, self._metadata(environ, path))
        if not str(environ.get("HTTP_AUTHORIZATION", "")).startswith("AWS4-"):
            unsigned = ApiError("MissingAuthenticationToken", _UNSIGNED, status=403)
            return _send(start_response, wire.error_of(environ, unsigned))
        self.sow()
        response = self._aws(environ, body)
        if response is not None:
            return _send(start_response, response)
        return self._pass_on(environ, start_response)

    def _metadata(self, environ: Mapping[str, Any], path: str) -> Response:
        if environ.get("REQUEST_METHOD") != "GET":
            return _plain(environ, 405, "The task metadata is there to be read.")
        found = metadata.answer(self.account, path)
        if found is None:
            return _plain(environ, 404, "There is no such container, or no such document.")
        return Response(200, JSON, json.dumps(found).encode(), str(uuid.uuid4()))

    def _aws(self, environ: Mapping[str, Any], body: bytes) -> Response | None:
        """Answer an operation of AWS's; None where that is for moto."""
        try:
            asked = wire.identify(environ, body)
        except ApiError as error:
            return wire.error_of(environ, error)
        if asked is None or asked.service not in OF_THE_REGION:
            return None
        operation = wire.operation_of(asked)
        if operation is None:
            words = f"{asked.service} has no operation {asked.operation:.100}."
            return wire.error_of(environ, ApiError("UnknownOperationException", words))
        try:
            return self._answered(asked, operation, environ, body)
        except ApiError as error:
            return wire.error(operation, error)
        except Exception:
            _LOG.exception("%s.%s", asked.service, asked.operation)
            return wire.error(
                operation,
                ApiError(
                    "ServerException" if asked.service == "ecs" else "InternalFailure",
                    _FAILED,
                    status=500,
                ),
            )

    def _answered(
        self, asked: Asked, operation: OperationModel, environ: Mapping[str, Any], body: bytes
    ) -> Response | None:
        if asked.region != self.account.region:
            raise ApiError(
                "InvalidParameterException" if asked.service == "ecs" else "ValidationError",
                f"The rehearsal is in {self.account.region}, and was asked about {asked.region}; "
                f"set AWS_REGION and AWS_DEFAULT_REGION to {self.account.region}",
            )
        if asked.operation not in ANSWERED.get(asked.service, {}):
            error = refusal(asked.service, asked.operation)
            if error is not None:
                raise error
            if asked.service == "cloudwatch":
                with self._world.lock:
                    seeds.tell_alarms(self.account)
            return None
        parameters = wire.parse(operation, environ, body)
        try:
            return wire.answer(operation, self.call(operation, parameters))
        except PassOn:
            return None

    def _pass_on(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Let moto answer for what is its part; what it would tell other sites is left out."""
        service = wire.signed_for(environ)

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:  # noqa: ANN401
            kept = [one for one in headers if not one[0].lower().startswith("access-control-")]
            return start_response(status, kept + _always(), exc_info)

        try:
            if service not in MOTO:
                raise UnplayedError(service or "of a signature that names none")
            answer: Iterable[bytes] = self._moto(environ, start)
        except UnplayedError as error:
            return _send(start_response, wire.error_of(environ, unplayed(str(error))))
        return answer


def _backend(service: SERVICE_NAMES) -> Flask:
    """Make moto's application of a service; raise UnplayedError for what is none of its part.

    By its path a request may be for another service than its signature says, to moto.
    """
    if service not in MOTO.values():
        raise UnplayedError(service)
    made = create_backend_app(service)
    made.register_error_handler(NotImplementedError, _left_out)
    return made


def _left_out(error: NotImplementedError) -> FlaskResponse:
    """Refuse an operation that moto has left out, which it tells of by this exception."""
    words = f"The rehearsal does not play this operation: {error}"
    found = wire.error_of(request.environ, ApiError("NotImplemented", words, status=501))
    return FlaskResponse(found.body, found.status, content_type=found.content_type)


def _read(environ: WSGIEnvironment) -> bytes:
    """Read a body, within bounds, and put it back for whoever reads it next."""
    stream = environ["wsgi.input"]
    length = environ.get("CONTENT_LENGTH")
    if length:
        if not str(length).isdecimal() or int(length) > LIMIT:
            raise TooLargeError
        body: bytes = stream.read(int(length))
    elif environ.get("wsgi.input_terminated"):
        body = stream.read(LIMIT + 1)
        if len(body) > LIMIT:
            raise TooLargeError
    else:
        body = b""
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ.pop("wsgi.input_terminated", None)
    return body


def _plain(environ: Mapping[str, Any], status: int, text: str) -> Response:
    """Make an error in no protocol of AWS's; those of the commands are told as `error`."""
    is_command = str(environ.get("PATH_INFO", "")).startswith(COMMANDS)
    body = json.dumps({"error" if is_command else "message": text}).encode()
    return Response(status, JSON, body, str(uuid.uuid4()))


def _send(
    start_response: StartResponse, response: Response, *, failed: bool = False
) -> list[bytes]:
    """Send a response; one that failed may have begun, and is replaced if none of it is sent."""
    start_response(
        f"{response.status} {HTTPStatus(response.status).phrase}",
        [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            ("x-amzn-RequestId", response.request_id),
            *_always(),
        ],
        sys.exc_info() if failed else None,
    )
    return [response.body]


def _always() -> Headers:
    return [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")]
