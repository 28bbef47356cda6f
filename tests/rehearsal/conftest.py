"""What the tests with real containers stand on: an engine, the image, the task definition."""

from __future__ import annotations

import copy
import os
import uuid
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import templates
from rehearsal import containers
from rehearsal.engines import Engine, Processes, Runtime
from rehearsal.images import build_environment
from scheduler.agent_settings import AgentSettings, agent_settings
from tests.conftest import until as until
from tests.rehearsal.playing import Played

PROJECT = Path(__file__).parent.parent.parent
# What .ci/engine wrote for Podman on a machine that needs it.
PODMAN_SETTINGS = PROJECT / ".build" / "containers.conf"
LOG_CHARACTERS = 4000
RUN = f"drydock.test={uuid.uuid4().hex[:12]}"

Values = dict[str, Any]


@pytest.fixture(scope="session")
def graph(assembly: Path) -> templates.Graph:
    """Both environments, read."""
    return templates.read(assembly)


@dataclass(frozen=True)
class Task:
    """A service's task definition and the settings of the agent that would start it."""

    definition: Values
    agent: AgentSettings

    @property
    def container(self) -> Values:
        """The definition of its only container."""
        (container,) = self.definition["ContainerDefinitions"]
        found: Values = container
        return found

    def but(self, **changes: object) -> Task:
        """The same task with other properties of the container."""
        changed = copy.deepcopy(self.definition)
        changed["ContainerDefinitions"][0] |= changes
        return Task(changed, self.agent)

    def running(self, source: str) -> Task:
        """The same task, running a piece of Python in place of the service."""
        changed = self.but(Command=["python", "-c", source])
        del changed.container["HealthCheck"]
        return changed

    def draining(self, seconds: int) -> Task:
        """The same task with another drain time."""
        environment = [
            one | {"Value": str(seconds)} if one["Name"] == "DRAIN_SECONDS" else one
            for one in self.container["Environment"]
        ]
        return self.but(Environment=environment)


def task_of(graph: templates.Graph, environment: str) -> Task:
    """Read an environment's task definition of web, and its agent's settings, as deployed."""
    (definition,) = graph.stack(f"{environment}/Web").of_type("AWS::ECS::TaskDefinition")
    (template,) = graph.stack(f"{environment}/Cluster").of_type("AWS::EC2::LaunchTemplate")
    data = graph.properties(template)["LaunchTemplateData"]
    return Task(graph.properties(definition), agent_settings(data["UserData"]))


@pytest.fixture(scope="session")
def task(graph: templates.Graph) -> Task:
    """The sandbox's web."""
    return task_of(graph, "Sandbox")


def usable(name: str) -> Engine:
    """Give an engine; skip what asks where there is none, but fail in CI."""
    if PODMAN_SETTINGS.is_file():
        os.environ.setdefault("CONTAINERS_CONF", str(PODMAN_SETTINGS))
    engine = Engine(name)
    trouble = engine.trouble()
    if trouble and os.environ.get("CI"):
        pytest.fail(f"{trouble}; CI needs both engines: .ci/engine")
    if trouble:
        pytest.skip(trouble)
    return engine


@pytest.fixture(scope="session", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each engine in turn; afterwards nothing of this run is left in it."""
    engine = usable(request.param)
    yield engine
    engine.clean(RUN)


@pytest.fixture(scope="session", params=["docker", "podman", "processes"])
def runtime(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runtime]:
    """Each engine in turn, and plain processes; afterwards nothing of this run is left."""
    name: str = request.param
    runtime = Processes(tmp_path_factory.mktemp(name)) if name == "processes" else usable(name)
    yield runtime
    runtime.clean(RUN)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function) -> Generator[None, Any, Any]:
    """Add what a rehearsal wrote last to the report of a test that failed with it."""
    report = yield
    played = next((one for one in item.funcargs.values() if isinstance(one, Played)), None)
    if report.failed and played is not None:
        report.sections.append(("end of the rehearsal's log", played.log()[-LOG_CHARACTERS:]))
    return report


@pytest.fixture(scope="session")
def image(engine: Engine, graph: templates.Graph) -> str:
    """The image of the sandbox's web, built by this engine."""
    return build_web(graph, engine)


def build_web(graph: templates.Graph, runtime: Runtime) -> str:
    """Build the sandbox's images, or what stands for them; give web's tag."""
    tags = build_environment(graph, "sandbox", runtime)
    (tag,) = (one for one in tags if one.startswith("sandbox-web:"))
    return tag


@dataclass
class Containers:
    """Starts containers of a task, and removes them."""

    engine: Engine
    started: list[str] = field(default_factory=list)

    def start(self, task: Task, **options: Mapping[str, str]) -> str:
        """Start the task's container as its template says; give its id."""
        run = containers.run(task.definition, "web", agent=task.agent, **options)  # type: ignore[arg-type]
        name, _, value = RUN.partition("=")
        self.started.append(self.engine.run(run, labels={name: value}))
        return self.started[-1]

    def end(self, task: Task) -> tuple[int, str]:
        """Start it and wait for its end; give its exit code and what it wrote."""
        container = self.start(task)
        return self.engine.wait(container), self.engine.logs(container)

    def remove(self) -> None:
        """Remove all of them."""
        self.engine.remove(*self.started)
        self.started.clear()


@pytest.fixture
def running(engine: Engine, image: str) -> Iterator[Containers]:
    """Containers of the image, removed after the test."""
    assert image
    found = Containers(engine)
    yield found
    found.remove()


@pytest.fixture(scope="module")
def web(engine: Engine, image: str, task: Task) -> Iterator[str]:
    """The service's container as its template has it, answering."""
    assert image
    found = Containers(engine)
    container = found.start(task)
    try:
        until(lambda: "serving" in engine.logs(container), seconds=20)
        yield container
    finally:
        found.remove()
