"""What the course's tests stand on: the two environments, and the sandbox with changes."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from moto.core.models import DEFAULT_ACCOUNT_ID

import templates
from labs.kubernetes.environment import Service, translate
from labs.place import Place
from ops.watch.connection import Connection
from tests.conftest import once
from tests.labs.playing import (
    DEPLOYING_SPEED,
    SPEED,
    Course,
    patient,
    patient_project,
    quick_waiters,
    warm_aws,
)
from tests.ops.world import CLUSTER, Wire, World, microservice
from tests.rehearsal.conftest import usable
from tests.rehearsal.playing import Played, until

SERVICES = ("web", "quotes")

Values = dict[str, Any]
Edited = Callable[[Callable[[Values], None]], Service]


@pytest.fixture(scope="session")
def graph(assembly: Path) -> templates.Graph:
    """Both environments, read."""
    return templates.read(assembly)


@pytest.fixture(scope="session")
def web(graph: templates.Graph) -> Service:
    """The sandbox's web, as manifests."""
    return translate(graph, "sandbox").service("web")


@pytest.fixture
def edited(graph: templates.Graph) -> Edited:
    """Translate the sandbox's web after a change of its template's resources."""

    def edit(change: Callable[[Values], None]) -> Service:
        changed_graph = changed(graph, "Sandbox/Web", change)
        return translate(changed_graph, "sandbox").service("web")

    return edit


@pytest.fixture(scope="module")
def wire() -> Wire:
    return Wire()


@pytest.fixture
def world(values: Values, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An account in moto, with nothing in it."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    monkeypatch.setenv("MOTO_ECS_SERVICE_RUNNING", "2")  # the rollout is COMPLETED from the start
    with mock_aws():
        yield wire.make_world(values)


@pytest.fixture
def boats(world: World, tmp_path: Path) -> Place:
    """A sandbox there, of a cluster with its instances and of web alone."""
    world.make_stack("Sandbox-Cluster", CLUSTER)
    world.make_stack("Sandbox-Web", microservice("web"))
    words = f"AWS account {DEFAULT_ACCOUNT_ID}, us-east-1"
    connection = Connection(world.environment, world.aws, words)
    return Place(world.environment, lambda: connection, tmp_path)


@pytest.fixture(scope="module")
def sandbox(assembly: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The sandbox, played for one lab."""
    engine = usable("docker")
    folder = tmp_path_factory.mktemp("sandbox")
    longer = patient(assembly, folder / "assembly")
    found = Played(folder / "state", longer, engine.name, speed=SPEED)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    suspend_scaling(found)
    yield found
    found.down()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, in which a page's commands may change the settings."""
    made = once(tmp_path_factory, "patient", patient_project)
    copy = tmp_path_factory.mktemp("project") / "project"
    return shutil.copytree(made, copy, symlinks=True)


@pytest.fixture(scope="module")
def deployed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """The sandbox by its own templates, as a page deploys it again."""
    engine = usable("docker")
    state = tmp_path_factory.mktemp("state")
    found = Played(state, project / "cdk.out", engine.name, speed=DEPLOYING_SPEED)
    done = found.up()
    assert done.returncode == 0, done.stderr + found.log()
    suspend_scaling(found)
    yield found
    found.down()


def is_spread(played: Played) -> bool:
    """Whether the service has tasks in each zone in which there are instances."""
    has = {
        attribute["value"]
        for instance in played.instances()
        for attribute in instance["attributes"]
        if attribute["name"] == "ecs.availability-zone"
    }
    return has == {task.get("availabilityZone") for task in played.tasks()}


def suspend_scaling(played: Played) -> None:
    """Keep the policies, on a busy machine, from scaling by what its other work takes."""
    for name in SERVICES:
        dataclasses.replace(played, of=name).suspend_scaling()


@pytest.fixture(scope="session")
def aws() -> Iterator[str]:
    """What makes a shell's `aws` one that is loaded already."""
    with warm_aws() as function:
        yield function


@pytest.fixture
def redeployed(deployed: Played, project: Path, aws: str, tmp_path: Path) -> Course:
    """The course about that sandbox, for pages that deploy it with other settings."""
    for name in SERVICES:
        dataclasses.replace(deployed, of=name).settle()
    waiters = quick_waiters(tmp_path / "waiters")
    return Course(deployed, tmp_path / "progress", waiters, aws, folder=project)


@pytest.fixture
def course(sandbox: Played, aws: str, tmp_path: Path) -> Iterator[Course]:
    """The course about that sandbox, which is steady; whatever a test changed is put back."""
    sandbox.settle_hosts()
    # Else a task may be moved to the other zone just when a lab is begun.
    until(lambda: is_spread(sandbox), seconds=180)
    sandbox.settle()
    yield Course(sandbox, tmp_path / "progress", quick_waiters(tmp_path / "waiters"), aws)
    sandbox.restore()


def changed(graph: templates.Graph, name: str, change: Callable[[Values], None]) -> templates.Graph:
    """Give the same stacks with a change of the resources of one."""
    stack = graph.stack(name)
    template = copy.deepcopy(dict(stack.template))
    change(template["Resources"])
    resources = {
        logical_id: templates.Resource(
            stack=name,
            logical_id=logical_id,
            type=body["Type"],
            properties=body.get("Properties", {}),
            metadata=body.get("Metadata", {}),
        )
        for logical_id, body in template["Resources"].items()
    }
    edited_stack = dataclasses.replace(stack, template=template, resources=resources)
    return templates.Graph({**graph.stacks, name: edited_stack})


def one(resources: Values, kind: str) -> Values:
    """Give the properties of the first resource of a type."""
    found: Values = next(each for each in resources.values() if each["Type"] == kind)["Properties"]
    return found


def task_of(resources: Values) -> Values:
    """Give the properties of the task definition."""
    return one(resources, "AWS::ECS::TaskDefinition")


def container_of(resources: Values) -> Values:
    """Give the definition of the only container."""
    (container,) = task_of(resources)["ContainerDefinitions"]
    found: Values = container
    return found


def service_of(resources: Values) -> Values:
    """Give the properties of the ECS service."""
    return one(resources, "AWS::ECS::Service")


def pod_of(service: Service) -> Values:
    """Give the specification of the Deployment's Pods."""
    found: Values = service.manifest("Deployment")["spec"]["template"]["spec"]
    return found


def said(service: Service, place: str) -> str:
    """Give what is noted about a property: the kind and the words of each note on it."""
    notes = [each for each in service.notes if each.place.startswith(f"{service.name}.{place}")]
    assert notes, f"nothing is said of {place}: {[each.place for each in service.notes]}"
    return "\n".join(f"{each.kind}: {each}" for each in notes)
