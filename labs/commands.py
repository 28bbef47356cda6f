"""The course's verbs: list, start, check, hint, reset, settings, and shell: what is where."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from labs import course, own, progress, services
from labs.lab import Item, Lab
from labs.place import Place
from labs.progress import Progress, Record
from labs.verbs import Verb
from ops.cli import PROJECT
from ops.environment import Failed
from ops.preflight import read_environment
from ops.watch.connection import connector
from ops.watch.rehearsal import STATE, NotPlayedError, RefusedError

PAGES = "docs/labs"


def list_labs(options: argparse.Namespace) -> int:
    """Print every lab, its minutes, and whether it is under way."""
    _place(options)  # or say which environments there are
    kept = _progress(options)
    for lab in course.LABS:
        marks = ["minimum path"] if lab.is_minimum else []
        marks += ["started"] if kept.read(lab.number) else []
        said = f"  ({', '.join(marks)})" if marks else ""
        _print(f"{lab.number:>3}  {lab.title:<32} {lab.minutes:>3} min  {PAGES}/{lab.page}{said}")
    return 0


def start(options: argparse.Namespace) -> int:
    """Remember what is there, so that a check sees what was done since."""
    lab, place, kept = course.find(options.lab), _place(options), _progress(options)
    record = kept.read(lab.number)
    # What was started on an environment that is gone has nothing left to put back.
    if record is not None and not _is_of(lab, place, record):
        record = None
    if record is not None:
        raise Failed(
            f"lab {lab.number} is under way; python -m labs reset {_words(options)} puts back what "
            "it changed, and then it can be started again"
        )
    cluster = place.identity if lab.needs_environment else ""
    if lab.needs_environment and (lacks := services.lacks(place.describe_service())):
        raise Failed(
            f"{place.service} is not steady, so nobody could tell what this lab changes: {lacks}; "
            "its events say why. On the rehearsal make down and make local begin anew"
        )
    kept.write(lab.number, Record(cluster, dict(lab.begin(place))))
    where = f" on {place.words}" if lab.needs_environment else ""
    say(f"Lab {lab.number}, {lab.title}, is started{where}.")
    say(f"Read {PAGES}/{lab.page}, and then: python -m labs check {_words(options)}")
    return 0


def check(options: argparse.Namespace) -> int:
    """Say of each thing whether it is right; 0 only where all are."""
    lab, place, kept = course.find(options.lab), _place(options), _progress(options)
    record = _started(lab, place, kept, options)
    items = list(lab.check(place, record.remembered))
    # Also what the check has seen and AWS will forget.
    kept.write(lab.number, record)
    for item in items:
        _print(_line(item))
    missing = sum(not item.right for item in items)
    if missing or not items:
        say(f"Missing: {missing} of {len(items)}. A hint: python -m labs hint {_words(options)}")
        return 1
    say(f"Lab {lab.number} is passed. To clean up: python -m labs reset {_words(options)}")
    return 0


def hint(options: argparse.Namespace) -> int:
    """Give one more hint each time; once all are given, all of them again."""
    lab, place, kept = course.find(options.lab), _place(options), _progress(options)
    record = _started(lab, place, kept, options)
    given = min(record.hints + 1, len(lab.hints))
    kept.write(lab.number, Record(record.cluster, record.remembered, hints=given))
    for number, words in enumerate(lab.hints[:given], 1):
        _print(f"{number}. {words}")
    left = len(lab.hints) - given
    say(f"{left} more to be had." if left else f"That was the last; {PAGES}/{lab.page} has it all.")
    return 0


def reset(options: argparse.Namespace) -> int:
    """Put back what a lab changed, and forget that it was started."""
    lab, place, kept = course.find(options.lab), _place(options), _progress(options)
    record = kept.read(lab.number)
    if record is None:
        raise Failed(f"lab {lab.number} was not started; there is nothing to put back")
    if _is_of(lab, place, record):
        for line in lab.reset(place, record.remembered):
            say(line)
    else:
        say(f"Cluster {record.cluster} is gone; nothing of it is left to be put back.")
    if lab.changes_settings:
        for line in _own(options).back():
            say(line)
    kept.forget(lab.number)
    say(f"Lab {lab.number} is forgotten, and what it changed is put back.")
    if not lab.needs_environment or not _is_of(lab, place, record):
        return 0
    if lacks := services.lacks(place.describe_service()):
        say(
            f"{place.service} is not steady yet: {lacks}; wait: aws ecs wait services-stable "
            '--cluster "$CLUSTER" --services "$SERVICE"'
        )
    return 0


def put_settings(options: argparse.Namespace) -> int:
    """Lay a lab's values over cdk.local.json, and keep what was there."""
    for line in _own(options).put(options.values):
        say(line)
    return 0


def own_settings(options: argparse.Namespace) -> int:
    """Make cdk.local.json what it was before a lab's values came."""
    said = list(_own(options).back())
    for line in said or ["cdk.local.json is your own; no lab's values are over it."]:
        say(line)
    return 0


def shell(options: argparse.Namespace) -> int:
    """Print what makes a shell's `aws` ask the right place, and the names of what is there."""
    place = _place(options)
    place.notes.mkdir(parents=True, exist_ok=True)
    for line in _exports(place):
        _print(line)
    if sys.stdout.isatty():
        say('Only printed. A shell takes it with: eval "$(python -m labs shell)"')
    else:
        say(f"This shell now asks {place.words}.")
    return 0


