"""The agent does with a task's containers what ECS's would, and says what really happened."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rehearsal import containers
from rehearsal.agent import Agent, LogLine, Observation, TaskToRun
from rehearsal.engines import Engine, EngineError, Network, Processes, Runtime
from scheduler.agent_settings import AgentSettings
from templates import Graph
from tests.conftest import PROJECT, until
from tests.rehearsal.conftest import RUN, build_web, task_of

pytestmark = pytest.mark.engine

Values = dict[str, Any]
LABELS = dict([RUN.split("=")])
ECR = "111122223333.dkr.ecr.us-east-1.amazonaws.com"
ARN = "arn:aws:ecs:us-east-1:111122223333:task/sandbox"
ASLEEP = "import time; time.sleep(60)"
LOG = {
    "LogDriver": "awslogs",
    "Options": {"awslogs-group": "a-group", "awslogs-stream-prefix": "of"},
}


@pytest.fixture(scope="module")
def tag(runtime: Runtime, graph: Graph) -> str:
    """The sandbox's image, or what stands for it."""
    return build_web(graph, runtime)


@pytest.fixture(scope="module")
def network(runtime: Runtime) -> Iterator[Network]:
    """The network of one container instance."""
    # Not by the label by which the containers are found: it outlives them.
    found = runtime.create_network("drydock-test", {"drydock.test.network": RUN})
    yield found
    runtime.remove_network(found.name)


class Rehearsed:
    """An agent with what it has observed so far."""

    def __init__(self, runtime: Runtime, tag: str, network: Network, speed: float = 10) -> None:
        self.runtime, self.tag, self.network = runtime, tag, network
        self.said: list[str] = []
        settings = AgentSettings(settings={"ECS_IMAGE_PULL_BEHAVIOR": "once"})
        self.agent = Agent(runtime, settings, speed=speed, labels=LABELS, say=self.said.append)
        self.seen: list[Observation] = []
        self.lines: list[LogLine] = []

    def start(self, *definitions: Values, id: str = "task", **changes: Any) -> None:  # noqa: A002, ANN401
        """Start a task of containers that each are {"Name": ..., "runs": a piece of Python}."""
        whole = [
            {"Image": f"{ECR}/{self.tag}", "Command": ["python", "-uc", one.get("runs", ASLEEP)]}
            | {key: value for key, value in one.items() if key != "runs"}
            for one in definitions
        ]
        definition = {"Family": "family", "ContainerDefinitions": whole}
        task = TaskToRun(
            id=id,
            arn=f"{ARN}/{id}",
            cluster="sandbox",
            revision=3,
            definition=definition,
            network=self.network,
        )
        self.agent.start(replace(task, **changes))

    def see(self, kind: str, container: str = "web", *, seconds: float = 20) -> Observation:
        """Wait until something is observed of a container."""
        end = time.monotonic() + seconds
        while not (found := [o for o in self.seen if (o.kind, o.container) == (kind, container)]):
            try:
                left = max(0.01, end - time.monotonic())
                self.seen.append(self.agent.observations.get(timeout=left))
            except queue.Empty:
                pytest.fail(f"{container}: expected {kind} within {seconds} s, saw {self.seen}")
        return found[-1]

    def order(self, *kinds: str) -> list[str]:
        """Give what was observed of these kinds, in order."""
        return [f"{one.container} {one.kind}" for one in self.seen if one.kind in kinds]

    def wait_for_line(self, message: str, *, container: str | None = None) -> LogLine:
        """Wait until a container, or that one, has written a line."""
        end = time.monotonic() + 10
        while not (
            found := [
                line
                for line in self.lines
                if message in line.message and container in (None, line.container)
            ]
        ):
            try:
                left = max(0.01, end - time.monotonic())
                self.lines.append(self.agent.log_lines.get(timeout=left))
            except queue.Empty:
                pytest.fail(f"expected a line with {message!r}, got {self.lines}")
        return found[0]


