"""What a container really gets is what its task definition and its host's agent say."""

from __future__ import annotations

import http.client
import time

import pytest

from rehearsal.engines import Engine
from templates import Graph
from tests.conftest import until
from tests.rehearsal.conftest import Containers, Task, task_of

pytestmark = pytest.mark.engine

# Reads a value of the container's own cgroup, whichever version the host has.
CGROUP = """
from pathlib import Path
def cgroup(controller, v1, v2):
    root = Path("/sys/fs/cgroup")
    path = root / controller / v1 if (root / controller).is_dir() else root / v2
    return path.read_text().strip() if path.is_file() else "absent"
"""


def seen(engine: Engine, container: str, source: str) -> str:
    """Run a piece of Python in the container; give what it prints."""
    done = engine.execute(container, "python", "-c", source)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def status(engine: Engine, container: str) -> dict[str, str]:
    """Give /proc/1/status of the container: its first process, which everything else inherits."""
    lines = seen(engine, container, "print(open('/proc/1/status').read())").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_it_runs_as_the_user_of_the_template(engine: Engine, web: str, task: Task) -> None:
    user, group = task.container["User"].split(":")
    assert status(engine, web)["Uid"].split() == [user] * 4
    assert status(engine, web)["Gid"].split() == [group] * 4
    assert user != "0"


def test_it_has_no_capability_and_can_gain_none(engine: Engine, web: str, task: Task) -> None:
    assert task.container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    found = status(engine, web)
    for kind in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"):
        assert int(found[kind], 16) == 0, kind
    assert found["NoNewPrivs"] == "1"


def test_its_root_is_read_only(engine: Engine, web: str) -> None:
    folders = ["/", "/opt/venv", "/run", "/var/tmp", "/home"]
    tried = (
        f"import os\nfor folder in {folders}:\n"
        " try: os.open(folder + '/written', os.O_CREAT | os.O_WRONLY)\n"
        " except OSError as error: print(folder, error.errno)"
    )
    # 30 is EROFS. Without it some would fail all the same, with 13 (EACCES); where its user may
    # write by mode, as in /var/tmp, only the mount stops it.
    assert seen(engine, web, tried).splitlines() == [f"{folder} 30" for folder in folders]


def test_tmp_takes_files_but_runs_none_and_ends_at_its_size(
    engine: Engine, web: str, task: Task, running: Containers
) -> None:
    (tmpfs,) = task.container["LinuxParameters"]["Tmpfs"]
    mounted = seen(
        engine, web, "print([m for m in open('/proc/mounts') if ' /tmp ' in m][0])"
    ).split()
    assert mounted[2] == "tmpfs"
    assert {"noexec", "nosuid", "nodev", "rw"} <= set(mounted[3].split(","))
    size = seen(engine, web, "import os; s = os.statvfs('/tmp'); print(s.f_frsize * s.f_blocks)")
    assert int(size) == tmpfs["Size"] * 1024 * 1024
    script = (
        "import os, subprocess\nopen('/tmp/run', 'w').write('#!/bin/sh\\n')\n"
        "os.chmod('/tmp/run', 0o755)\n"
        "try: subprocess.run(['/tmp/run'])\nexcept PermissionError: print('refused')\n"
        "os.remove('/tmp/run')"
    )
    assert seen(engine, web, script) == "refused"
    filled = (
        "written = 0\n"
        "try:\n with open('/tmp/full', 'wb', buffering=0) as file:\n"
        "  while written < 100: written += file.write(bytes(1 << 20)) >> 20\n"
        "except OSError as error: print(error.errno, written)"
    )
    code, said = running.end(task.running(filled))
    assert (code, said.strip()) == (0, f"28 {tmpfs['Size']}")


def test_its_memory_is_limited_without_swap(engine: Engine, web: str, task: Task) -> None:
    limit = task.container["Memory"] << 20
    source = CGROUP + "print(cgroup('memory', 'memory.limit_in_bytes', 'memory.max'))"
    assert int(seen(engine, web, source)) == limit
    host = engine.inspect(web)["HostConfig"]
    assert host["Memory"] == limit
    assert host["MemoryReservation"] == task.container["MemoryReservation"] << 20
    assert host["MemorySwap"] in (limit, -1, 0)
    # Where the kernel counts swap, the container has none beyond its memory.
    swap = seen(
        engine, web,
        CGROUP + "print(cgroup('memory', 'memory.memsw.limit_in_bytes', 'memory.swap.max'))",
    )  # fmt: skip
    assert swap in ("absent", "0", str(limit))


def test_an_allocation_beyond_its_memory_is_killed(task: Task, running: Containers) -> None:
    half, double = task.container["Memory"] // 2, task.container["Memory"] * 2
    allocated = "kept = b'x' * ({} << 20); print(len(kept))"
    assert running.end(task.running(allocated.format(half))) == (0, f"{half << 20}\n")
    assert running.end(task.running(allocated.format(double))) == (137, "")
    # And it was the limit that killed, by the kernel's own count.
    watched = (
        f"{CGROUP}import subprocess, sys\n"
        f"done = subprocess.run([sys.executable, '-c', {allocated.format(double)!r}])\n"
        "counts = cgroup('memory', 'memory.oom_control', 'memory.events').splitlines()\n"
        "print(done.returncode, dict(line.split() for line in counts)['oom_kill'])"
    )
    assert running.end(task.running(watched)) == (0, "-9 1\n")


