"""The commands: python -m rehearsal <verb> [environment]."""

from __future__ import annotations

import argparse
import http.client
import json
import logging
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import interpreter  # noqa: F401 - first: it refuses another Python
import templates
from rehearsal.engines import Engine, EngineError, Processes, Runtime
from rehearsal.faults import IMAGES, MISSING
from rehearsal.folder import COMMANDS, FOLDER, TOKEN_HEADER, Folder
from rehearsal.images import build_environment

PROJECT = Path(__file__).parent.parent
ASSEMBLY = PROJECT / "cdk.out"
PORT, ENDPOINT_PORT = 8080, 4566
# Where `python -m ops watch` serves its page unless that port is taken; it says so itself.
PICTURE_PORT = 8090
SPEED = 10.0
# In real seconds; an image may have to be built.
UP_SECONDS, DEPLOY_SECONDS, DOWN_SECONDS = 900.0, 1800.0, 60.0


class Failed(Exception):  # noqa: N818 - what a command says of itself
    """A command cannot go on; says why, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; give its exit code."""
    chosen = _parser().parse_args(arguments)
    verbs: Mapping[str, Callable[[argparse.Namespace], int]] = {
        "up": up, "down": down, "deploy": deploy, "fail": fail, "restore": restore,
        "status": status, "image": image, "serve": serve,
    }  # fmt: skip
    try:
        code = verbs[chosen.verb](chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as head does; nor may the interpreter's own flush fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    except (Failed, templates.TemplateError, EngineError) as error:
        say(str(error))
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal",
        description="Plays an environment on this machine, with real containers and no account.",
    )
    parser.add_argument("--state", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True)

    def add(name: str, words: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=words, description=words)
        verb.add_argument("environment", nargs="?", default="sandbox", type=_environment)
        return verb

    for name, words in (
        ("up", "play an environment until it is steady, and leave it running"),
        ("serve", "what `up` starts: be the process that plays it"),
    ):
        verb = add(name, words)
        faster = f"run AWS's own waits N times as fast (default: {SPEED:g})"
        verb.add_argument("--speed", type=_speed, default=SPEED, metavar="N", help=faster)
        verb.add_argument("--port", type=_port, default=PORT, metavar="PORT",
                          help=f"of the load balancer; 0 is any (default: {PORT})")  # fmt: skip
        verb.add_argument("--endpoint-port", type=_port, default=ENDPOINT_PORT, metavar="PORT",
                          help=f"of AWS's API; 0 is any (default: {ENDPOINT_PORT})")  # fmt: skip
        verb.add_argument("--assembly", type=Path, default=ASSEMBLY, metavar="DIRECTORY")
        verb.add_argument("--engine", help="docker, podman, processes, or a path")
        verb.add_argument("--secret", action="append", default=[], metavar="NAME",
                          help="a secret of a container's, whose value here is in the environment "
                          "variable of that name")  # fmt: skip
    add("down", "stop and remove everything of a rehearsal, also of one that was killed")
    change = add("deploy", "synthesize again, and roll the change out")
    change.add_argument("--assembly", type=Path, metavar="DIRECTORY", help="instead of a synth")
    broken = verbs.add_parser("fail", help="break something")
    broken.add_argument(
        "kind", choices=["task", "instance", "az", "image", "health", "capacity", "draining"]
    )
    broken.add_argument("--environment", default="sandbox", type=_environment)
    broken.add_argument(
        "arguments", nargs="*",
        help="task [ID or SERVICE]; instance [ID]; az ZONE; image [SERVICE "
        f"[{'|'.join((*IMAGES, MISSING))}]]; health [TASK]; capacity; draining",
    )  # fmt: skip
    add("restore", "mend what was broken")
    add("status", "say what is played, as JSON")
    built = add("image", "build an environment's images, and print their tags on stdout")
    built.add_argument(
        "--engine", help="docker, podman, or a path; otherwise CDK_DOCKER, or one that answers"
    )
    built.add_argument("--assembly", type=Path, default=Path("cdk.out"), metavar="DIRECTORY")
    return parser