@pytest.fixture
def rehearsed(runtime: Runtime, tag: str, network: Network) -> Iterator[Rehearsed]:
    """An agent at ten times AWS's speed; afterwards nothing of it is left."""
    found = Rehearsed(runtime, tag, network)
    yield found
    found.agent.close(remove=True)


@pytest.fixture
def quick(graph: Graph, tmp_path: Path) -> Iterator[Callable[..., Rehearsed]]:
    """Makes agents that start plain processes, for rules that are the same with any engine."""
    processes = Processes(tmp_path / "processes")
    tag = build_web(graph, processes)
    made = []

    def make(*, speed: float = 10) -> Rehearsed:
        made.append(Rehearsed(processes, tag, processes.create_network("", {}), speed))
        return made[-1]

    yield make
    for one in made:
        one.agent.close(remove=True)


@pytest.fixture
def contained(engine: Engine, image: str) -> Iterator[Rehearsed]:
    """An agent with a real engine and a network of its own."""
    found = Rehearsed(engine, image, engine.create_network("drydock-test", LABELS))
    yield found
    found.agent.close(remove=True)
    engine.remove_network(found.network.name)


def test_the_sandboxs_service_runs_answers_and_drains(rehearsed: Rehearsed, graph: Graph) -> None:
    definition = task_of(graph, "Sandbox").draining(1).definition
    rehearsed.start(definition=definition)
    started = rehearsed.see("started")
    assert rehearsed.order("pulling", "pulled", "started") == [
        "web pulling", "web pulled", "web started",
    ]  # fmt: skip
    assert started.image_id is not None
    assert started.image_id.startswith("sha256:")
    assert started.health == "UNKNOWN"
    port = started.ports["8080/tcp"]
    until(lambda: answers(port, "/health/ready"), seconds=10)
    assert rehearsed.see("health").health == "HEALTHY"
    line = rehearsed.wait_for_line('"event": "serving"')
    assert line.stream == "web/web/task"
    assert abs(line.timestamp / 1000 - time.time()) < 60
    rehearsed.agent.stop("task", "the test is over")
    stopped = rehearsed.see("stopped")
    assert (stopped.exit_code, stopped.reason, stopped.last) == (0, "", True)
    assert "task: stopping: the test is over" in rehearsed.said


def test_what_departs_from_ecs_is_said_once(quick: Callable[..., Rehearsed], graph: Graph) -> None:
    rehearsed = quick()
    definition = task_of(graph, "Sandbox").definition
    for name in ("one", "two"):
        rehearsed.start(id=name, definition=definition)
    rehearsed.see("started")
    until(lambda: len(rehearsed.said) >= len(rehearsed.agent.departures) > 0, seconds=5)
    named = {line.split(":")[0] for line in rehearsed.said}
    assert {"web.Image", "web.HealthCheck"} <= named
    assert not named & {"web.Essential", "web.DependsOn", "web.LogConfiguration"}
    assert len(rehearsed.said) == len(set(rehearsed.said))
    (check,) = (line for line in rehearsed.said if line.startswith("web.HealthCheck:"))
    assert "at speed 10 checked each 3 s, with a start period of 5 s" in check


def test_a_crash_of_an_essential_container_ends_the_task(rehearsed: Rehearsed) -> None:
    rehearsed.start(
        {"Name": "side", "Essential": False, "StopTimeout": 1},
        {"Name": "web", "runs": "import time; time.sleep(0.5); 1 / 0"},
    )
    crashed, stopped = rehearsed.see("stopped"), rehearsed.see("stopped", "side")
    assert (crashed.exit_code, crashed.reason, crashed.last) == (1, "", False)
    assert stopped.exit_code in (137, 143)
    assert stopped.last