def test_its_processes_are_limited_by_the_agents_setting(task: Task, running: Containers) -> None:
    limit = task.agent.task_pids_limit
    assert limit is not None
    forked = (
        "import os, time\nforked = 0\n"
        "try:\n while forked < 2000:\n"
        "  if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "  forked += 1\n"
        "except OSError as error: print(error.errno, forked)"
    )
    code, said = running.end(task.running(forked))
    assert code == 0
    error, forks = (int(word) for word in said.split())
    assert error == 11  # EAGAIN
    # Python itself and the init process count too.
    assert forks == limit - 2


def test_its_cpu_is_a_share_and_not_a_quota(
    engine: Engine, running: Containers, task: Task
) -> None:
    definition = {name: one for name, one in task.definition.items() if name != "Cpu"}
    web = running.start(Task(definition, task.agent))
    assert engine.inspect(web)["HostConfig"]["CpuShares"] == task.container["Cpu"]
    shares = seen(engine, web, CGROUP + "print(cgroup('cpu', 'cpu.shares', 'cpu.weight'))")
    # Version 2 counts in weights, of which 100 stands for 1024 shares.
    assert int(shares) == task.container["Cpu"] or int(shares) < 100
    quota = seen(engine, web, CGROUP + "print(cgroup('cpu', 'cpu.cfs_quota_us', 'cpu.max'))")
    assert quota.split()[0] in ("-1", "max")


def test_its_tasks_cpu_is_a_quota(engine: Engine, web: str, task: Task) -> None:
    quota = seen(engine, web, CGROUP + "print(cgroup('cpu', 'cpu.cfs_quota_us', 'cpu.max'))")
    # In microseconds of each 100,000.
    assert int(quota.split()[0]) == int(task.definition["Cpu"]) / 1024 * 100_000


def test_its_files_are_limited_by_the_ulimit(engine: Engine, web: str, task: Task) -> None:
    (limit,) = task.container["Ulimits"]
    limits = seen(engine, web, "print(open('/proc/1/limits').read())")
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    assert line.split()[3:5] == [str(limit["SoftLimit"]), str(limit["HardLimit"])]


def test_an_init_process_is_its_first(engine: Engine, web: str, task: Task) -> None:
    assert task.container["LinuxParameters"]["InitProcessEnabled"] is True
    assert status(engine, web)["Name"] != "python"


def test_it_is_published_on_the_loopback_only(engine: Engine, web: str, task: Task) -> None:
    (mapping,) = task.container["PortMappings"]
    (published,) = engine.inspect(web)["NetworkSettings"]["Ports"][
        f"{mapping['ContainerPort']}/tcp"
    ]
    assert published["HostIp"] == "127.0.0.1"
    assert answer(engine.port(web, mapping["ContainerPort"]), "/health/ready")[0] == 200


def test_production_starts_with_its_own_limits(
    engine: Engine, graph: Graph, image: str, running: Containers
) -> None:
    production = task_of(graph, "Production").but(Image=image)
    container = running.start(production)
    port = engine.port(container, production.container["PortMappings"][0]["ContainerPort"])
    until(lambda: answered(port), seconds=20)
    host = engine.inspect(container)["HostConfig"]
    assert host["Memory"] == production.container["Memory"] << 20
    assert host["PidsLimit"] == production.agent.task_pids_limit


def test_its_health_check_turns_healthy(engine: Engine, web: str, task: Task) -> None:
    check = task.container["HealthCheck"]
    assert check["Command"][0] == "CMD"
    until(lambda: engine.health(web) == "healthy", seconds=2 * check["Interval"] + 5)


@pytest.mark.parametrize(("word", "verdict"), [("a 'b'", "healthy"), ("another", "unhealthy")])
def test_a_health_check_sees_its_words_and_decides(
    engine: Engine, task: Task, running: Containers, word: str, verdict: str
) -> None:
    words = ["CMD", "python", "-c", "import sys; sys.exit(sys.argv[1] != \"a 'b'\")", word]
    check = {"Command": words, "Interval": 1, "Timeout": 5, "Retries": 1, "StartPeriod": 0}
    checked = running.start(task.but(HealthCheck=check))
    until(lambda: engine.health(checked) == verdict, seconds=20)


def test_what_ignores_sigterm_is_killed_at_the_stop_timeout(
    engine: Engine, task: Task, running: Containers
) -> None:
    deaf = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True); time.sleep(60)"
    )
    container = running.start(task.running(deaf).but(StopTimeout=2))
    until(lambda: "deaf" in engine.logs(container), seconds=10)
    started = time.monotonic()
    engine.stop(container)
    assert 2 <= time.monotonic() - started < 6
    assert engine.wait(container) == 137


def test_a_secret_reaches_the_container_and_no_argument(
    engine: Engine, task: Task, running: Containers
) -> None:
    told = task.running("import os; print(os.environ['QUOTES_KEY'])").but(
        Secrets=[{"Name": "QUOTES_KEY", "ValueFrom": "arn"}]
    )
    container = running.start(told, secrets={"QUOTES_KEY": "of no use"})
    assert engine.wait(container) == 0
    assert engine.logs(container) == "of no use\n"


def test_what_a_run_leaves_behind_is_found_by_its_label(
    engine: Engine, task: Task, running: Containers
) -> None:
    container = running.start(task.running("").but(DockerLabels={"drydock.left": "over"}))
    engine.wait(container)
    (removed,) = engine.clean("drydock.left=over")
    assert container.startswith(removed)
    assert engine.clean("drydock.left=over") == []


def answer(port: int, path: str) -> tuple[int, str | None]:
    """Ask a published port once; give the status and what becomes of the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("Connection")
    finally:
        connection.close()


def answered(port: int) -> bool:
    """Say whether the port answers yet."""
    try:
        return answer(port, "/health/ready")[0] == 200
    except (OSError, http.client.HTTPException):
        return False
