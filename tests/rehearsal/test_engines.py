"""Docker, Podman and plain processes keep the same promises, and each says what it cannot."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rehearsal import containers
from rehearsal.containers import Run
from rehearsal.engines import Change, Engine, EngineError, Line, Processes, Runtime, Watch
from rehearsal.engines.processes import _LAUNCH
from scheduler.agent_settings import AgentSettings
from templates import Graph
from tests.conftest import until
from tests.rehearsal.conftest import RUN, build_web

real = pytest.mark.engine
LABELS = dict([RUN.split("=")])
ASLEEP = "import time; time.sleep(60)"


@pytest.fixture(scope="module")
def tag(runtime: Runtime, graph: Graph) -> str:
    """The sandbox's image, or what stands for it."""
    return build_web(graph, runtime)


@pytest.fixture
def watch(runtime: Runtime) -> Iterator[Watch]:
    """What happens to this run's containers."""
    found = runtime.watch(RUN)
    yield found
    found.close()


@pytest.fixture
def python(runtime: Runtime, tag: str) -> Iterator[Callable[..., str]]:
    """Starts a piece of Python in a container; all are removed after the test."""
    started = []

    def start(source: str, *, network: str | None = None, **definition: object) -> str:
        started.append(runtime.run(run_of(tag, source, network, **definition), labels=LABELS))
        return started[-1]

    yield start
    runtime.remove(*started)


def run_of(tag: str, source: str, network: str | None = None, **definition: object) -> Run:
    container = {"Name": "web", "Image": tag, "Command": ["python", "-uc", source], **definition}
    task = {"Family": "family", "ContainerDefinitions": [container]}
    return containers.run(task, "web", agent=AgentSettings(), network=network)


def told(watch: Watch, *, until: Callable[[list[Change]], bool], seconds: float = 10) -> Any:  # noqa: ANN401
    """Take what is told until it suffices; fail after some seconds."""
    found: list[Change] = []
    end = time.monotonic() + seconds
    while not until(found):
        found.append(watch.changes.get(timeout=max(0.01, end - time.monotonic())))
    return found


def kinds(changes: list[Change], container: str) -> list[str]:
    return [one.kind for one in changes if one.container == container]


@real
def test_a_life_is_told_once_from_start_to_exit_code(
    runtime: Runtime, watch: Watch, python: Callable[..., str]
) -> None:
    container = python("import sys, time; time.sleep(0.5); sys.exit(3)")
    changes = told(watch, until=lambda found: "died" in kinds(found, container))
    time.sleep(0.4)
    while not watch.changes.empty():
        changes.append(watch.changes.get())
    assert kinds(changes, container) == ["started", "died"]
    state = runtime.state(container)
    assert (state.running, state.exit_code, state.out_of_memory) == (False, 3, False)
    assert state.started is not None
    assert state.finished is not None
    assert 0.4 < state.finished - state.started < 5


@real
def test_a_kill_from_outside_is_told_at_once(
    runtime: Runtime, watch: Watch, python: Callable[..., str]
) -> None:
    container = python(ASLEEP)
    told(watch, until=lambda found: "started" in kinds(found, container))
    killed = time.monotonic()
    os.kill(runtime.state(container).pid, signal.SIGKILL)
    told(watch, until=lambda found: "died" in kinds(found, container))
    # 0.1 s on a quiet machine; Podman alone looks for it four times a second.
    assert time.monotonic() - killed < 5
    until(lambda: runtime.state(container).exit_code == 137, seconds=5)
    assert not runtime.state(container).out_of_memory


@real
def test_a_container_starts_again_with_its_log(
    runtime: Runtime, python: Callable[..., str]
) -> None:
    container = python("print('again')")
    assert runtime.wait(container) == 0
    runtime.start(container)
    assert runtime.wait(container) == 0
    until(lambda: runtime.logs(container) == "again\nagain\n", seconds=5)
    assert runtime.logs(container) == "again\nagain\n"