def up(chosen: argparse.Namespace) -> int:
    """Begin to play, and wait until it is steady."""
    folder = Folder(chosen.environment, chosen.state)
    if folder.is_played():
        return _join(folder)
    graph = templates.read(chosen.assembly)
    graph.environment(chosen.environment)  # or say which there are
    _secrets(chosen.secret)
    if chosen.port == chosen.endpoint_port != 0:
        raise Failed(f"--endpoint-port {chosen.endpoint_port}: expected another port than --port")
    engine = _engine(chosen.engine, folder)
    port, endpoint = _free(chosen.port, PORT), _free(chosen.endpoint_port, ENDPOINT_PORT)
    build_environment(graph, chosen.environment, engine, say=say)
    folder.path.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "rehearsal", f"--state={chosen.state.resolve()}",
        "serve", chosen.environment,
        f"--speed={chosen.speed}", f"--port={port}", f"--endpoint-port={endpoint}",
        f"--assembly={chosen.assembly.resolve()}", f"--engine={_command(engine)}",
        *(f"--secret={one}" for one in chosen.secret),
    ]  # fmt: skip
    say(
        f"Playing {chosen.environment} with {engine.name}; AWS's own waits run at {chosen.speed:g} "
        "times their speed, containers at their own."
    )
    with folder.log.open("a") as log:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        _await_claim(folder, process)
        phase = _follow(folder, skip=0, seconds=UP_SECONDS)
    except KeyboardInterrupt:
        say("Interrupted; removing what was begun.")
        _end(process, folder)
        return 130
    if phase in {"gone", "failed"}:
        _end(process, folder)
    return _tell_how_it_began(folder, phase)


def _join(folder: Folder) -> int:
    """Follow an `up` that is under way; say how to use one that is not any more."""
    if not _is_starting(folder):
        name = folder.environment
        say(
            f"{name} is being played already, as it was begun. A change is rolled out by: "
            f"python -m rehearsal deploy {name}   Other options need: {_down(name)} first."
        )
        _tell_addresses(folder)
        return 0
    say(f"{folder.environment} is being started already; this follows it.")
    return _tell_how_it_began(folder, _follow(folder, skip=0, seconds=UP_SECONDS))


def _tell_how_it_began(folder: Folder, phase: str) -> int:
    if phase in {"gone", "failed"}:
        raise Failed(f"It did not come up. The lines above say why; all there is: {folder.log}")
    if phase != "steady":
        raise Failed(
            f"It is not steady, but {phase}. It goes on running; its events say why, and "
            f"{_down(folder.environment)} ends it."
        )
    _tell_what_next(folder)
    return 0


