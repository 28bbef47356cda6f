"""What two services cost beside the same two applications as one process, and what they save."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import templates
from bench import synth
from bench.load import first_answer, free_port, two_cores
from bench.pace import Paced, pace
from bench.report import BenchError, Outcome, Target, interleave, ratio, say, table
from bench.service import PATH, engine_version
from rehearsal import containers, images
from rehearsal.engines import Engine, EngineError
from scheduler.agent_settings import agent_settings

MONOLITH, SERVICES = "monolith", "web and quotes"
LABEL = "drydock.bench.microservices"
SOURCES = synth.PROJECT / "service"
CPU = "CPU ms/request"
RATE = 200
SECONDS, CRASH_SECONDS = 3.0, 4.0
# In the container: what its cgroup has counted, and of each Python process what is resident.
COUNTERS = """
if [ -f /sys/fs/cgroup/cpu.stat ]; then cat /sys/fs/cgroup/cpu.stat
else echo "usage_nsec $(cat /sys/fs/cgroup/cpuacct/cpuacct.usage)"; fi
cat /proc/[0-9]*/status | grep -E '^(Name|VmRSS|VmHWM)'
"""


@dataclass(frozen=True)
class Counters:
    """CPU that was used so far, and what of memory is resident now and was at most."""

    cpu_seconds: float
    resident_mib: float
    peak_mib: float


@dataclass(frozen=True)
class Lived:
    """One life of a contender: its start, a steady load, and a crash of each container under load.

    By the name of its container in `crashes`; `rollout` is None where nothing can be replaced
    alone.
    """

    start_seconds: float
    rest_mib: float
    peak_mib: float
    cpu_ms_per_request: float
    steady: Paced
    crashes: Mapping[str, Paced]
    rollout: Paced | None


@dataclass(frozen=True)
class Tasks:
    """The containers of the sandbox's task definitions, ready to be run."""

    runs: Mapping[str, Callable[..., containers.Run]]
    reserved: Mapping[str, tuple[int, int]]


def run(rounds: int) -> Outcome:
    """Let both live in each round; raise BenchError without an engine."""
    try:
        engine = Engine.choose()
    except EngineError as error:
        raise BenchError(f"{error}. Start Docker, or name an engine in CDK_DOCKER.") from error
    serving, asking = two_cores()
    try:
        tasks = _tasks(engine)
        measures: dict[str, Callable[[], Lived]] = {
            name: partial(_live, engine, tasks, name, serving, asking)
            for name in (MONOLITH, SERVICES)
        }
        found = interleave(measures, rounds)
    except (EngineError, templates.TemplateError, containers.ContainerError) as error:
        raise BenchError(str(error)) from error
    finally:
        engine.clean(LABEL)
    where = (
        "one core for the containers, another for who asks" if serving is not None else "any core"
    )
    heading = (
        f"microservices: GET {PATH} at {RATE} requests a second, medians of {rounds} interleaved "
        "rounds",
        f"each container with the limits of its task definition, health checks off; {where}",
        f"{engine_version(engine)}, {os.cpu_count()} CPUs; no proxy of Service Connect and no "
        "balancer in between",
        "",
    )
    busy = os.getloadavg()[0] > 2 * (os.cpu_count() or 1)
    return report(found, tasks.reserved, heading, busy=busy)


