"""What the microservice costs per request, in its real container, beside FastAPI and nginx."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median

import templates
from bench import synth
from bench.load import CONNECTIONS, first_answer, generator, load, two_cores
from bench.report import BenchError, Outcome, Target, interleave, ratio, say, table
from rehearsal import containers, images
from rehearsal.engines import Engine, EngineError
from scheduler.agent_settings import agent_settings

BASELINE = Path(__file__).parent / "baseline"
PATH = "/identity"
OURS, FASTAPI, NGINX = "service/web", "FastAPI on uvicorn", "nginx, a file"
LABEL = "drydock.bench"
WARM_UP_SECONDS, SECONDS = 1, 3
# Below this part of its core a container was kept waiting by something else.
QUIET = 0.85
MIB = 1024 * 1024
# Whichever version of cgroups the host has; the container sees its own.
COUNTERS = """
if [ -f /sys/fs/cgroup/cpu.stat ]; then
    cat /sys/fs/cgroup/cpu.stat /sys/fs/cgroup/memory.peak
else
    echo "usage_nsec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"
    cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes
fi
cat /proc/[0-9]*/status | grep VmHWM
"""


@dataclass(frozen=True)
class Contender:
    """An image and the arguments with which the engine runs it."""

    image: str
    run: containers.Run


@dataclass(frozen=True)
class Counters:
    """What the container's cgroup has counted since it began."""

    cpu_seconds: float
    peak_bytes: int
    resident_bytes: int


@dataclass(frozen=True)
class Answered:
    """One container's life: its start, and what a bounded load got from it."""

    requests: int
    cpu_seconds: float
    seconds: float
    p99_ms: float
    peak_mib: float
    resident_mib: float
    start_seconds: float
    run_seconds: float

    @property
    def per_cpu_second(self) -> float:
        """Requests for each second of CPU that the container used."""
        return self.requests / self.cpu_seconds

    @property
    def share(self) -> float:
        """The part of one core that it got; with it saturated, the rest went to others."""
        return self.cpu_seconds / self.seconds


def run(rounds: int) -> Outcome:
    """Start each of the three anew in each round, and load it; raise BenchError without engine."""
    try:
        engine = Engine.choose()
    except EngineError as error:
        raise BenchError(f"{error}. Start Docker, or name an engine in CDK_DOCKER.") from error
    # The last core serves, another one asks.
    serving, asking = two_cores()
    try:
        contenders = _contenders(engine)
        measures: dict[str, Callable[[], Answered]] = {
            name: partial(_measure, engine, contender, serving, asking)
            for name, contender in contenders.items()
        }
        found = interleave(measures, rounds)
        layers = {
            name: layers_mib(engine, contender.image) for name, contender in contenders.items()
        }
    except (EngineError, templates.TemplateError, containers.ContainerError) as error:
        raise BenchError(str(error)) from error
    finally:
        engine.clean(LABEL)
    limits = " ".join(
        option
        for option in contenders[OURS].run.options
        if option.startswith(("--memory=", "--cpu-shares", "--pids", "--read-only"))
    )
    where = "one core of its own" if serving is not None else "no core of its own"
    heading = (
        f"service: GET {PATH}, medians of {rounds} interleaved rounds of {SECONDS} s",
        f"each in a container with {limits}, on {where}; {CONNECTIONS} connections of "
        f"{generator()}",
        f"{engine_version(engine)}, {os.cpu_count()} CPUs; {_versions()}, nginx of Debian 13; "
        "health checks off",
        "",
    )
    return report(found, layers, heading)


