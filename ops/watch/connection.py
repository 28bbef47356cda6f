"""Where an environment is looked at: in an AWS account, or as a rehearsal plays it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.utils import is_valid_uri

from ops.aws import Aws
from ops.environment import Environment, Failed
from ops.preflight import identify
from ops.watch.rehearsal import STATE, NotPlayedError, Rehearsal, make_local

# A picture that is late is shown as stale, and read again; waiting for one answer helps nobody.
PATIENCE = Config(
    retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=10
)


@dataclass(frozen=True)
class Connection:
    """The clients of the place where an environment is, and what a person calls that place.

    `endpoint` is the URL of who answers in AWS's place; None for an account.
    """

    environment: Environment
    aws: Aws
    place: str
    rehearsal: Rehearsal | None = None
    endpoint: str | None = None


# Looks for the environment anew, since a rehearsal that begins again may be elsewhere.
Connect = Callable[[], Connection]


def connector(
    environment: Environment,
    *,
    endpoint: str | None = None,
    on_aws: bool = False,
    state: Path = STATE,
    variables: Mapping[str, str] = os.environ,
) -> Connect:
    """Say where to look: at `endpoint`, else $AWS_ENDPOINT_URL, else a rehearsal, else on AWS.

    `on_aws` looks on AWS whatever else there is. Where a rehearsal was found it stays one: its
    end does not turn the picture into one of an account. Raises Failed for what is no URL.
    """
    named = endpoint or variables.get("AWS_ENDPOINT_URL")
    if named and not on_aws:
        _check("--endpoint" if endpoint else "AWS_ENDPOINT_URL", named)
    seen: list[Rehearsal] = []

    def connect() -> Connection:
        if on_aws:
            return _account(environment)
        if named:
            rehearsal = Rehearsal(environment.name, named.rstrip("/"), state / environment.name)
            if seen or rehearsal.answers():
                seen[:] = [rehearsal]
                rehearsal.requests()
                return _rehearsal(environment, rehearsal)
            place = f"the endpoint {named}"
            return Connection(environment, _aws(environment, named), place, endpoint=named)
        found = Rehearsal.of(environment.name, state)
        if found is not None:
            seen[:] = [found]
            return _rehearsal(environment, found)
        if seen:
            raise NotPlayedError(seen[0].gone)
        try:
            return _account(environment)
        except Failed as failed:
            begin = f"{make_local(environment.name)} begins one"
            raise Failed(
                f"no rehearsal of {environment.name} is played here ({begin}), and on AWS:",
                *failed.lines,
            ) from failed

    return connect


def _check(place: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        # That of a port that is none raises.
        good = parts.scheme in {"http", "https"} and is_valid_uri(url) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise Failed(
            f"{place}: expected http:// or https:// and a host, as http://127.0.0.1:4566, "
            f"got {url!r}"
        )


def _rehearsal(environment: Environment, rehearsal: Rehearsal) -> Connection:
    place = f"the rehearsal at {rehearsal.endpoint}"
    aws = _aws(environment, rehearsal.endpoint)
    return Connection(environment, aws, place, rehearsal, rehearsal.endpoint)


def _aws(environment: Environment, endpoint: str) -> Aws:
    # It takes any credentials, but some there must be.
    session = boto3.Session(
        aws_access_key_id="any",
        aws_secret_access_key="any",  # noqa: S106 - and no secret
        region_name=environment.settings.region,
    )
    return Aws(session, config=PATIENCE, endpoint=endpoint)


def _account(environment: Environment) -> Connection:
    """Look in the account of the credentials; raises Failed where those are not the right ones."""
    # Also where AWS_ENDPOINT_URL names somebody else, who is then not meant.
    config = PATIENCE.merge(
        Config(ignore_configured_endpoint_urls=True)  # type: ignore[call-arg] # newer than the stubs
    )

    def connect(region: str | None) -> Aws:
        return Aws(boto3.Session(region_name=region), config=config)

    aws, account, faults = identify(environment.name, environment, connect)
    if aws is None or account is None:
        raise Failed(*faults)
    return Connection(environment, aws, f"AWS account {account}, {aws.region}")