def report(
    found: Mapping[str, Sequence[Lived]],
    reserved: Mapping[str, tuple[int, int]],
    heading: Sequence[str] = (),
    *,
    busy: bool = False,
) -> Outcome:
    """Lay out the medians, and the two services' beside the monolith's.

    The ratio is that of the CPU for a request, which a busy machine changes least.
    """

    def middle(name: str, pick: Callable[[Lived], float]) -> float:
        return median(pick(one) for one in found[name])

    measures: Mapping[str, tuple[str, Callable[[Lived], float]]] = {
        "start s": ("{:.2f}", lambda one: one.start_seconds),
        "RSS at rest MiB": ("{:.1f}", lambda one: one.rest_mib),
        "RSS peak MiB": ("{:.1f}", lambda one: one.peak_mib),
        CPU: ("{:.2f}", lambda one: one.cpu_ms_per_request),
        "p50 ms": ("{:.2f}", lambda one: one.steady.p50_ms),
        "p99 ms": ("{:.2f}", lambda one: one.steady.p99_ms),
    }
    rows = [
        [name, *(form.format(middle(name, pick)) for form, pick in measures.values())]
        for name in (MONOLITH, SERVICES)
    ]
    times = [
        ratio([pick(one) for one in found[SERVICES]], [pick(one) for one in found[MONOLITH]])
        for _, pick in measures.values()
    ]
    rows.append(["times the monolith's", *(f"{one:.2f}" for one in times)])
    events = [
        [what, *(f"{median(pick(one) for one in paced):.0f}" for pick in COUNTS), outage(paced)]
        for what, paced in _events(found)
    ]
    sizes = [[name, str(cpu), str(memory)] for name, (cpu, memory) in reserved.items()]
    quotes_crash = [one.crashes["quotes"] for one in found[SERVICES]]
    verdicts = [
        (
            "failed requests when quotes is killed",
            median(one.failed for one in quotes_crash),
            Target(0),
        ),
        ("CPU a request, times the monolith's", times[list(measures).index(CPU)], Target(3)),
    ]
    notes = ["times and outages are also other processes' work: measure again on a quiet machine"]
    lines = (
        *heading,
        table(["", *measures], rows),
        "RSS: of all Python processes; start: from the engine's `run` to the first answer with a "
        "quote",
        "",
        table(["under load", "requests", "failed", "degraded", "outage s"], events),
        "killed with SIGKILL and started again at once, as nobody places it anew here; outage: "
        "from the",
        "first failed request to the last; degraded: a 200 without a quote. What replaces quotes "
        "gets its name",
        "from the engine's DNS once it answers, and the old one keeps it until it has ended; ECS "
        "does that better",
        "",
        table(["reserved by one task in the sandbox", "CPU units", "MiB"], sizes),
        "one task of each service reserves "
        f"{_times(reserved, ('web', 'quotes'), 0)} times the monolith's CPU and "
        f"{_times(reserved, ('web', 'quotes'), 1)} times its memory, the proxies' share included;",
        "one task more of quotes alone: "
        f"{_times(reserved, ('quotes',), 0)} and {_times(reserved, ('quotes',), 1)} times",
        "",
        *(f"{what}: {value:.2f}, {target.judge(value)}" for what, value, target in verdicts),
        *(notes if busy else ()),
    )
    return Outcome("\n".join(lines), times[list(measures).index(CPU)])


COUNTS: Sequence[Callable[[Paced], float]] = (
    lambda one: one.requests,
    lambda one: one.failed,
    lambda one: one.degraded,
)


def outage(paced: Sequence[Paced]) -> str:
    """Write the median of the outages."""
    return f"{median(one.outage_s for one in paced):.2f}"


def _events(found: Mapping[str, Sequence[Lived]]) -> Iterator[tuple[str, list[Paced]]]:
    for name in (MONOLITH, SERVICES):
        yield f"nothing happens to {name}", [one.steady for one in found[name]]
    yield "the monolith is killed", [one.crashes[MONOLITH] for one in found[MONOLITH]]
    yield "web is killed", [one.crashes["web"] for one in found[SERVICES]]
    yield "quotes is killed", [one.crashes["quotes"] for one in found[SERVICES]]
    rollouts = [one.rollout for one in found[SERVICES] if one.rollout]
    if rollouts:
        yield "quotes alone is replaced", rollouts


def _times(reserved: Mapping[str, tuple[int, int]], names: Sequence[str], part: int) -> str:
    return f"{sum(reserved[name][part] for name in names) / reserved[MONOLITH][part]:.1f}"


def _tasks(engine: Engine) -> Tasks:
    """Build the three images, and read the sandbox's task definitions."""
    runs: dict[str, Callable[..., containers.Run]] = {}
    reserved: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        out = Path(scratch) / "cdk.out"
        say("synthesizing, for the tasks' limits")
        synth.write(out)
        graph = templates.read(out)
        (template,) = graph.stack("Sandbox/Cluster").of_type("AWS::EC2::LaunchTemplate")
        agent = agent_settings(graph.properties(template)["LaunchTemplateData"]["UserData"])
        for stack in ("Quotes", "Web"):
            (definition,) = graph.stack(f"Sandbox/{stack}").of_type("AWS::ECS::TaskDefinition")
            task = graph.properties(definition)
            (ours,) = task["ContainerDefinitions"]
            ours = {key: value for key, value in ours.items() if key != "HealthCheck"}
            for asset in images.assets(graph.stack(f"Sandbox/{stack}")):
                images.build(engine, asset)
            name = str(ours["Name"])
            task = task | {"ContainerDefinitions": [ours]}
            runs[name] = partial(containers.run, task, name, agent=agent)
            reserved[name] = (int(task["Cpu"]), int(task["Memory"]))
    image = "drydock-bench-monolith:latest"
    # Always built, which costs nothing where nothing changed: its tag is no hash of its source.
    engine.build(
        SOURCES,
        tags=[image],
        options=[f"--file={SOURCES / MONOLITH / 'Dockerfile'}", *images.authority()],
    )
    variables = [one for one in ours["Environment"] if one["Name"] != "QUOTES_URL"]
    alone = ours | {"Name": MONOLITH, "Image": image, "Environment": variables}
    task = task | {"ContainerDefinitions": [alone]}
    runs[MONOLITH] = partial(containers.run, task, MONOLITH, agent=agent)
    reserved[MONOLITH] = (int(alone["Cpu"]), int(alone["Memory"]))
    return Tasks(runs, reserved)