@real
def test_lines_come_as_they_are_written_until_the_end(
    runtime: Runtime, python: Callable[..., str]
) -> None:
    began = time.time()
    container = python(
        "import sys, time\nprint('first')\ntime.sleep(3)\n"
        "print('second', file=sys.stderr)\nprint('no newline', end='')"
    )
    lines: list[tuple[float, Line]] = []

    def follow() -> None:
        for line in runtime.follow_logs(container):
            lines.append((time.time(), line))  # noqa: PERF401 - each is timed as it comes

    follower = threading.Thread(target=follow)
    follower.start()
    follower.join(10)
    assert not follower.is_alive()
    found = {line.text: (came, line) for came, line in lines}
    assert len(lines) == 3
    assert [found[text][1].stream for text in ("first", "second", "no newline")] == [
        "stdout", "stderr", "stdout",
    ]  # fmt: skip
    assert found["first"][1].time <= found["second"][1].time - 0.3
    assert found["first"][0] < found["second"][1].time
    assert began - 1 < found["first"][1].time < time.time()


@real
def test_what_is_removed_is_gone_and_may_be_removed_again(
    runtime: Runtime, python: Callable[..., str]
) -> None:
    container = python(ASLEEP)
    runtime.remove(container)
    with pytest.raises(EngineError):
        runtime.state(container)
    runtime.remove(container)


@real
def test_an_image_that_is_not_here_is_named(runtime: Runtime) -> None:
    assert not runtime.has_image("drydock/absent:1")
    with pytest.raises(EngineError, match="drydock/absent:1"):
        runtime.image("drydock/absent:1")


@real
def test_an_image_that_cannot_be_pulled_says_so_in_the_engines_words(runtime: Runtime) -> None:
    with pytest.raises(EngineError) as refused:
        runtime.pull("127.0.0.1:1/absent:1")
    expected = "expected an image that is built here" if runtime.name == "processes" else "refused"
    assert expected in refused.value.said


@real
def test_what_a_container_uses_is_measured(runtime: Runtime, python: Callable[..., str]) -> None:
    container = python("kept = b'x' * (40 << 20)\n" + ASLEEP)
    time.sleep(0.5)
    usage = runtime.usage(container)[container]
    assert 40 << 20 <= usage.memory_bytes < 200 << 20
    assert usage.cpu_percent >= 0
    assert usage.processes >= 1


@real
def test_its_containers_reach_a_server_of_this_machine(
    runtime: Runtime, python: Callable[..., str]
) -> None:
    network = runtime.create_network("drydock-test", LABELS)
    with network.listen() as server:
        server.settimeout(10)
        name = None if runtime.name == "processes" else network.name
        container = python(
            f"import socket; s = socket.create_connection({(network.host_address, 0)!r}[:1] + "
            f"({server.getsockname()[1]},), 5); print(s.recv(5).decode())",
            network=name,
        )
        connection, _ = server.accept()
        connection.sendall(b"hello")
        connection.close()
    assert runtime.wait(container) == 0
    assert runtime.logs(container) == "hello\n"
    runtime.remove(container)
    runtime.remove_network(network.name)
    runtime.remove_network(network.name)


@real
def test_networks_are_apart(engine: Engine, image: str) -> None:
    served = (
        "import http.server, socketserver\n"
        "http.server.HTTPServer(('', 8080), http.server.BaseHTTPRequestHandler).serve_forever()"
    )
    networks = [engine.create_network("drydock-test", LABELS) for _ in range(2)]
    assert networks[0].name != networks[1].name
    one, other = (
        engine.run(run_of(image, served, network.name), labels=LABELS) for network in networks
    )
    addresses = [
        engine.inspect(container)["NetworkSettings"]["Networks"][network.name]["IPAddress"]
        for container, network in zip((one, other), networks, strict=True)
    ]
    asked = "import socket, sys; socket.create_connection((sys.argv[1], 8080), 1)"

    def reaches(container: str, address: str) -> bool:
        return engine.execute(container, "python", "-c", asked, address).returncode == 0

    def is_apart_after_a_start(container: str, address: str) -> bool:
        started = engine.run(run_of(image, "", networks[0].name), labels=LABELS)
        try:
            return not reaches(container, address)
        finally:
            engine.remove(started)

    try:
        until(lambda: reaches(one, addresses[0]), seconds=30)
        until(lambda: reaches(other, addresses[1]), seconds=30)
        for container, address in ((one, addresses[1]), (other, addresses[0])):
            if engine.name == "podman":
                # A network that ends, of another test for one, opens all of them until a container
                # starts (docs/rehearsal.md, Safety).
                until(partial(is_apart_after_a_start, container, address), seconds=30)
            else:
                assert not reaches(container, address)
    finally:
        engine.remove(one, other)
        for network in networks:
            engine.remove_network(network.name)