def _exports(place: Place) -> Iterator[str]:
    names: dict[str, str] = {
        "ENVIRONMENT": place.environment.name,
        "CLUSTER": place.cluster,
        "SERVICE": place.service,
        "OTHERS": " ".join(place.other_services()),
        "FAMILY": place.family,
        "TARGET_GROUP": place.target_group,
        "GROUP": place.group,
        "PROVIDER": place.provider,
        "URL": place.url,
        "NOTES": str(place.notes.resolve()),
        "AWS_DEFAULT_REGION": place.region,
        "AWS_REGION": place.region,
        # Version 2 of the AWS CLI would show every answer in a pager.
        "AWS_PAGER": "",
    }
    if quotes := place.service_named("quotes"):
        names["QUOTES"] = quotes
    if place.endpoint is not None:
        yield "unset AWS_PROFILE AWS_SESSION_TOKEN"
        names |= {
            "AWS_ENDPOINT_URL": place.endpoint,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
    else:
        yield "unset AWS_ENDPOINT_URL"
    for name, value in names.items():
        yield f"export {name}={shlex.quote(value)}"


def say(line: str) -> None:
    """Tell the person at the terminal, beside the data."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _line(item: Item) -> str:
    return f"{'right  ' if item.right else 'missing'}  {item.words}"


def _place(options: argparse.Namespace) -> Place:
    """Give the environment that is meant, which is looked for only when it is asked."""
    environment, faults = read_environment(options.environment, PROJECT)
    if environment is None:
        raise Failed(*faults)
    connect = connector(
        environment, endpoint=options.endpoint, on_aws=options.on_aws, state=options.state
    )
    return Place(environment, connect, options.progress / environment.name)


def _progress(options: argparse.Namespace) -> Progress:
    return Progress(options.environment, options.progress)


def _own(options: argparse.Namespace) -> own.Own:
    return own.Own(options.progress / options.environment, own.LOCAL)


def _started(lab: Lab, place: Place, kept: Progress, options: argparse.Namespace) -> Record:
    """Give the record of a lab that is under way here; raises Failed where it is not."""
    begin = f"start it with: python -m labs start {_words(options)}"
    record = kept.read(lab.number)
    if record is None:
        raise Failed(f"lab {lab.number} was not started; {begin}")
    if not _is_of(lab, place, record):
        raise Failed(
            f"lab {lab.number} was started on cluster {record.cluster}, which is not the one on "
            f"{place.words}; {begin}"
        )
    return record


def _is_of(lab: Lab, place: Place, record: Record) -> bool:
    return not lab.needs_environment or record.cluster == place.identity


def _words(options: argparse.Namespace) -> str:
    """Give what comes after the verb, so that a command can be repeated."""
    name = "" if options.environment == "sandbox" else f" {options.environment}"
    return f"{options.lab}{name}{' --on-aws' if options.on_aws else ''}"


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environment", metavar="ENVIRONMENT", nargs="?", default="sandbox", type=str.lower,
        help="like sandbox, which it is where none is named",
    )  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--endpoint", metavar="URL", help="who answers AWS's API, where it is not found by itself"
    )
    where.add_argument(
        "--on-aws", action="store_true", help="work on AWS, also while it is rehearsed"
    )
    parser.add_argument("--state", type=Path, default=STATE, help=argparse.SUPPRESS)
    parser.add_argument("--progress", type=Path, default=progress.FOLDER, help=argparse.SUPPRESS)


def _numbered(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("lab", metavar="N", type=int, help="a lab's number")
    _common(parser)


def _settings(parser: argparse.ArgumentParser) -> None:
    """Add `put FILE` and `back`, each of which runs what it names."""
    ways = parser.add_subparsers(required=True, metavar="put|back")
    put = ways.add_parser("put", help="lay a lab's values over your own")
    put.add_argument("values", metavar="FILE", type=Path, help="like docs/labs/monolith.json")
    put.set_defaults(way=put_settings)
    back = ways.add_parser("back", help="take them off, so that your own are there again")
    back.set_defaults(way=own_settings)
    for way in (put, back):
        _common(way)


def _guarded(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Say why a verb cannot go on, and give 1."""

    def guarded(options: argparse.Namespace) -> int:
        try:
            return run(options)
        except Failed as failed:
            for line in failed.lines:
                say(line)
        except (BotoCoreError, ClientError) as error:
            say(f"AWS refused: {error}")
        except (NotPlayedError, RefusedError, OSError) as error:
            say(str(error))
        return 1

    return guarded


VERBS: Mapping[str, Verb] = {
    "list": Verb("list the labs", _common, _guarded(list_labs)),
    "start": Verb("begin a lab: remember what is there", _numbered, _guarded(start)),
    "check": Verb("say what of a lab is right, and what is missing", _numbered, _guarded(check)),
    "hint": Verb("give one more hint for a lab", _numbered, _guarded(hint)),
    "reset": Verb("put back what a lab changed", _numbered, _guarded(reset)),
    "settings": Verb(
        "lay a lab's values over cdk.local.json for a while, and take them off again",
        _settings,
        _guarded(lambda options: options.way(options)),
    ),
    "shell": Verb(
        "print the lines that make a shell's aws ask an environment", _common, _guarded(shell)
    ),
}