def _end(process: subprocess.Popen[bytes], folder: Folder) -> None:
    """End the process that plays; remove what it leaves, should it not end by itself."""
    process.terminate()
    try:
        process.wait(DOWN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        _clean(folder)


def down(chosen: argparse.Namespace) -> int:
    """Stop and remove everything."""
    folder = Folder(chosen.environment, chosen.state)
    played, known = folder.is_played(), folder.path.exists()
    if not folder.end(seconds=DOWN_SECONDS):
        raise Failed(f"The process does not end; see {folder.log}")
    left = _clean(folder)
    folder.remove()
    if not known and not left:
        _expect(chosen.environment)
    say(
        f"{chosen.environment} is no longer played."
        if played
        else f"{chosen.environment} was not being played; {left or 'no'} leftovers were removed."
    )
    return 0


def deploy(chosen: argparse.Namespace) -> int:
    """Roll a change out, and follow it until it is steady or rolled back."""
    folder = _played(chosen)
    assembly = chosen.assembly or _synthesize()
    graph = templates.read(assembly)
    graph.environment(chosen.environment)  # or say which there are
    engine = _engine(str(folder.status()["engine_command"]), folder)
    try:
        build_environment(graph, chosen.environment, engine, say=say)
    except EngineError as error:
        raise Failed(f"The image was not built; what is played stays as it is: {error}") from error
    skip = len(list(folder.progress()))
    _ask(folder, "deploy", {"assembly": str(assembly.resolve())})
    try:
        phase = _follow(folder, skip=skip, seconds=DEPLOY_SECONDS)
    except KeyboardInterrupt:
        say("No longer following; the change goes on: python -m rehearsal status")
        return 130
    if phase != "steady":
        raise Failed(f"The change did not come to be: {phase}. The lines above say why.")
    say("The change is deployed.")
    return 0


def fail(chosen: argparse.Namespace) -> int:
    """Break something."""
    folder = _played(chosen)
    done = _ask(folder, "fail", {"kind": chosen.kind, "arguments": chosen.arguments})
    say(done["words"])
    if done["command"]:
        say(f"The same on AWS: {done['command']}")
    say(f"See what follows: {_make('watch', chosen.environment)}")
    return 0


def restore(chosen: argparse.Namespace) -> int:
    """Mend what was broken."""
    say(_ask(_played(chosen), "restore", {})["words"])
    return 0


def status(chosen: argparse.Namespace) -> int:
    """Say what is played."""
    print(json.dumps(_played(chosen, also_starting=True).status(), indent=2))  # noqa: T201 - the data
    return 0


def image(chosen: argparse.Namespace) -> int:
    """Build an environment's images."""
    graph = templates.read(chosen.assembly)
    for tag in build_environment(graph, chosen.environment, Engine.choose(chosen.engine)):
        print(tag)  # noqa: T201 - the data that was asked for
    return 0


def serve(chosen: argparse.Namespace) -> int:
    """Be the process that plays an environment."""
    from rehearsal.supervisor import Options, Supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    folder = Folder(chosen.environment, chosen.state)
    engine = _engine(chosen.engine, folder)
    options = Options(
        environment=chosen.environment,
        assembly=chosen.assembly,
        speed=chosen.speed,
        port=chosen.port,
        endpoint_port=chosen.endpoint_port,
        engine=_command(engine),
        secrets=_secrets(chosen.secret),
    )
    try:
        with folder.claimed():
            return Supervisor(options, folder, engine).run()
    except BlockingIOError as error:
        raise Failed(f"{chosen.environment} is being played by another process.") from error


def _engine(wanted: str | None, folder: Folder) -> Runtime:
    processes = Processes(folder.path / "processes")
    if wanted == processes.name:
        return processes
    return Engine.choose(wanted, processes=processes, say=say)


def _command(engine: Runtime) -> str:
    """Give what --engine takes to mean this engine."""
    return engine.command if isinstance(engine, Engine) else engine.name


def _secrets(names: Sequence[str]) -> dict[str, str]:
    """Read secrets from environment variables, which other users of this machine do not see."""
    for name in names:
        if name not in os.environ:
            raise Failed(f"--secret {name}: expected the name of an environment variable")
    return {name: os.environ[name] for name in names}


def _clean(folder: Folder) -> int:
    """Remove what an earlier rehearsal left, with every engine that there is."""
    from rehearsal.world import LABEL

    left = 0
    for engine in (Engine("docker"), Engine("podman"), Processes(folder.path / "processes")):
        if not isinstance(engine, Engine) or engine.trouble() is None:
            left += len(engine.clean(f"{LABEL}={folder.owner}"))
    return left


def _played(chosen: argparse.Namespace, *, also_starting: bool = False) -> Folder:
    name = chosen.environment
    folder = Folder(name, chosen.state)
    if not folder.is_played():
        _expect(name)
        raise Failed(f"{name} is not being played. Begin with: python -m rehearsal up {name}")
    if _is_starting(folder) and not also_starting:
        raise Failed(f"{name} is still starting. Follow it with: python -m rehearsal up {name}")
    return folder


def _expect(environment: str) -> None:
    """Raise TemplateError for a name that no environment has, where there are templates to tell."""
    if ASSEMBLY.exists():
        templates.read(ASSEMBLY).environment(environment)


def _is_starting(folder: Folder) -> bool:
    return bool(folder.status().get("phase", "starting") == "starting")


def _follow(folder: Folder, *, skip: int, seconds: float) -> str:
    from rehearsal.supervisor import wait_for  # here, since moto takes a second to be imported

    return wait_for(folder, {"steady", "rolled-back", "failed"}, skip=skip, say=say,
                    seconds=seconds)  # fmt: skip


def _await_claim(folder: Folder, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has taken the folder, so that its status is what is read."""
    while process.poll() is None:
        if folder.is_played() and folder.status():
            return
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise Failed(f"The process ended with {process.returncode}; see {folder.log}")


def _synthesize() -> Path:
    """Write the templates anew, as `make synth` does."""
    # Node comes with the Python environment, whether or not that is activated.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    say("Synthesizing.")
    done = subprocess.run(
        ["npx", "cdk", "synth", "--quiet"],  # noqa: S607 - npx is found on the path made here
        cwd=PROJECT, env=os.environ | {"PATH": path}, stdout=sys.stderr, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Failed("cdk synth failed, as it says above; nothing has changed.")
    return PROJECT / "cdk.out"


def _ask(folder: Folder, verb: str, body: Mapping[str, object]) -> Mapping[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own endpoint
        f"{folder.status()['endpoint']}{COMMANDS}{verb}",
        data=json.dumps(body).encode(),
        headers={TOKEN_HEADER: folder.token(), "Content-Type": "application/json"},
    )
    # It listens on the loopback, where no proxy of this machine's leads.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            found: Mapping[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        with error:
            raise Failed(_error_in(error.read())) from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise Failed(f"{request.full_url}: expected an answer as JSON: {error}") from error


def _error_in(body: bytes) -> str:
    """Read why a command was refused; anything that is not in our own form as it is."""
    text = body.decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text


def _free(wanted: int, default: int) -> int:
    """Give the port if it is free; another in place of the default, none of one asked for."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError as error:
            if wanted != default:
                raise Failed(f"127.0.0.1:{wanted}: expected a free port: {error}") from error
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(text: str) -> str:
    """Take an environment's name; it also names a folder, which must be below ours."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*", text.lower()):
        raise argparse.ArgumentTypeError(
            f"expected an environment's name, of letters, digits and hyphens, got {text!r}"
        )
    return text.lower()


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0
    if not 1 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1000, got {text!r}")
    return speed


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _make(target: str, environment: str) -> str:
    return f"make {target}" + ("" if environment == "sandbox" else f" ENV={environment}")


def _down(environment: str) -> str:
    return _make("down", environment)


def _not_enforced(departures: Sequence[str]) -> list[str]:
    return [one.capitalize() for one in departures if one.startswith("not enforced: ")]


def _tell_what_next(folder: Folder) -> None:
    found = folder.status()
    for line in (found["not_played"], *_not_enforced(found["departures"])):
        say(line)
    say(f"What else is not as on AWS: python -m rehearsal status {folder.environment}\n")
    _tell_addresses(folder)


def _tell_addresses(folder: Folder) -> None:
    found, name = folder.status(), folder.environment
    watch, is_free = _make("watch", name), _free(PICTURE_PORT, PICTURE_PORT) == PICTURE_PORT
    picture = (
        f"http://127.0.0.1:{PICTURE_PORT}   (begin it with: {watch})"
        if is_free
        else f"{watch} says where; port {PICTURE_PORT} is taken, maybe by an earlier one"
    )
    chosen = "" if name == "sandbox" else f" --environment {name}"
    say(
        f"""The service:   {found["url"]}
The endpoint:  {found["endpoint"]}   (the AWS API; any credentials)
The picture:   {picture}

Three things to try, after: source .venv/bin/activate
  curl {found["url"]}/identity
  python -m rehearsal fail instance{chosen}     # lose an instance; its tasks come back elsewhere
  AWS_ENDPOINT_URL={found["endpoint"]} AWS_DEFAULT_REGION={found["region"]} \\
    AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any \\
    aws ecs describe-services --cluster {found["cluster"]} \\
    --services {found["services"][0]} --query 'services[0].events[:5].message'
and to end it: {_down(name)}"""
    )
    print(found["url"])  # noqa: T201 - the data


def say(line: str) -> None:
    """Tell of progress, beside the data."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - for people


if __name__ == "__main__":
    sys.exit(main())