def test_the_end_of_a_container_that_is_not_essential_ends_only_itself(
    quick: Callable[..., Rehearsed],
) -> None:
    rehearsed = quick()
    rehearsed.start({"Name": "side", "Essential": "false", "runs": "print(1)"}, {"Name": "web"})
    assert rehearsed.see("stopped", "side").exit_code == 0
    started = rehearsed.see("started")
    time.sleep(0.5)
    assert rehearsed.runtime.state(started.runtime_id or "").running


def test_a_kill_from_outside_is_observed_at_once(rehearsed: Rehearsed) -> None:
    rehearsed.start({"Name": "web"})
    started = rehearsed.see("started")
    time.sleep(0.5)
    killed = time.time()
    os.kill(rehearsed.runtime.state(started.runtime_id or "").pid, signal.SIGKILL)
    stopped = rehearsed.see("stopped")
    assert (stopped.exit_code, stopped.reason) == (137, "")
    # On a quiet machine 0.15 s with Docker, 0.05 to 0.4 s with Podman.
    assert stopped.time - killed < 5


def test_a_kill_for_memory_is_told_in_the_agents_words(contained: Rehearsed) -> None:
    contained.start({"Name": "web", "Memory": 64, "runs": "kept = b'x' * (200 << 20)"})
    stopped = contained.see("stopped")
    assert stopped.exit_code == 137
    assert stopped.reason == "OutOfMemoryError: Container killed due to memory usage"


def test_health_turns_with_its_check(rehearsed: Rehearsed) -> None:
    # Healthy as long as the file is there, which the container removes after a while.
    source = (
        "import os, tempfile, time\npath = os.environ['FLAG']\n"
        f"open(path, 'w').close(); time.sleep({1.5 * containers.SHORTEST['Interval']})\n"
        "os.remove(path); time.sleep(60)"
    )
    flag = f"/tmp/drydock-test-{os.getpid()}"
    check = {"Command": ["CMD-SHELL", 'test -e "$FLAG"'], "Interval": 10, "Retries": 1}
    rehearsed.start(
        {
            "Name": "web", "runs": source, "HealthCheck": check,
            "Environment": [{"Name": "FLAG", "Value": flag}],
        }
    )  # fmt: skip
    assert rehearsed.see("health").health == "HEALTHY"
    rehearsed.seen.clear()
    assert rehearsed.see("health").health == "UNHEALTHY"


def test_what_ignores_its_stop_signal_is_killed_at_its_timeout(rehearsed: Rehearsed) -> None:
    deaf = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf')\n"
    definition = {"Name": "web", "runs": deaf + ASLEEP, "StopTimeout": 1, "LogConfiguration": LOG}
    rehearsed.start(definition)
    line = rehearsed.wait_for_line("deaf")
    assert (line.group, line.stream, line.task) == ("a-group", "of/web/task", "task")
    asked = time.time()
    rehearsed.agent.stop("task", "the test")
    stopped = rehearsed.see("stopped")
    assert stopped.exit_code == 137
    assert 1 <= stopped.time - asked < 5


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (f"{ECR}/absent:1", "CannotPullContainerError: absent:1: expected an image that is built "
         "here, got none; build it with: "),
        ("127.0.0.1:1/absent:1", "CannotPullContainerError: "),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_had_fails_the_task(
    rehearsed: Rehearsed, image: str, said: str
) -> None:
    rehearsed.start({"Name": "web", "Image": image})
    failed = rehearsed.see("failed")
    assert failed.reason.startswith(said)
    assert failed.last
    assert rehearsed.order("pulled", "started") == []


def test_a_command_that_is_not_there_fails_the_task_and_leaves_nothing(
    rehearsed: Rehearsed,
) -> None:
    rehearsed.start({"Name": "web", "Command": ["/no/such"]})
    failed = rehearsed.see("failed")
    kind = "Create" if rehearsed.runtime.name == "processes" else "Start"
    assert failed.reason.startswith(f"Cannot{kind}ContainerError: ")
    assert 'exec: "/no/such"' in failed.reason
    assert rehearsed.runtime.clean(RUN) == []


