"""How long a process, a container and a virtual machine take to be there, and what each holds."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import templates
from bench import synth
from bench.load import first_answer, free_port
from bench.report import BenchError, Outcome, interleave, ratio, say, table
from rehearsal import containers, images
from rehearsal.engines import Engine, EngineError
from rehearsal.engines.commands import NAMES
from scheduler.agent_settings import agent_settings

FOLDER = synth.PROJECT / ".build" / "machines"
# What lab 2 reads: python -m labs check 2.
RESULT = FOLDER / "measured.json"
PROCESS, MACHINE = "process", "virtual machine"
LABEL = "drydock.bench"
PORT, PATH = 8080, "/health/ready"
KIB_A_MIB = 1024

QEMU = "qemu-system-x86_64"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
MACHINE_MIB = 128
UP = b"the machine is up"
INIT = f"""#!/bin/busybox sh
echo {UP.decode()}
/bin/busybox poweroff -f
"""
# With KVM a boot takes a second; where it is offered and does not work, it never ends.
KVM_SECONDS, TCG_SECONDS = 20.0, 120.0
# Without a process of its own, so that it counts those of the container only.
RESIDENT = """
total=0
for one in /proc/[0-9]*/status; do
    [ "$one" = "/proc/$$/status" ] && continue
    while read -r name value _; do
        if [ "$name" = VmRSS: ]; then total=$((total + value)); fi
    done <"$one"
done
echo "$total"
"""


@dataclass(frozen=True)
class Started:
    """One start: seconds from the command to the first answer, and MiB resident right then."""

    seconds: float
    mib: float


# Where no machine can be booted. Both of one run on one machine, so that they can be compared.
RECORDED_ON = (
    "2026-11-29, 2 CPUs of a virtual machine (AMD EPYC); Debian 12, qemu 7.2 without KVM, "
    "Docker 20.10"
)
RECORDED: Mapping[str, Started] = {
    "docker": Started(0.79, 35.3),
    MACHINE: Started(4.32, 208.2),
}


class NoMachineError(Exception):
    """Says why no virtual machine can be booted here."""


@dataclass(frozen=True)
class Machine:
    """What qemu boots: a kernel, an initial RAM disk that says it is up, and how it runs them."""

    kernel: Path
    disk: Path
    accelerator: str

    def command(self) -> list[str]:
        """Give qemu's words: one CPU, no device but a serial console."""
        return [
            QEMU, "-accel", self.accelerator, "-m", str(MACHINE_MIB), "-smp", "1",
            "-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", str(self.kernel), "-initrd", str(self.disk),
            "-append", "console=ttyS0 quiet panic=-1",
        ]  # fmt: skip

    def boot(self) -> Started:
        """Boot it until it says that it is up, and end it; raise NoMachineError where it does not.

        It is stopped before it powers itself off, and has no network, no disk and no service.
        """
        limit = KVM_SECONDS if self.accelerator == "kvm" else TCG_SECONDS
        began = time.perf_counter()
        with subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            end = threading.Timer(limit, process.kill)
            end.start()
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if UP in line:
                        return Started(time.perf_counter() - began, resident_mib(process.pid))
            finally:
                end.cancel()
                process.kill()
        raise NoMachineError(f"{QEMU} with {self.accelerator} does not boot within {limit:g} s")


def run(rounds: int) -> Outcome:
    """Start each of them once a round, and write the medians to RESULT.

    Raises BenchError where no container engine answers. Where no machine can be booted, the
    recorded figures stand in its place, and are said to be such.
    """
    engines = [engine for engine in map(Engine, NAMES) if engine.trouble() is None]
    contenders: dict[str, Callable[[], Started]] = {}
    try:
        for engine in engines:
            try:
                start = partial(_container, engine, _web(engine))
                start()
            except EngineError as error:
                say(f"{engine.name} is left out: {error}")
            else:
                contenders[engine.name] = start
        if not contenders:
            raise BenchError(f"expected {' or '.join(NAMES)} to start a container, got neither")
        contenders[PROCESS] = _process
        machine = None
        try:
            machine = prepare()
            contenders[MACHINE] = machine.boot
        except NoMachineError as error:
            say(f"No virtual machine: {error}. Recorded figures take its place.")
        found = interleave(contenders, rounds)
    except (
        EngineError, NoMachineError, templates.TemplateError, containers.ContainerError,
    ) as error:  # fmt: skip
        raise BenchError(str(error)) from error
    finally:
        for engine in engines:
            engine.clean(LABEL)
    outcome = report(found, machine, rounds)
    _keep(found, machine, rounds)
    return outcome


