"""python -m ops VERB ENVIRONMENT: looks after an environment that is deployed, or is to be."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ops import cli
from ops.aws import Aws
from ops.clock import SystemClock
from ops.deploy import WAIT_SECONDS, deploy, fetch_status
from ops.destroy import destroy
from ops.engine import Engine
from ops.environment import Failed
from ops.preflight import clear_deploy, clear_destroy

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; what is data goes to stdout, everything else to stderr."""
    options = _parser().parse_args(arguments)
    try:
        return _deploy(options) if options.verb == "deploy" else _destroy(options)
    except Failed as failed:
        for line in failed.lines:
            say(line)
    except (BotoCoreError, ClientError) as error:
        say(f"AWS refused: {error}")
        say(f"Nothing done so far is lost; go on with: {_again(options)}")
    except KeyboardInterrupt:
        say("")
        say(
            "Interrupted. CloudFormation ends what it has begun; go on, as often as it takes, "
            f"with: {_again(options)}"
        )
        return INTERRUPTED
    return 1


def say(line: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _deploy(options: argparse.Namespace) -> int:
    cleared = clear_deploy(options.environment, connect=_connect, engine=Engine.of(os.environ))
    code, url = deploy(
        cleared,
        cdk=cli.run,
        clock=SystemClock(),
        fetch=fetch_status,
        say=say,
        approve=options.yes,
        wait_seconds=options.wait,
    )
    if url:
        sys.stdout.write(url + "\n")
    return code


def _destroy(options: argparse.Namespace) -> int:
    cleared = clear_destroy(options.environment, connect=_connect)
    if not options.yes:
        _confirm(options.environment, cleared.account)
    return destroy(cleared, cdk=cli.run, clock=SystemClock(), say=say)


def _confirm(environment: str, account: str) -> None:
    """Have the environment's name typed; raises Failed for any other answer, or nobody there."""
    if not sys.stdin.isatty():
        raise Failed(
            f"nobody is there to confirm that {environment} in account {account} is destroyed; "
            f"run: python -m ops destroy {environment} --yes"
        )
    sys.stderr.write(f"This deletes {environment} in account {account}. Type its name to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != environment:
        raise Failed(f"not confirmed; nothing was changed, {environment} is as it was")


def _connect(region: str | None) -> Aws:
    # Without settings there is no region, and who we are is the same in each.
    return Aws(boto3.Session(region_name=region or "us-east-1"))


def _again(options: argparse.Namespace) -> str:
    return f"make {options.verb} ENV={options.environment}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, does in (
        ("deploy", "deploy an environment, wait until it answers, and print its URL"),
        ("destroy", "scale an environment to nothing, delete it, and say what is left"),
    ):
        command = verbs.add_parser(verb, help=does, description=does)
        command.add_argument("environment", metavar="ENVIRONMENT", help="like sandbox")
        command.add_argument("--yes", action="store_true", help="do not ask for confirmation")
        if verb == "deploy":
            command.add_argument(
                "--wait",
                type=float,
                default=WAIT_SECONDS,
                metavar="SECONDS",
                help=f"how long the services may take to answer ({WAIT_SECONDS})",
            )
    return parser


if __name__ == "__main__":
    sys.exit(main())