@contextmanager
def _running(
    engine: Engine, tasks: Tasks, names: Sequence[str], serving: int | None
) -> Iterator[tuple[dict[str, str], str, Callable[[str, bool], str]]]:
    """Start containers by their tasks' names; give their ids, an address, and how to start more.

    Who starts more says whether it is in the network at once, under its name.
    """
    network = engine.create_network("drydock-bench", {LABEL: "network"})
    pinned = [f"--cpuset-cpus={serving}"] if serving is not None else []
    port = free_port()
    started: list[str] = []

    def start(name: str, known: bool = True) -> str:
        published = port if name == names[-1] else 0
        inside = network.name if known else None
        one = tasks.runs[name](network=inside, ports={8080: published})
        options = [*pinned, *([f"--network-alias={name}"] if known else [])]
        started.append(engine.run(one, labels={LABEL: name}, options=options))
        return started[-1]

    try:
        yield {name: start(name) for name in names}, f"127.0.0.1:{port}", start
    finally:
        engine.remove(*started)
        engine.remove_network(network.name)


def _live(
    engine: Engine, tasks: Tasks, contender: str, serving: int | None, asking: int | None
) -> Lived:
    """Start a contender, load it, and crash each of its containers under load."""
    names = [MONOLITH] if contender == MONOLITH else ["quotes", "web"]
    began = time.time()
    with _running(engine, tasks, names, serving) as (ids, address, start):
        _whole(address)
        start_seconds = time.time() - began
        # A second in which nothing is asked, after what a start leaves behind.
        time.sleep(1)
        rest = [_counters(engine, one) for one in ids.values()]
        steady = pace(address, PATH, rate=RATE, seconds=SECONDS, core=asking)
        after = [_counters(engine, one) for one in ids.values()]
        if steady.degraded == steady.requests - steady.failed:
            raise BenchError(f"{contender}: expected answers with a quote, got {steady}")
        used = sum(one.cpu_seconds for one in after) - sum(one.cpu_seconds for one in rest)
        crashes = {}
        for name, one in ids.items():
            crashes[name] = pace(
                address,
                PATH,
                rate=RATE,
                seconds=CRASH_SECONDS,
                core=asking,
                meanwhile=partial(_crash, engine, one),
            )
            _whole(address)
        rollout = None
        if contender == SERVICES:
            rollout = pace(
                address,
                PATH,
                rate=RATE,
                # As long as the drain of the one that goes.
                seconds=CRASH_SECONDS + 10,
                core=asking,
                meanwhile=lambda: _replace(engine, ids["quotes"], start),
            )
    return Lived(
        start_seconds=start_seconds,
        rest_mib=sum(one.resident_mib for one in rest),
        peak_mib=sum(one.peak_mib for one in after),
        cpu_ms_per_request=used * 1000 / steady.requests,
        steady=steady,
        crashes=crashes,
        rollout=rollout,
    )


def _crash(engine: Engine, container: str) -> None:
    engine.kill(container)
    engine.wait(container)
    engine.start(container)


def _replace(engine: Engine, old: str, start: Callable[[str, bool], str]) -> None:
    """Start a new quotes, give it the name once it answers, and end the old one."""
    new = start("quotes", False)
    end = time.monotonic() + 30
    while engine.execute(new, "python", "-m", "dock.probe").returncode:
        if time.monotonic() > end:
            raise BenchError(f"{new}: expected it to answer within 30 s")
    networks = engine.inspect(old)["NetworkSettings"]["Networks"]
    (network,) = networks
    command = [engine.command, "network", "connect", "--alias=quotes", network, new]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{new}: expected it in {network}, got {done.stderr.strip()}")
    engine.stop(old)


def _whole(address: str) -> None:
    """Wait until an answer has a quote."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        _, body = first_answer([address], PATH)
        if json.loads(body)["quotes"] != "degraded":
            return
        time.sleep(0.02)
    raise BenchError(f"{address}: expected an answer with a quote within 30 s")


def _counters(engine: Engine, container: str) -> Counters:
    done = engine.execute(container, "sh", "-c", COUNTERS)
    if done.returncode:
        raise BenchError(f"{container}: expected its counters, got {done.stderr.strip()}")
    return parse_counters(done.stdout)


def parse_counters(text: str) -> Counters:
    """Read what COUNTERS prints: CPU in usec (cgroup 2) or nsec (1), and Python's memory."""
    cpu = re.search(r"^usage_(usec|nsec) (\d+)$", text, re.MULTILINE)
    processes = re.findall(
        r"^Name:\s*python\S*\nVmHWM:\s*(\d+) kB\nVmRSS:\s*(\d+) kB$", text, re.MULTILINE
    )
    if not cpu or not processes:
        raise BenchError(f"expected counters of CPU and of a Python process, got:\n{text}")
    peak, resident = (sum(int(one[part]) for one in processes) / 1024 for part in (0, 1))
    return Counters(int(cpu[2]) / (1e6 if cpu[1] == "usec" else 1e9), resident, peak)