@real
def test_networks_go_with_their_label(engine: Engine) -> None:
    engine.create_network("drydock-test", {"drydock.left": RUN})
    listed = [engine.command, "network", "ls", "--filter", f"label=drydock.left={RUN}", "--quiet"]

    def left() -> str:
        return subprocess.run(listed, capture_output=True, text=True, check=True).stdout

    assert left()
    assert engine.clean(f"drydock.left={RUN}") == []
    assert not left()


@real
def test_nothing_is_missed_where_the_stream_of_events_ends(engine: Engine, image: str) -> None:
    def start() -> str:
        return engine.run(run_of(image, ASLEEP), labels=LABELS)

    first = start()
    watch = engine.watch(RUN)
    try:
        changes = told(watch, until=lambda found: "started" in kinds(found, first))
        stream = watch._process
        assert stream is not None
        stream.kill()
        second = start()
        engine.kill(first)
        third = start()
        engine.remove(third)
        changes += told(
            watch,
            until=lambda found: "died" in kinds(found, first) and "started" in kinds(found, second),
        )
        assert watch._process is not stream
        # And the new stream is a live one.
        engine.kill(second)
        changes += told(watch, until=lambda found: "died" in kinds(found, second))
    finally:
        watch.close()
        engine.remove(first, second)
    assert kinds(changes, first) == ["started", "died"]
    assert kinds(changes, second) == ["started", "died"]


@real
def test_only_its_limit_is_told_as_the_reason_of_a_kill(engine: Engine, image: str) -> None:
    found = []
    for source in ("kept = b'x' * (200 << 20)", "import os; os.kill(os.getpid(), 9)"):
        run = run_of(image, source, Memory=64, LinuxParameters={"InitProcessEnabled": True})
        container = engine.run(run, labels=LABELS)
        assert engine.wait(container) == 137
        found.append(engine.state(container).out_of_memory)
        engine.remove(container)
    assert found == [True, False]


@real
def test_a_command_that_is_not_there_is_said_in_the_engines_words(
    engine: Engine, image: str
) -> None:
    run = run_of(image, "", Command=["/no/such"])
    name = f"drydock-test-{os.getpid()}"
    with pytest.raises(EngineError, match=f"{engine.command} run: ") as refused:
        engine.run(run, labels=LABELS, options=[f"--name={name}"])
    assert 'exec: "/no/such"' in refused.value.said
    assert "--help" not in refused.value.said
    engine.remove(name)


@real
def test_a_containers_own_labels_do_not_hide_it(runtime: Runtime, tag: str) -> None:
    name, _, value = RUN.partition("=")
    run = run_of(tag, ASLEEP, DockerLabels={name: "another's", "of": "its own"})
    container = runtime.run(run, labels={name: value})
    assert container in runtime.clean(RUN)


@real
def test_no_image_is_read_as_an_option(engine: Engine) -> None:
    for ask in (
        lambda: engine.run(Run(options=(), image="--help", command=(), departures=())),
        lambda: engine.pull("--help"),
        lambda: engine.image("--help"),
    ):
        with pytest.raises(EngineError, match="invalid reference format"):
            ask()
    assert not engine.has_image("--help")


# Without an engine: what it says is played by a script.