def test_what_must_not_run_here_fails_the_task(quick: Callable[..., Rehearsed]) -> None:
    rehearsed = quick()
    rehearsed.start({"Name": "web", "Privileged": True})
    assert rehearsed.see("failed").reason.startswith(
        "CannotCreateContainerError: web.Privileged: refused"
    )


def test_containers_start_in_the_order_of_their_dependencies_and_stop_in_reverse(
    rehearsed: Rehearsed,
) -> None:
    def on(name: str, condition: str) -> Values:
        return {"DependsOn": [{"ContainerName": name, "Condition": condition}]}

    # A first process without a handler does not hear SIGTERM.
    polite = (
        "import signal, sys, time\n"
        "def leave(*_): time.sleep({}); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nprint('hears', flush=True); time.sleep(60)"
    )
    last = {"runs": polite.format(0.7), "LogConfiguration": LOG}
    web = {"runs": polite.format(0), "LogConfiguration": LOG}
    check = {"Command": ["CMD-SHELL", "exit 0"], "Interval": 5, "Retries": 1}
    rehearsed.start(
        {"Name": "last", **on("web", "HEALTHY"), **last},
        {"Name": "web", **on("init", "SUCCESS"), **web, "HealthCheck": check},
        {"Name": "init", "Essential": False, "runs": "import time; time.sleep(0.5)"},
    )
    rehearsed.see("started", "last")
    assert rehearsed.order("started", "health", "stopped") == [
        "init started", "init stopped", "web started", "web health", "last started",
    ]  # fmt: skip
    rehearsed.wait_for_line("hears", container="web")
    rehearsed.wait_for_line("hears", container="last")
    rehearsed.agent.stop("task", "the test")
    rehearsed.see("stopped", "web")
    assert rehearsed.order("stopped") == ["init stopped", "last stopped", "web stopped"]
    assert rehearsed.seen[-1].last


@pytest.mark.parametrize(
    ("init", "condition", "said"),
    [
        (
            {"runs": "raise SystemExit(1)"}, "SUCCESS",
            "dependency graph: failed to resolve container ordering dependency [init] for target "
            "[web] as dependency did not exit successfully.",
        ),
        (
            {"StartTimeout": 1, "HealthCheck": {"Command": ["CMD-SHELL", "exit 1"]}}, "HEALTHY",
            "dependency graph: container ordering dependency [init] for target [web] has timed "
            "out.",
        ),
        (
            {"Image": f"{ECR}/absent:1"}, "START",
            "dependency graph: failed to resolve container ordering dependency [init] for target "
            "[web] because dependency will never start",
        ),
    ],
)  # fmt: skip
def test_a_container_whose_dependency_fails_never_starts(
    quick: Callable[..., Rehearsed], init: Values, condition: str, said: str
) -> None:
    rehearsed = quick()
    needs = [{"ContainerName": "init", "Condition": condition}]
    rehearsed.start(
        {"Name": "web", "DependsOn": needs},
        {"Name": "init", "Essential": False, "StopTimeout": 1, **init},
    )
    failed = rehearsed.see("failed", "web")
    assert (failed.reason, failed.exit_code) == (said, 143)
    assert rehearsed.order("started")[:1] != ["web started"]
    until(lambda: ended(rehearsed), seconds=5)


def ended(rehearsed: Rehearsed) -> bool:
    while not rehearsed.agent.observations.empty():
        rehearsed.seen.append(rehearsed.agent.observations.get())
    return rehearsed.seen[-1].last


def test_a_circle_of_dependencies_fails_instead_of_waiting(
    quick: Callable[..., Rehearsed],
) -> None:
    rehearsed = quick()

    def on(name: str) -> Values:
        return {"DependsOn": [{"ContainerName": name, "Condition": "START"}]}

    rehearsed.start({"Name": "web", **on("side")}, {"Name": "side", **on("web")})
    assert rehearsed.see("failed").reason == (
        "dependency graph: dependency on containers not resolved"
    )
    assert rehearsed.see("stopped", "side").last