def report(
    found: Mapping[str, Sequence[Answered]],
    layers: Mapping[str, float],
    heading: Sequence[str] = (),
) -> Outcome:
    """Lay out the medians, and ours against the targets."""

    def middle(name: str, pick: Callable[[Answered], float]) -> float:
        return median(pick(one) for one in found[name])

    columns: Mapping[str, tuple[str, Callable[[Answered], float]]] = {
        "requests/CPU s": ("{:.0f}", lambda one: one.per_cpu_second),
        "requests/s": ("{:.0f}", lambda one: one.requests / one.seconds),
        "of a core": ("{:.2f}", lambda one: one.share),
        "p99 ms": ("{:.2f}", lambda one: one.p99_ms),
        "peak MiB": ("{:.1f}", lambda one: one.peak_mib),
        "RSS MiB": ("{:.1f}", lambda one: one.resident_mib),
        "start s": ("{:.2f}", lambda one: one.start_seconds),
        "with run s": ("{:.2f}", lambda one: one.run_seconds),
    }
    rows = [
        [
            name,
            *(form.format(middle(name, pick)) for form, pick in columns.values()),
            f"{layers[name]:.1f}",
        ]
        for name in found
    ]
    per_cpu = {name: [one.per_cpu_second for one in answers] for name, answers in found.items()}
    times = ratio(per_cpu[OURS], per_cpu[FASTAPI])
    p99 = ratio([one.p99_ms for one in found[OURS]], [one.p99_ms for one in found[FASTAPI]])
    verdicts = [
        ("requests per CPU-second, times FastAPI's", times, Target(2.0, least=True)),
        ("p99, times FastAPI's", p99, Target(1.0)),
        ("peak memory of the cgroup, MiB", middle(OURS, lambda one: one.peak_mib), Target(96)),
        ("image layers above the base, MiB", layers[OURS], Target(30)),
        ("start to first 200, s", middle(OURS, lambda one: one.start_seconds), Target(1)),
    ]
    shares = {name: middle(name, lambda one: one.share) for name in (OURS, FASTAPI)}
    starved = [f"{name} got {share:.2f}" for name, share in shares.items() if share < QUIET]
    notes = [
        f"p99 and start are also other processes' work: {', '.join(starved)} of its core; "
        "measure again on a quiet machine"
    ]
    lines = (
        *heading,
        table(["", *columns, "layers MiB"], rows),
        "peak: the cgroup's, page cache included; RSS: the sum of its processes' peaks; start: "
        "process 1 to",
        "the first 200; with run: from the engine's `run`; layers: those above the base image",
        "",
        f"requests per CPU-second, times nginx's: {ratio(per_cpu[OURS], per_cpu[NGINX]):.2f}",
        *(f"{what}: {value:.2f}, {target.judge(value)}" for what, value, target in verdicts),
        *(notes if starved else ()),
    )
    return Outcome("\n".join(lines), times)


def _contenders(engine: Engine) -> dict[str, Contender]:
    """Build the three images, and give the sandbox's limits to each."""
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        out = Path(scratch) / "cdk.out"
        say("synthesizing, for the task's limits")
        synth.write(out)
        graph = templates.read(out)
        (definition,) = graph.stack("Sandbox/Web").of_type("AWS::ECS::TaskDefinition")
        (template,) = graph.stack("Sandbox/Cluster").of_type("AWS::EC2::LaunchTemplate")
        data = graph.properties(template)["LaunchTemplateData"]
        agent = agent_settings(data["UserData"])
        properties = graph.properties(definition)
        for asset in images.assets(graph.stack("Sandbox/Web")):
            images.build(engine, asset)
    (ours,) = properties["ContainerDefinitions"]
    # Its own process would be counted with the requests, and the other two have none. Nor have they
    # another service to call; that is measured in bench/microservices.py.
    ours = {key: value for key, value in ours.items() if key != "HealthCheck"}
    ours["Environment"] = [one for one in ours["Environment"] if one["Name"] != "QUOTES_URL"]

    def contender(changes: Mapping[str, object]) -> Contender:
        task = properties | {"ContainerDefinitions": [{**ours, **changes}]}
        run = containers.run(task, ours["Name"], agent=agent)
        return Contender(run.image, run)

    first = contender({})
    identity = _identity(engine, first)
    others = {}
    for name, folder in ((FASTAPI, "fastapi"), (NGINX, "nginx")):
        image = f"drydock-bench-{folder}:{_hash(BASELINE / folder)}"
        images.build(engine, images.Asset(directory=BASELINE / folder, tags=(image,)))
        variables = [{"Name": "IDENTITY", "Value": identity}]
        others[name] = contender({"Image": image, "Environment": variables})
    return {OURS: first, **others}


def _hash(directory: Path) -> str:
    """Give a tag that changes with the sources of an image."""
    files = sorted(path for path in directory.iterdir() if path.is_file())
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def _identity(engine: Engine, ours: Contender) -> str:
    """Ask ours once for the JSON that all three then give."""
    container = engine.run(ours.run, labels={LABEL: "identity"})
    try:
        return first_answer(_addresses(engine, container), PATH)[1]
    finally:
        engine.remove(container)