def script(folder: Path, name: str, body: str) -> str:
    """Write an executable that plays an engine; give its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "docker",
            "Error response from daemon: could not find an available, non-overlapping IPv4 "
            "address pool among the defaults to assign to the network",
        ),
        ("docker", "Error response from daemon: all predefined address pools have been fully "
                   "subnetted"),
        ("podman", "Error: could not find free subnet from subnet pools"),
    ],
)  # fmt: skip
def test_where_no_addresses_are_left_it_says_how_to_make_room(
    tmp_path: Path, name: str, said: str
) -> None:
    engine = Engine(script(tmp_path, name, f"echo '{said}' >&2; exit 1"))
    with pytest.raises(EngineError) as refused:
        engine.create_network("sandbox-a", {})
    assert str(refused.value).startswith(
        "sandbox-a: expected a range of addresses for one more network, got none; make room with: "
        f"{engine.command} network prune ("
    )


def test_any_other_trouble_with_a_network_is_said_as_it_is(tmp_path: Path) -> None:
    engine = Engine(script(tmp_path, "docker", "echo 'Error: no rights' >&2; exit 1"))
    with pytest.raises(EngineError, match="docker network: no rights"):
        engine.create_network("sandbox-a", {})


def test_a_gateway_of_another_machine_gives_way_to_the_engines_name_for_ours(
    tmp_path: Path,
) -> None:
    # 192.0.2.0/24 is nobody's. Source: RFC 5737.
    config = json.dumps(
        [{"IPAM": {"Config": [{"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"}]}}]
    )
    body = f"[ $2 = create ] || echo '{config}'"
    network = Engine(script(tmp_path, "docker", body)).create_network("sandbox-a", {})
    assert (network.host_address, network.listen_address) == ("host.docker.internal", "127.0.0.1")
    assert network.subnet == "192.0.2.0/24"


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_of_a_networks_ranges_the_one_of_ipv4_counts(tmp_path: Path, name: str) -> None:
    ranges = [
        {"subnet": "2001:db8::/64", "gateway": "2001:db8::1"},
        {"subnet": "192.0.2.0/24", "gateway": "192.0.2.1"},
    ]
    spelled = [{key.title(): value for key, value in one.items()} for one in ranges]
    config = json.dumps([{"subnets": ranges, "IPAM": {"Config": spelled}}])
    body = f"[ $2 = create ] || [ $1 = info ] && echo true true || echo '{config}'"
    network = Engine(script(tmp_path, name, body)).create_network("sandbox-a", {})
    assert network.subnet == "192.0.2.0/24"


def test_a_network_without_ipv4_is_removed_and_said(tmp_path: Path) -> None:
    config = json.dumps([{"IPAM": {"Config": [{"Subnet": "2001:db8::/64", "Gateway": "::1"}]}}])
    body = f"echo $2 >>{tmp_path}/asked; [ $2 != inspect ] || echo '{config}'"
    engine = Engine(script(tmp_path, "docker", body))
    with pytest.raises(EngineError, match="sandbox-a: expected a range of IPv4 with a gateway"):
        engine.create_network("sandbox-a", {})
    assert (tmp_path / "asked").read_text().split() == ["create", "inspect", "rm"]


def test_watching_goes_on_after_an_event_that_cannot_be_read(tmp_path: Path) -> None:
    event = {
        "Action": "die", "timeNano": 2_000_000_000,
        "Actor": {"ID": "container", "Attributes": {"exitCode": "3"}},
    }  # fmt: skip
    body = (
        "[ $1 = events ] || exit 0\n"
        f"if mkdir {tmp_path}/once 2>/dev/null; then echo 'no event'; exec sleep 30; fi\n"
        f"echo '{json.dumps(event)}'; exec sleep 30"
    )
    watch = Engine(script(tmp_path, "docker", body)).watch("a=b")
    try:
        assert watch.changes.get(timeout=10) == Change("container", "died", 2.0, 3)
    finally:
        watch.close()


def test_an_answer_that_takes_too_long_names_the_call(tmp_path: Path) -> None:
    engine = Engine(script(tmp_path, "docker", "exec sleep 30"))
    with pytest.raises(EngineError, match=r"docker wait: expected an answer within 0\.2 s"):
        engine.wait("container", timeout=0.2)


def test_a_call_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    engine = Engine(script(tmp_path, "docker", "exit 0"))
    with pytest.raises(EngineError, match="docker kill: embedded null byte"):
        engine.kill("a\0b")
    (tmp_path / "docker").unlink()
    with pytest.raises(EngineError, match=r"docker kill: .*No such file"):
        engine.kill("container")


def test_last_words_are_read_where_following_ended_before_them(tmp_path: Path) -> None:
    first, last = "2026-01-01T00:00:00.25Z first", "2026-01-01T00:00:00.5Z last"
    body = f"echo '{first}'\n[ $2 = --follow ] || echo '{last}'\necho 'of the client' >&2"
    lines = list(Engine(script(tmp_path, "docker", body)).follow_logs("container"))
    assert [line.text for line in lines] == ["first", "last"]


def test_a_line_in_parts_is_asked_for_again_as_a_whole(tmp_path: Path) -> None:
    first, end = "2026-01-01T00:00:00.477636010Z", "2026-01-01T00:00:00.477793Z"
    # As Podman does: what is older than asked for is left out, part by part.
    body = (
        "[ $2 = --follow ] || [ ${3#--since=} \\< 1767225600.477636010 ] "
        f"|| {{ echo '{end} '; exit; }}\necho '{first} first{end} '"
    )
    lines = list(Engine(script(tmp_path, "podman", body)).follow_logs("container"))
    assert [line.text for line in lines] == ["first"]


def test_a_line_that_was_written_in_parts_keeps_only_the_time_of_its_own(tmp_path: Path) -> None:
    own, part = "2026-01-01T00:00:00.1Z", "2026-01-01T00:00:00.2+00:00"
    body = f"echo '{part} said at {own} and {part} on'"
    (line,) = Engine(script(tmp_path, "podman", body)).follow_logs("container")
    assert line.text == f"said at {own} and on"


def test_processes_stand_in_only_where_allowed_and_nobody_asked_for_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CDK_DOCKER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    processes = Processes(tmp_path / "state")
    said: list[str] = []
    assert Engine.choose(processes=processes, say=said.append) is processes
    assert said[0].startswith(
        "No container engine: docker is not installed; podman is not installed. Plain processes "
        "take the place of containers; not enforced: memory; CPU shares and quotas; "
    )
    assert Engine.choose("processes", processes=processes, say=said.append) is processes
    assert len(said) == 1
    for asked in (None, "docker", "processes"):
        with pytest.raises(EngineError, match="expected a container engine, got none"):
            Engine.choose(asked)
    with pytest.raises(EngineError, match="expected a container engine, got none: docker is not"):
        Engine.choose("docker", processes=processes, say=said.append)


# Plain processes.

SERVED = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Answer).serve_forever()
"""


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Plain processes of an image that sleeps; all are removed after the test."""
    found = Processes(tmp_path / "state")
    source = tmp_path / "source"
    source.mkdir()
    command = json.dumps(["python", "-uc", ASLEEP])
    (source / "Dockerfile").write_text(f"FROM base\nENV OF_IMAGE=yes\nCMD {command}\n")
    (source / "beside.py").write_text("print('found beside')\n")
    found.build(source, tags=["image:1"])
    yield found
    found.clean(RUN)


def process(processes: Processes, source: str, **definition: object) -> str:
    return processes.run(run_of("image:1", source, None, **definition), labels=LABELS)


def test_a_process_sees_its_source_its_variables_and_nothing_of_ours(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "somebody's")
    container = process(
        processes,
        "import beside, os, sys\n"
        "print(os.environ['OF_IMAGE'], os.environ['OF_TASK'], os.environ.get('AWS_PROFILE'))\n"
        "print(sys.prefix)",
        Environment=[{"Name": "OF_TASK", "Value": "too"}],
    )
    assert processes.wait(container) == 0
    assert processes.logs(container) == f"found beside\nyes too None\n{sys.prefix}\n"


def test_a_process_listens_on_a_free_port_by_the_variable_that_had_the_containers(
    processes: Processes,
) -> None:
    container = process(
        processes,
        SERVED,
        Environment=[{"Name": "PORT", "Value": "8080"}],
        PortMappings=[{"ContainerPort": 8080}],
    )
    port = processes.state(container).ports["8080/tcp"]
    assert port != 8080

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    until(answers, seconds=10)
    with pytest.raises(EngineError, match="image:1: expected a variable with the value 9090"):
        process(processes, "", PortMappings=[{"ContainerPort": 9090}])


def test_processes_that_start_at_once_have_ports_of_their_own(processes: Processes) -> None:
    definition = {
        "Environment": [{"Name": "PORT", "Value": "8080"}],
        "PortMappings": [{"ContainerPort": 8080}],
    }
    with ThreadPoolExecutor(8) as pool:
        starts = [pool.submit(process, processes, ASLEEP, **definition) for _ in range(8)]
    ports = {processes.state(start.result()).ports["8080/tcp"] for start in starts}
    assert len(ports) == 8


def test_a_process_may_open_no_more_files_than_its_ulimit(processes: Processes) -> None:
    container = process(
        processes,
        "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE))",
        Ulimits=[{"Name": "nofile", "SoftLimit": 64, "HardLimit": 128}],
    )
    assert processes.wait(container) == 0
    assert processes.logs(container) == "(64, 128)\n"


def test_a_process_that_ignores_its_stop_signal_is_killed_at_the_timeout(
    processes: Processes,
) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf')\n"
    container = process(processes, deaf + ASLEEP, StopTimeout=1)
    until(lambda: processes.logs(container) == "deaf\n", seconds=10)
    began = time.monotonic()
    processes.stop(container)
    assert 1 <= time.monotonic() - began < 4
    assert processes.state(container).exit_code == 137


def test_with_a_process_goes_all_that_it_started(processes: Processes) -> None:
    container = process(
        processes,
        "import subprocess, sys, time\n"
        f"print(subprocess.Popen([sys.executable, '-c', {ASLEEP!r}]).pid)\n"
        "time.sleep(0.3)",
    )
    assert processes.wait(container) == 0
    child = int(processes.logs(container))
    until(lambda: not Path(f"/proc/{child}/exe").exists(), seconds=5)


@pytest.mark.parametrize(("code", "verdicts"), [
    (0, ["healthy"]), (1, ["starting", "starting", "unhealthy"])
])  # fmt: skip
def test_a_processs_health_check_decides_after_its_retries(
    processes: Processes, code: int, verdicts: list[str]
) -> None:
    words = ["CMD", "python", "-c", f"raise SystemExit({code})"]
    check = {"Command": words, "Interval": 1, "Timeout": 5, "Retries": 3}
    container = process(processes, ASLEEP, HealthCheck=check)
    assert [processes.health(container) for _ in verdicts] == verdicts


def test_in_its_start_period_a_process_is_not_found_unhealthy(processes: Processes) -> None:
    check = {"Command": ["CMD-SHELL", "exit 1"], "Retries": 1, "StartPeriod": 1}
    container = process(processes, ASLEEP, HealthCheck=check)
    assert processes.health(container) == "starting"
    time.sleep(1)
    assert processes.health(container) == "unhealthy"


def test_a_process_that_cannot_be_started_leaves_nothing(
    processes: Processes, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="python: expected a process: "):
        process(processes, ASLEEP, Environment=[{"Name": "A", "Value": "a\0b"}])
    assert [one.name for one in (tmp_path / "state").iterdir()] == ["bin"]
    assert processes.clean(RUN) == []


def test_a_process_that_cannot_be_started_again_stays_ended(
    processes: Processes, tmp_path: Path
) -> None:
    container = process(processes, "raise SystemExit(3)")
    assert processes.wait(container) == 3
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="python: expected a process: "):
        processes.start(container)
    state = processes.state(container)
    assert (state.running, state.exit_code) == (False, 3)
    processes.remove(container)


def test_a_process_that_cannot_be_written_down_does_not_run(tmp_path: Path) -> None:
    removed = str(tmp_path / "removed" / "process")
    launch = ["/bin/sh", "-c", _LAUNCH, "sh", removed, "", "", "echo", "ran"]
    done = subprocess.run(launch, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (125, "")


def test_a_process_that_is_started_while_it_is_removed_does_not_stay(
    processes: Processes, tmp_path: Path
) -> None:
    container = process(processes, "")
    processes.wait(container)
    with ThreadPoolExecutor(2) as pool:
        removal, start = (
            pool.submit(processes.remove, container),
            pool.submit(processes.start, container),
        )
        removal.result()
        assert isinstance(start.exception(), EngineError | None)
    assert not (tmp_path / "state" / container).exists()


def test_a_process_of_a_killed_run_is_found_and_removed(
    processes: Processes, tmp_path: Path
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), RUN],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert owner.stdout is not None
    container, pid = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert processes.state(container).running
    assert Path(f"/proc/{pid}").exists()
    assert processes.clean(RUN) == [container]
    until(lambda: not Path(f"/proc/{pid}/exe").exists(), seconds=5)
    assert processes.clean(RUN) == []


OWNER = f"""
import sys, time
from pathlib import Path
from rehearsal import containers
from rehearsal.engines import Processes
from scheduler.agent_settings import AgentSettings
folder, label = Path(sys.argv[1]), sys.argv[2]
processes = Processes(folder / "state")
processes.build(folder / "source", tags=["image:1"])
container = {{"Name": "web", "Image": "image:1"}}
run = containers.run({{"ContainerDefinitions": [container]}}, "web", agent=AgentSettings())
found = processes.run(run, labels=dict([label.split("=")]))
time.sleep(0.3)
print(found, processes.state(found).pid, flush=True)
{ASLEEP}
"""


def test_a_process_that_merely_has_the_number_of_a_former_one_is_left_alone(
    processes: Processes, tmp_path: Path
) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        folder = tmp_path / "state" / "former"
        folder.mkdir(parents=True)
        (folder / "labels.json").write_text(json.dumps(LABELS))
        (folder / "process").write_text(f"1\n{innocent.pid}\n")
        assert not processes.state("former").running
        assert processes.clean(RUN) == ["former"]
        assert innocent.poll() is None
        innocent.kill()