def test_a_restart_policy_starts_a_container_again(
    runtime: Runtime, tag: str, network: Network
) -> None:
    rehearsed = Rehearsed(runtime, tag, network, speed=120)
    # Half a second at that speed.
    policy = {"Enabled": True, "RestartAttemptPeriod": 60, "IgnoredExitCodes": [7]}
    # The first time it ends late and with 1, then with one that is to be ignored.
    source = (
        "import os, sys, time\npath = os.environ['FLAG']\nagain = os.path.exists(path)\n"
        "open(path, 'w').close(); print('again' if again else 'first'); time.sleep(0.9)\n"
        "os.path.exists(path) and again and os.remove(path)\nsys.exit(7 if again else 1)"
    )
    try:
        rehearsed.start(
            {
                "Name": "web", "runs": source, "RestartPolicy": policy, "LogConfiguration": LOG,
                "Environment": [{"Name": "FLAG", "Value": f"/tmp/drydock-again-{os.getpid()}"}],
            }
        )  # fmt: skip
        stopped = rehearsed.see("stopped")
        assert (stopped.exit_code, stopped.restarts) == (7, 1)
        assert rehearsed.order("started", "stopped") == [
            "web started", "web started", "web stopped",
        ]  # fmt: skip
        rehearsed.wait_for_line("again")
        assert [line.message for line in rehearsed.lines] == ["first", "again"]
    finally:
        rehearsed.agent.close(remove=True)


def test_a_container_that_ends_too_soon_is_not_restarted(
    quick: Callable[..., Rehearsed],
) -> None:
    rehearsed = quick()
    policy = {"Enabled": True, "RestartAttemptPeriod": 600}
    rehearsed.start({"Name": "web", "runs": "raise SystemExit(1)", "RestartPolicy": policy})
    assert rehearsed.see("stopped").restarts == 0


def test_in_awsvpc_the_containers_of_a_task_share_a_loopback(contained: Rehearsed) -> None:
    served = (
        "import socket\ns = socket.create_server(('127.0.0.1', 9000))\n"
        "while True: s.accept()[0].sendall(b'shared')"
    )
    asked = (
        "import socket, time\ntime.sleep(0.5)\n"
        "print(socket.create_connection(('127.0.0.1', 9000), 5).recv(6).decode())\n"
        "socket.create_server(('', 8080)).accept()[0].sendall(b'outside')\ntime.sleep(60)"
    )
    definitions = [
        {"Name": "web", "Image": contained.tag, "Command": ["python", "-uc", served]},
        {"Name": "side", "Image": contained.tag, "Command": ["python", "-uc", asked],
         "Essential": False, "LogConfiguration": LOG, "PortMappings": [{"ContainerPort": 8080}]},
    ]  # fmt: skip
    task = {"Family": "f", "NetworkMode": "awsvpc", "ContainerDefinitions": definitions}
    contained.start(definition=task)
    assert contained.see("started").ports == {}
    port = contained.see("started", "side").ports["8080/tcp"]
    contained.wait_for_line("shared")

    def answer() -> bytes:
        # The engine accepts before the container listens, and then closes.
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            return connection.recv(7)

    until(lambda: answer() == b"outside", seconds=10)


def test_variables_and_secrets_reach_their_container_and_no_argument(
    rehearsed: Rehearsed,
) -> None:
    rehearsed.start(
        {
            "Name": "web", "LogConfiguration": LOG,
            "Secrets": [{"Name": "KEY", "ValueFrom": "arn"}],
            "runs": "import os; print(os.environ['KEY'], os.environ['URI'])",
        },
        environment={"web": {"URI": "http://here/v4"}},
        secrets={"web": {"KEY": "hush"}},
    )  # fmt: skip
    rehearsed.wait_for_line("hush http://here/v4")