def _measure(
    engine: Engine, contender: Contender, serving: int | None, asking: int | None
) -> Answered:
    """Start a container, warm it up, load it, and remove it."""
    pinned = [f"--cpuset-cpus={serving}"] if serving is not None else []
    asked = time.time()
    container = engine.run(contender.run, labels={LABEL: "load"}, options=pinned)
    try:
        began = datetime.fromisoformat(engine.inspect(container)["State"]["StartedAt"]).timestamp()
        address, _ = first_answer(_addresses(engine, container), PATH)
        answered = time.time()
        load(address, PATH, seconds=WARM_UP_SECONDS, core=asking)
        before = _counters(engine, container)
        started = time.perf_counter()
        result = load(address, PATH, seconds=SECONDS, core=asking)
        seconds = time.perf_counter() - started
        after = _counters(engine, container)
    finally:
        engine.remove(container)
    if result.failed or not result.requests:
        raise BenchError(
            f"{contender.image}: expected only 200, got {result.failed} failures "
            f"beside {result.requests} answers"
        )
    return Answered(
        requests=result.requests,
        cpu_seconds=after.cpu_seconds - before.cpu_seconds,
        seconds=seconds,
        p99_ms=result.p99_ms,
        peak_mib=after.peak_bytes / MIB,
        resident_mib=after.resident_bytes / MIB,
        start_seconds=answered - began,
        run_seconds=answered - asked,
    )


def _addresses(engine: Engine, container: str) -> list[str]:
    """Give where a container may be asked: on the engine's own network, and on 127.0.0.1.

    The first spares the engine's proxy, but only a local engine with root's rights offers it.
    """
    port = 8080
    settings = engine.inspect(container)["NetworkSettings"]
    networks = (settings.get("Networks") or {}).values()
    inside = [network.get("IPAddress") for network in networks] or [settings.get("IPAddress")]
    found = [f"{address}:{port}" for address in inside if address]
    return [*found, f"127.0.0.1:{engine.port(container, port)}"]


def _counters(engine: Engine, container: str) -> Counters:
    done = engine.execute(container, "sh", "-c", COUNTERS)
    if done.returncode:
        raise BenchError(f"{container}: expected its cgroup's counters, got {done.stderr.strip()}")
    return parse_counters(done.stdout)


def parse_counters(text: str) -> Counters:
    """Read what COUNTERS prints: CPU in usec (cgroup 2) or nsec (1), and memory's peak."""
    cpu = re.search(r"^usage_(usec|nsec) (\d+)$", text, re.MULTILINE)
    peak = re.search(r"^(\d+)$", text, re.MULTILINE)
    if not cpu or not peak:
        raise BenchError(f"expected a cgroup's counters of CPU and memory, got:\n{text}")
    resident = sum(int(size) for size in re.findall(r"^VmHWM:\s*(\d+) kB$", text, re.MULTILINE))
    return Counters(int(cpu[2]) / (1e6 if cpu[1] == "usec" else 1e9), int(peak[1]), resident * 1024)


def layers_mib(engine: Engine, image: str) -> float:
    """Give what an image adds to its base, the one that our Dockerfile ends on."""
    dockerfile = synth.PROJECT / "service" / "web" / "Dockerfile"
    bases = re.findall(r"^FROM (\S+)", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)
    return (_size(engine, image) - _size(engine, bases[-1])) / MIB


def _size(engine: Engine, image: str) -> int:
    done = subprocess.run(
        [engine.command, "image", "inspect", "--format", "{{.Size}}", image],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BenchError(f"{image}: expected an image, got {done.stderr.strip()}")
    return int(done.stdout)


def engine_version(engine: Engine) -> str:
    """Name the engine and its version."""
    done = subprocess.run(
        [engine.command, "version", "--format", "{{.Server.Version}}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"{engine.name} {done.stdout.strip() or 'of unknown version'}"


def _versions() -> str:
    """Give the servers' and frameworks' versions, from what their images are built of."""
    locks = (synth.PROJECT / "service" / "web", BASELINE / "fastapi")
    text = "".join((lock / "requirements.in").read_text(encoding="utf-8") for lock in locks)
    return ", ".join(text.replace("==", " ").split("\n")).strip(", ")
