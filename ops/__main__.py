"""python -m ops VERB ENVIRONMENT: looks after an environment that is deployed, or is to be."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import interpreter  # noqa: F401 - first: it refuses another Python

# isort: split
import boto3
from botocore.exceptions import BotoCoreError, ClientError

from ops import classroom, cli, sweep
from ops.aws import Aws
from ops.clock import SystemClock
from ops.deploy import WAIT_SECONDS, deploy, fetch_status
from ops.destroy import destroy
from ops.engine import Engine
from ops.environment import Environment, Failed
from ops.preflight import clear_deploy, clear_destroy, identify, read_environment
from ops.watch.connection import connector
from ops.watch.read import Versions
from ops.watch.rehearsal import STATE
from ops.watch.server import PORT, Server
from ops.watch.watcher import Watcher, open_source

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; what is data goes to stdout, everything else to stderr."""
    options = _parser().parse_args(arguments)
    verbs = {
        "class": _class,
        "deploy": _deploy,
        "destroy": _destroy,
        "sweep": _sweep,
        "watch": _watch,
    }
    try:
        return verbs[options.verb](options)
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
        name = options.environment
        _confirm(
            f"{name} in account {cleared.account}", name, f"python -m ops destroy {name} --yes"
        )
    return destroy(cleared, cdk=cli.run, clock=SystemClock(), say=say)


def _class(options: argparse.Namespace) -> int:
    """Compare a class's needs with the account's quotas; nothing is changed."""
    environment, aws, _ = _identified(options.environment)
    graph = classroom.synthesize(cli.run, cli.PROJECT / ".build" / "class")
    return classroom.report(
        aws, environment, graph, learners=options.learners, write=sys.stdout.write, say=say
    )


def _sweep(options: argparse.Namespace) -> int:
    """Say what learners left; delete it only where that is asked for and confirmed."""
    environment, aws, account = _identified(options.environment)
    left = sweep.find(aws, environment)
    sweep.report(left, environment, write=sys.stdout.write, say=say)
    if not left or not options.delete:
        return 1 if left else 0
    if not options.yes:
        _confirm(
            f"what {len(left)} learners have in account {account}",
            options.environment,
            f"python -m ops sweep {options.environment} --delete --yes",
        )
    return sweep.delete(aws, left, environment, clock=SystemClock(), say=say)


def _identified(name: str) -> tuple[Environment, Aws, str]:
    """Give an environment of the settings, and who we are; raises Failed where either is not so."""
    environment, faults = read_environment(name, cli.PROJECT)
    if environment is None:
        raise Failed(*faults)
    aws, account, refusals = identify(name, environment, _connect)
    if aws is None or account is None:
        raise Failed(*refusals)
    return environment, aws, account


def _watch(options: argparse.Namespace) -> int:
    """Serve the picture until Ctrl-C; fail at once where there is nowhere to look."""
    environment, faults = read_environment(options.environment, cli.PROJECT)
    if environment is None:
        raise Failed(*faults)
    connect = connector(
        environment, endpoint=options.endpoint, on_aws=options.aws, state=options.state
    )
    now, wall = time.monotonic, time.time
    find_source = partial(open_source, connect, Versions(), now=now, wall=wall)
    watcher = Watcher(environment.name, find_source, now=now, wall=wall, say=say)
    server = Server(watcher, port=options.port, wall=wall)
    try:
        watcher.begin()
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        say("Open it in a browser; Ctrl-C ends it.")
        watcher.run()
    except KeyboardInterrupt:
        say("")
    finally:
        server.close()
    return 0


def _confirm(what: str, word: str, again: str) -> None:
    """Have a word typed before `what` is deleted; raises Failed for any other, or nobody there."""
    if not sys.stdin.isatty():
        raise Failed(f"nobody is there to confirm that {what} is destroyed; run: {again}")
    sys.stderr.write(f"This deletes {what}. Type {word} to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != word:
        raise Failed(f"not confirmed; nothing was changed, {what} is as it was")


def _connect(region: str | None) -> Aws:
    # Without settings there is no region, and who we are is the same in each.
    return Aws(boto3.Session(region_name=region or "us-east-1"))


def _again(options: argparse.Namespace) -> str:
    if options.verb == "class":
        return f"python -m ops class {options.environment} --learners {options.learners}"
    if options.verb == "sweep":
        deletes = " --delete" if options.delete else ""
        return f"python -m ops sweep {options.environment}{deletes}"
    return f"make {options.verb} ENV={options.environment}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    watch = "serve a page that shows the cluster as it lives, on AWS or in a rehearsal"
    command = verbs.add_parser("watch", help=watch, description=watch)
    command.add_argument("environment", metavar="ENVIRONMENT", type=str.lower, help="like sandbox")
    command.add_argument(
        "--port", type=int, help=f"of the page, on 127.0.0.1 ({PORT}, another where it is taken)"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--endpoint", metavar="URL", help="who answers AWS's API, where it is not found by itself"
    )
    where.add_argument("--aws", action="store_true", help="look on AWS, also while it is rehearsed")
    command.add_argument("--state", type=Path, default=STATE, help=argparse.SUPPRESS)
    compares = "compare what a class needs of one account with its quotas, and say what it costs"
    command = verbs.add_parser("class", help=compares, description=compares)
    command.add_argument("environment", metavar="ENVIRONMENT", help="of one learner, like sandbox")
    command.add_argument(
        "--learners", type=_positive, required=True, metavar="NUMBER", help="each with their own"
    )
    sweeps = "list what the environments of a class's learners left on one account"
    command = verbs.add_parser("sweep", help=sweeps, description=sweeps)
    command.add_argument("environment", metavar="ENVIRONMENT", help="of the learners, like sandbox")
    command.add_argument("--delete", action="store_true", help="and delete it")
    command.add_argument("--yes", action="store_true", help="do not ask for confirmation")
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


def _positive(text: str) -> int:
    """Read a number of 1 or more; argparse says what was wrong."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