def test_a_container_carries_the_agents_labels(contained: Rehearsed) -> None:
    contained.start({"Name": "web"}, labels={"drydock.instance": "i-1"})
    assert isinstance(contained.runtime, Engine)
    found = contained.runtime.inspect(contained.see("started").runtime_id or "")
    assert found["Name"].lstrip("/").startswith("ecs-family-3-web-")
    assert (
        found["Config"]["Labels"].items()
        >= {
            **LABELS,
            "drydock.instance": "i-1",
            "com.amazonaws.ecs.task-arn": f"{ARN}/task",
            "com.amazonaws.ecs.cluster": "sandbox",
            "com.amazonaws.ecs.container-name": "web",
            "com.amazonaws.ecs.task-definition-family": "family",
            "com.amazonaws.ecs.task-definition-version": "3",
        }.items()
    )


def test_closing_removes_what_runs_and_what_is_just_starting(rehearsed: Rehearsed) -> None:
    rehearsed.start({"Name": "web"}, id="running")
    rehearsed.see("started")
    for number in range(3):
        rehearsed.start({"Name": "web"}, id=f"starting-{number}")
    time.sleep(0.1)
    rehearsed.agent.close(remove=True)
    assert rehearsed.runtime.clean(RUN) == []


def test_a_stopped_tasks_containers_are_kept_for_a_while(quick: Callable[..., Rehearsed]) -> None:
    rehearsed = quick(speed=3600)
    # Two seconds at that speed.
    rehearsed.agent.settings = replace(rehearsed.agent.settings, cleanup_wait_seconds=7200)
    rehearsed.start({"Name": "web", "runs": "print(1)"})
    container = rehearsed.see("stopped").runtime_id or ""
    assert not rehearsed.runtime.state(container).running

    def gone() -> bool:
        try:
            rehearsed.runtime.state(container)
        except EngineError:
            return True
        return False

    assert until(gone, seconds=10) > 1


def test_what_a_killed_owner_leaves_is_found_by_its_label(
    runtime: Runtime, tag: str, network: Network, graph: Graph, tmp_path: Path
) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    (stack,) = (one for one in graph.stacks.values() if one.display_name == "Sandbox/Web")
    folder = str(getattr(runtime, "_folder", ""))
    owner = subprocess.Popen(
        [sys.executable, str(script), runtime.name, folder, str(stack.path.parent.parent), tag,
         network.name, RUN],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert owner.stdout is not None
    container = owner.stdout.readline().strip()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert runtime.state(container).running
    assert runtime.clean(RUN) == [container]
    with pytest.raises(EngineError):
        runtime.state(container)


OWNER = """
import sys, time
from pathlib import Path
import templates
from rehearsal.agent import Agent, TaskToRun
from rehearsal.engines import Engine, Network, Processes
from rehearsal.images import build_environment
from scheduler.agent_settings import AgentSettings
name, folder, assembly, tag, network, label = sys.argv[1:]
runtime = Processes(Path(folder)) if name == "processes" else Engine(name)
if name == "processes":
    build_environment(templates.read(Path(assembly)), "sandbox", runtime)
agent = Agent(
    runtime, AgentSettings(), speed=10, labels=dict([label.split("=")]), say=lambda _: None
)
command = ["python", "-c", "import time; time.sleep(60)"]
web = {"Name": "web", "Image": "1.dkr.ecr.eu-west-1.amazonaws.com/" + tag, "Command": command}
agent.start(TaskToRun(
    id="t", arn="arn", cluster="c", revision=1, network=Network(network, "", "", ""),
    definition={"Family": "f", "ContainerDefinitions": [web]},
))
while (seen := agent.observations.get(timeout=30)).kind != "started":
    pass
time.sleep(0.3)
print(seen.runtime_id, flush=True)
time.sleep(60)
"""


def answers(port: int, path: str) -> bool:
    """Say whether a published port answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