def report(found: Mapping[str, Sequence[Started]], machine: Machine | None, rounds: int) -> Outcome:
    """Lay out the medians; without a machine the recorded ones, beside them.

    The ratio is the seconds of the machine over those of a container, both of the same computer.
    """
    how = machine.accelerator if machine else "recorded"
    rows = [_row(name, found[name]) for name in found if name != MACHINE]
    if machine:
        machines, beside = found[MACHINE], found[container_of(found)]
        notes = [f"{MACHINE}: {MACHINE_MIB} MiB, {machine.kernel.name}"]
        if how == "tcg":
            notes.append("tcg: qemu translates every instruction; with KVM it is faster")
    else:
        machines, beside = [RECORDED[MACHINE]], [RECORDED["docker"]]
        notes = [f"recorded: on {RECORDED_ON}; nothing was booted here"]
        rows.append(_row("docker (recorded)", beside))
    rows.append(_row(f"{MACHINE} ({how})", machines))
    times = ratio([one.seconds for one in machines], [one.seconds for one in beside])
    lines = [
        f"machines: medians of {rounds} rounds; {here()}",
        "seconds from the command to the first answer, and MiB resident then, without the engine's "
        "own;",
        "of a virtual machine to its first process, which has no network and is no service yet",
        "",
        table(["", "seconds", "MiB"], rows),
        *notes,
        "",
        f"seconds of a virtual machine, times a container's: {times:.1f}",
    ]
    return Outcome("\n".join(lines), times)


def container_of(names: Mapping[str, object]) -> str:
    """Name the engine whose containers the machine is compared with: docker, else podman."""
    return next(name for name in NAMES if name in names)


def here() -> str:
    """Name the class of this machine."""
    return f"{os.cpu_count()} CPUs ({_processor()}), {platform.system()} {platform.release()}"


def resident_mib(pid: int) -> float:
    """Give what a process and those that it started hold of memory, in MiB."""
    done = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=True
    )
    entries = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    children: dict[int, list[int]] = {}
    resident = {}
    for one, parent, kib in entries:
        children.setdefault(parent, []).append(one)
        resident[one] = kib
    total, todo = 0, [pid]
    while todo:
        one = todo.pop()
        total += resident.get(one, 0)
        todo += children.get(one, [])
    return total / KIB_A_MIB


