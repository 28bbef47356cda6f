"""Lab 1: an image is built once; Docker and Podman run it alike, and hold it within its limits."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from labs.lab import Item, Lab, Remembered
from labs.place import Place

ENGINES = ("docker", "podman")
IMAGE = "lab-web"
CHANGED = "lab-web:changed"
BUILT_BY_PODMAN = "lab-web:podman"
SERVING, GREEDY, STOPPED = "lab-web", "lab-oom", "lab-stop"
CONTAINERS = (SERVING, GREEDY, STOPPED)
READY = "/health/ready"
# 128 + 9: ended by SIGKILL.
KILLED = 137
ENGINE_SECONDS = 60
MIB = 1 << 20
# What the page's greedy container takes, and as its command has it.
TAKEN, TAKING = 256 * MIB, "256 << 20"

# What an engine's `inspect` gives of one container or image.
Inspected = Mapping[str, Any]


def begin(_place: Place) -> Remembered:
    """Remember the containers and the changed image that are there already; they prove nothing."""
    containers = {
        engine: [one["Id"] for name in CONTAINERS if (one := _container(engine, name))]
        for engine in ENGINES
    }
    changed = _image("docker", CHANGED)
    return {**containers, "changed": changed["Id"] if changed else None}


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look at the containers of both engines, and at the layers of the images."""
    yield _changed(remembered.get("changed"))
    wanted = _limits(place)
    for engine in ENGINES:
        if _ask(engine, "version") is None:
            yield Item(
                False,
                f"{engine}: is not installed, or does not answer; on Debian `sudo .ci/engine` "
                "installs and starts both",
            )
            continue
        found = {name: _container(engine, name) for name in CONTAINERS}
        old = {
            name for name, one in found.items() if one and one["Id"] in remembered.get(engine, [])
        }
        for name in sorted(old):
            yield Item(
                False,
                f"{engine}: {name} is from before the lab's start: {engine} rm --force {name}, and "
                "run it again",
            )
        if SERVING not in old:
            yield from _serving(engine, found[SERVING], wanted)
        if GREEDY not in old:
            yield _greedy(engine, found[GREEDY])
        if STOPPED not in old:
            yield _stopped(engine, found[STOPPED])
    yield _same()


def reset(_place: Place, _remembered: Remembered) -> Iterator[str]:
    """Remove the lab's containers and images from both engines."""
    for engine in ENGINES:
        for name in CONTAINERS:
            if _container(engine, name) and _ask(engine, "rm", "--force", name) is not None:
                yield f"{engine}: container {name} is removed."
        for tag in (CHANGED, BUILT_BY_PODMAN, IMAGE):
            if _image(engine, tag) and _ask(engine, "image", "rm", tag) is not None:
                yield f"{engine}: image {tag} is removed."


# What to look at in a container: what is wrong with it and how to say it right, or nothing.
Look = Callable[[Inspected], str]


def _limits(place: Place) -> Mapping[str, Look]:
    """Give what is looked at, each under its name, with the numbers of the task definition."""
    settings = place.environment.settings
    task = settings.services["web"].task
    pids = settings.cluster.agent.task_pids_limit

    def memory(one: Inspected) -> str:
        limit, swap = one["HostConfig"]["Memory"], one["HostConfig"]["MemorySwap"]
        right = f"--memory {task.memory_mib}m --memory-swap {task.memory_mib}m"
        if limit == 0:
            return f"there is no limit, so it may take all of this machine's: {right}"
        if limit != task.memory_mib * MIB:
            return f"the limit is {limit // MIB} MiB, not {task.memory_mib}: {right}"
        return "" if swap == limit else f"where there is swap it may take that too: {right}"

    def shares(one: Inspected) -> str:
        found = one["HostConfig"]["CpuShares"]
        return "" if found == task.cpu else f"{found or 'default'}: --cpu-shares {task.cpu}"

    def processes(one: Inspected) -> str:
        found = one["HostConfig"].get("PidsLimit")
        return "" if found == pids else f"{found or 'any number'} may run: --pids-limit {pids}"

    def stop_timeout(one: Inspected) -> str:
        found = one["Config"].get("StopTimeout")
        wanted = task.stop_timeout_seconds
        if found == wanted:
            return ""
        return f"{found or 10} s until SIGKILL: --stop-timeout {wanted}"

    return {
        "memory": memory,
        "CPU shares": shares,
        "processes": processes,
        "user": _user,
        "root file system": _root,
        "capabilities": _capabilities,
        "privileges": _privileges,
        "published port": _published,
        "time to stop": stop_timeout,
    }


def _user(one: Inspected) -> str:
    user = str(one["Config"].get("User") or "")
    if user.partition(":")[0] in {"", "0", "root"}:
        return "it runs as root: --user 10001:10001, or no --user, as the Dockerfile names one"
    return ""


def _root(one: Inspected) -> str:
    if not one["HostConfig"]["ReadonlyRootfs"]:
        return "whoever gets in can write everywhere: --read-only"
    if "/tmp" not in (one["HostConfig"].get("Tmpfs") or {}):  # noqa: S108 - the container's own
        return "read-only, and nowhere to write: --tmpfs /tmp:size=64m,noexec,nosuid,nodev"
    return ""


def _capabilities(one: Inspected) -> str:
    right = "--cap-drop ALL"
    if "BoundingCaps" in one:  # Podman, which writes every dropped one by its own name
        left = len(one["BoundingCaps"] or [])
        return f"it keeps {left} of root's powers: {right}" if left else ""
    host = one["HostConfig"]
    dropped = [name.upper() for name in host.get("CapDrop") or []]
    if "ALL" not in dropped or host.get("CapAdd"):
        return f"it keeps some of root's powers: {right}"
    return ""


def _privileges(one: Inspected) -> str:
    options = one["HostConfig"].get("SecurityOpt") or []
    if any(option.startswith("no-new-privileges") for option in options):
        return ""
    return "a setuid program could give it more: --security-opt no-new-privileges"


def _published(one: Inspected) -> str:
    right = "--publish 127.0.0.1::8080"
    bound = _bound(one)
    if not bound:
        return f"nobody outside reaches it: {right}"
    open_to = [each["HostIp"] for each in bound if each["HostIp"] != "127.0.0.1"]
    if open_to:
        return f"it listens on {open_to[0] or '0.0.0.0'}, for your whole network: {right}"  # noqa: S104
    return ""


def _bound(one: Inspected) -> list[Mapping[str, str]]:
    ports = one["NetworkSettings"].get("Ports") or {}
    return [each for bound in ports.values() for each in bound or []]


def _serving(engine: str, one: Inspected | None, wanted: Mapping[str, Look]) -> Iterator[Item]:
    """Whether a container runs and answers, and each limit that it should have."""
    if one is None or not one["State"]["Running"]:
        state = "is not there" if one is None else f"is {one['State']['Status']}, not running"
        yield Item(False, f"{engine}: container {SERVING} {state}: {engine} run --detach --name "
                   f"{SERVING} ...")  # fmt: skip
        return
    bound = _bound(one)
    status = _ask_for_health(int(bound[0]["HostPort"])) if bound else "its port is not published"
    answers = status == "200"
    yield Item(
        answers,
        f"{engine}: {SERVING} runs and answers 200"
        if answers
        else f"{engine}: {SERVING} runs and does not answer: {status}; see {engine} logs {SERVING}",
    )
    for name, look in wanted.items():
        fault = look(one)
        yield Item(
            not fault,
            f"{engine}: {name} of {SERVING}" + (f": {fault}" if fault else " as the task's"),
        )


def _greedy(engine: str, one: Inspected | None) -> Item:
    """Whether a container was killed for taking more memory than it may."""
    if one is None:
        return Item(
            False,
            f"{engine}: container {GREEDY} is not there: let it take 256 MiB with a limit of 128",
        )
    state, limit = one["State"], one["HostConfig"]["Memory"]
    if state["Running"] or state["Status"] == "created":
        return Item(False, f"{engine}: {GREEDY} is {state['Status']}; it has not ended yet")
    if not limit:
        return Item(
            False,
            f"{engine}: {GREEDY} had no memory limit and ended with {state['ExitCode']}; "
            f"{engine} rm {GREEDY}, and again with --memory 128m --memory-swap 128m",
        )
    if limit > TAKEN:
        return Item(
            False,
            f"{engine}: {GREEDY} may have {limit // MIB} MiB, so that taking {TAKEN // MIB} does "
            f"not meet its limit; {engine} rm {GREEDY}, and again with --memory 128m --memory-swap "
            "128m",
        )
    told = state.get("OOMKilled") or _never_tells(engine)
    if state["ExitCode"] != KILLED or not told:
        return Item(
            False,
            f"{engine}: {GREEDY} ended with exit code {state['ExitCode']} and OOMKilled "
            f"{state.get('OOMKilled')}, not killed by the kernel at its limit ({KILLED}, true)",
        )
    command = " ".join(one["Config"].get("Cmd") or [])
    if TAKING not in command:
        return Item(
            False,
            f"{engine}: {GREEDY} was killed, and its command ({command}) takes no {TAKEN // MIB} "
            f"MiB: python -c 'b\"x\" * ({TAKING})'",
        )
    return Item(True, f"{engine}: {GREEDY} met its limit and was killed, exit code {KILLED}")