def prepare(folder: Path = FOLDER) -> Machine:
    """Make what qemu boots, and boot it once; raise NoMachineError where something is missing."""
    if platform.machine() != "x86_64":
        raise NoMachineError(f"expected an x86_64 processor, got {platform.machine()}")
    busybox = shutil.which("busybox")
    if shutil.which(QEMU) is None or busybox is None:
        raise NoMachineError(
            f"expected {QEMU} and busybox, got not both (Debian: apt install qemu-system-x86 "
            "busybox-static)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    kernel, disk = _kernel(folder), _disk(folder, Path(busybox))
    if _has_kvm():
        try:
            machine = Machine(kernel, disk, "kvm")
            machine.boot()
        except NoMachineError as error:
            say(f"{error}; without KVM then")
        else:
            return machine
    machine = Machine(kernel, disk, "tcg")
    machine.boot()
    return machine


def _disk(folder: Path, busybox: Path) -> Path:
    """Pack an initial RAM disk of busybox and an init that says it is up."""
    # The path of a dynamic loader stands near a program's beginning, and the disk has none.
    if b"ld-linux" in busybox.read_bytes()[:4096]:
        raise NoMachineError(
            f"{busybox}: expected a static one (Debian: apt install busybox-static)"
        )
    disk = folder / "initrd.gz"
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        root = Path(scratch)
        (root / "bin").mkdir()
        shutil.copy(busybox, root / "bin" / "busybox")
        (root / "init").write_text(INIT, encoding="utf-8")
        (root / "init").chmod(0o755)
        packed = subprocess.run(
            [str(busybox), "cpio", "-o", "-H", "newc"], input=b"bin\nbin/busybox\ninit\n",
            cwd=root, capture_output=True, check=False,
        )  # fmt: skip
    if packed.returncode:
        raise NoMachineError(f"{busybox} cpio: {packed.stderr.decode().strip()}")
    disk.write_bytes(gzip.compress(packed.stdout, compresslevel=1))
    return disk


def _kernel(folder: Path) -> Path:
    """Give Debian's kernel for clouds, fetched by apt once and unpacked, not installed."""
    unpacked = sorted((folder / "boot").glob("vmlinuz-*"))
    if unpacked:
        return unpacked[-1]
    for command in ("apt-cache", "apt-get", "dpkg-deb"):
        if shutil.which(command) is None:
            raise NoMachineError(
                f"expected {command}, to fetch a kernel of Debian's with, got none"
            )
    depends = _output("apt-cache", "depends", KERNEL_PACKAGE, cwd=folder)
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    if package is None:
        raise NoMachineError(
            f"expected a package {KERNEL_PACKAGE}, got none: apt-get update, on Debian"
        )
    say(f"fetching {package[1]}, to be unpacked in {folder}")
    _output("apt-get", "download", package[1], cwd=folder)
    (archive, *_) = folder.glob(f"{package[1]}_*.deb")
    _output("dpkg-deb", "--extract", archive.name, ".", cwd=folder)
    # Of the 130 MiB only the kernel is booted; its modules stay away.
    shutil.rmtree(folder / "lib", ignore_errors=True)
    archive.unlink()
    return sorted((folder / "boot").glob("vmlinuz-*"))[-1]


def _output(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoMachineError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _has_kvm() -> bool:
    """Say whether KVM may be used: its device can be opened, and the processor has its means.

    A virtual machine that may hold no others can have the device all the same.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    flags = re.search(r"^flags\s*:(.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return flags is not None and bool({"vmx", "svm"} & set(flags[1].split()))


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _web(engine: Engine) -> containers.Run:
    """Build the sandbox's image, and give how its container is started; from cdk.out, if there."""
    with tempfile.TemporaryDirectory(prefix="drydock-bench-") as scratch:
        out = synth.PROJECT / "cdk.out"
        if not (out / "manifest.json").is_file():
            out = Path(scratch) / "cdk.out"
            say("synthesizing, for the task's limits")
            synth.write(out)
        graph = templates.read(out)
        images.build_environment(graph, "sandbox", engine)
        (definition,) = graph.stack("Sandbox/Web").of_type("AWS::ECS::TaskDefinition")
        (template,) = graph.stack("Sandbox/Cluster").of_type("AWS::EC2::LaunchTemplate")
        data = graph.properties(template)["LaunchTemplateData"]
        properties = graph.properties(definition)
        name = properties["ContainerDefinitions"][0]["Name"]
        return containers.run(properties, name, agent=agent_settings(data["UserData"]))


def _process() -> Started:
    """Start the service as a process of this Python, with no limits."""
    port = free_port()
    sources = synth.PROJECT / "service"
    variables = {**os.environ, "PORT": str(port), "PYTHONPATH": str(sources)}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "web"], env=variables,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            first_answer([f"127.0.0.1:{port}"], PATH)
            return Started(time.perf_counter() - began, resident_mib(process.pid))
        finally:
            process.kill()


def _container(engine: Engine, run: containers.Run) -> Started:
    """Start the service's container with the task definition's limits, and remove it."""
    began = time.perf_counter()
    container = engine.run(run, labels={LABEL: "machines"})
    try:
        first_answer([f"127.0.0.1:{engine.port(container, PORT)}"], PATH)
        seconds = time.perf_counter() - began
        done = engine.execute(container, "sh", "-c", RESIDENT)
        if done.returncode:
            raise BenchError(f"{container}: expected its memory, got {done.stderr.strip()}")
        return Started(seconds, int(done.stdout) / KIB_A_MIB)
    finally:
        engine.remove(container)


def middle(starts: Sequence[Started]) -> Started:
    """Give the medians of seconds and of MiB."""
    return Started(median(one.seconds for one in starts), median(one.mib for one in starts))


def _row(name: str, starts: Sequence[Started]) -> list[str]:
    one = middle(starts)
    return [name, f"{one.seconds:.2f}", f"{one.mib:.1f}"]


def _keep(found: Mapping[str, Sequence[Started]], machine: Machine | None, rounds: int) -> None:
    kept = {
        "at": time.time(),
        "on": here(),
        "rounds": rounds,
        "machine": machine.accelerator if machine else "recorded",
        "starts": {name: asdict(middle(each)) for name, each in found.items()},
        "recorded": {name: asdict(each) for name, each in RECORDED.items()},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    say(f"{RESULT.relative_to(synth.PROJECT)} has it, too.")