def _never_tells(engine: str) -> bool:
    """Whether the engine is Podman before 5, which never says OOMKilled. Seen with 4.3.1."""
    if engine != "podman":
        return False
    major = (_ask(engine, "version", "--format", "{{.Client.Version}}") or "").partition(".")[0]
    return major.isdecimal() and int(major) < 5


def _stopped(engine: str, one: Inspected | None) -> Item:
    """Whether a container was stopped and had time to finish."""
    if one is None:
        return Item(False, f"{engine}: container {STOPPED} is not there: run one, and stop it")
    state = one["State"]
    if state["Running"]:
        return Item(False, f"{engine}: {STOPPED} still runs: {engine} stop {STOPPED}")
    if state["ExitCode"] == KILLED:
        return Item(
            False,
            f"{engine}: {STOPPED} was killed ({KILLED}) before it had finished: `kill` asks "
            "nobody, and `stop` waits 10 s unless --stop-timeout says more",
        )
    log = _ask(engine, "logs", STOPPED, both=True) or ""
    if state["ExitCode"] != 0 or '"event": "stopped"' not in log:
        return Item(
            False,
            f"{engine}: {STOPPED} ended with exit code {state['ExitCode']} and no line `stopped` "
            f"in {engine} logs {STOPPED}; let the service run for a second before you stop it",
        )
    return Item(True, f"{engine}: {STOPPED} drained after SIGTERM and ended with exit code 0")


def _changed(before: str | None) -> Item:
    """Whether a second image was built after a change, that shares layers with the first.

    `before` is the id of that which was there at the start. A build from the cache may give the
    same id again, so it must first be removed, and that be remembered.
    """
    changed = _image("docker", CHANGED)
    if changed and changed["Id"] == before:
        return Item(
            False,
            f"docker: {CHANGED} is from before the lab's start: python -m labs reset 1 removes it; "
            "then start again",
        )
    first, second = _layers(_image("docker", IMAGE)), _layers(changed)
    if not first or not second:
        missing = IMAGE if not first else CHANGED
        return Item(
            False, f"docker: image {missing} is not there: docker build --tag {missing} ..."
        )
    shared = sum(1 for pair in zip(first, second, strict=False) if pair[0] == pair[1])
    if first == second:
        return Item(
            False, f"docker: {CHANGED} has the layers of {IMAGE}; change a line of its source first"
        )
    return Item(
        shared > 0,
        f"docker: {CHANGED} shares {shared} of {len(second)} layers with {IMAGE}"
        + ("" if shared else "; build both from the same Dockerfile"),
    )


def _same() -> Item:
    """Whether both engines run the same layers."""
    found = []
    for engine in ENGINES:
        one = _container(engine, SERVING)
        found.append(_layers(_image(engine, one["Image"])) if one else [])
    ours, theirs = found
    if not ours or not theirs:
        return Item(False, f"docker and podman do not both have a container {SERVING} to compare")
    if ours != theirs:
        return Item(
            False,
            "docker and podman run other layers: hand Docker's image on, with "
            f"docker save {IMAGE} | podman load, and run that one",
        )
    return Item(True, f"docker and podman run the same {len(ours)} layers, byte for byte")


def _layers(image: Inspected | None) -> list[str]:
    """Give the digests of an image's layers, from the base up."""
    return list(image["RootFS"]["Layers"]) if image else []


def _container(engine: str, name: str) -> Inspected | None:
    return _inspect(engine, "container", name)


def _image(engine: str, name: str) -> Inspected | None:
    return _inspect(engine, "image", name)


def _inspect(engine: str, kind: str, name: str) -> Inspected | None:
    said = _ask(engine, kind, "inspect", name)
    found: list[Inspected] = json.loads(said) if said else []
    return found[0] if found else None


def _ask(engine: str, *words: str, both: bool = False) -> str | None:
    """Give what an engine prints, with `both` on both streams; None where it refuses."""
    try:
        done = subprocess.run(  # noqa: S603 - an engine by its name, and no shell
            [engine, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if both else subprocess.DEVNULL,
            text=True, check=False, timeout=ENGINE_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _ask_for_health(port: int) -> str:
    """Give the status of the service's health check, or why there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", READY)
        return str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()


LAB = Lab(
    number=1,
    title="Images and containers",
    minutes=30,
    page="01-images-and-containers.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "docker inspect NAME shows what a container was really given; the check reads the same.",
        "Limits are given when a container is made. To change one: docker rm --force NAME, and run "
        "it again under the same name.",
        "Exit code 137 is 128 + 9, SIGKILL; State.OOMKilled says whether the kernel sent it, at "
        "the memory limit.",
        "docker stop sends SIGTERM and waits as long as --stop-timeout says; docker kill does not "
        "wait.",
        "docker save IMAGE | podman load hands the very same layers on.",
    ),
    needs_environment=False,
)
