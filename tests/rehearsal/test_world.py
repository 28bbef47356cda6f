"""What is declared, changed, broken and mended arrives at the agent, the balancer and the state."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rehearsal.decisions
import templates
from rehearsal.agent import Observation
from rehearsal.faults import FaultError, Faults
from rehearsal.records import TaskRecord
from rehearsal.world import World
from scheduler.model import Service
from templates import Graph
from tests.rehearsal.acting import (
    ActingAgent,
    ActingBalancer,
    ActingEngine,
    acting_world,
    steady,
    tick_until,
)

ELB = "AWS::ElasticLoadBalancingV2::"


@pytest.fixture
def world(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The sandbox, steady, that ticks when a test lets it."""
    found = acting_world(graph, monkeypatch)
    tick_until(found, lambda: steady(found))
    yield found
    found.close()


def changed(graph: Graph, stage: str, kind: str, **properties: Any) -> Graph:  # noqa: ANN401
    """Give a copy in which a stage's resources of one type have other properties."""
    found = copy.deepcopy(graph)
    for resource in found.resources(kind):
        if resource.stack.startswith(stage):
            assert isinstance(resource.properties, dict)
            resource.properties.update(copy.deepcopy(properties))
    return found


def service_of(graph: Graph) -> Any:  # noqa: ANN401
    (found,) = graph.stack("Sandbox/Web").of_type("AWS::ECS::Service")
    return found


def web_of(world: World) -> Service:
    """The service behind the balancer."""
    (found,) = (one for one in world.state.services.values() if one.definition.has_targets)
    return found


def task_of(world: World) -> TaskRecord:
    """A task of that service."""
    return next(one for one in world.tasks.values() if one.target is not None)


def balancer_of(world: World) -> ActingBalancer:
    assert isinstance(world.balancer, ActingBalancer)
    return world.balancer


def agent_of(world: World) -> ActingAgent:
    assert isinstance(world.agent, ActingAgent)
    return world.agent


def seen(world: World, kind: Any, **told: Any) -> None:  # noqa: ANN401 - of an Observation
    """Let the World see something of the first task's only container."""
    record = task_of(world)
    (container,) = record.containers
    world.agent.observations.put(Observation(record.id, container, kind, time.time(), **told))
    world.tick()


def test_a_container_that_is_restarted_is_followed_to_its_new_port(world: World) -> None:
    record = task_of(world)
    assert record.target is not None
    group, target = record.target
    before = balancer_of(world).targets[group, target]
    seen(world, "started", runtime_id="again", ports={"8080/tcp": 50_123})
    after = balancer_of(world).targets[group, target]
    assert (before.port, after.port) == (50_000, 50_123)
    assert after.id == before.id
    tick_until(world, lambda: steady(world))


def test_a_task_that_cannot_be_handed_over_has_failed_to_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = web_of(world)
    monkeypatch.setattr(rehearsal.decisions, "address", lambda *_: 1 / 0)
    monkeypatch.setattr(rehearsal.decisions, "free_port", lambda *_: 1 / 0)
    world.deploy(service.definition, service.desired + 1)
    tick_until(world, lambda: any(t.stop_code == "TaskFailedToStart" for t in world.state.stopped))
    stopped = next(t for t in world.state.stopped if t.stop_code == "TaskFailedToStart")
    assert "division by zero" in stopped.stop_reason
    assert world.tasks[stopped.id].has_ended
    monkeypatch.undo()
    tick_until(world, lambda: steady(world))


def test_who_serves_an_instance_hears_that_its_network_is_gone(world: World) -> None:
    heard: list[str] = []
    world.on_removed = lambda host: heard.append(host.id)
    instance = next(iter(world.state.instances))
    world.lose(instance, "lost")
    tick_until(world, lambda: heard == [instance])


def test_an_observation_that_cannot_be_taken_in_hides_none_after_it(world: World) -> None:
    record = task_of(world)
    world.agent.observations.put(Observation(record.id, "nobody", "stopped", time.time()))
    seen(world, "stopped", exit_code=1, last=True)
    assert record.has_ended


def test_a_port_belongs_to_the_deployment_that_declared_it(graph: Graph, world: World) -> None:
    other = copy.deepcopy(graph)
    for definition in other.stack("Sandbox/Web").of_type("AWS::ECS::TaskDefinition"):
        for container in definition.properties["ContainerDefinitions"]:
            container["Image"] = "broken:1"
            container["PortMappings"] = [{"ContainerPort": 9090, "HostPort": 0}]
    service = service_of(other)
    service.properties["LoadBalancers"][0]["ContainerPort"] = 9090
    before = world.services[web_of(world).name].properties
    world.apply(other)
    tick_until(world, lambda: world.outcome(0) == "rolled-back", seconds=30)
    record = world.services[web_of(world).name]
    assert record.properties == before
    failed = record.deployments[-1]
    assert failed.properties["LoadBalancers"][0]["ContainerPort"] == 9090
    # A task of the old deployment that starts after the change gets requests on its own port.
    state = web_of(world)
    since = world.clock.now()
    world.deploy(state.definition, state.desired + 1)
    tick_until(world, lambda: world.outcome(since) == "steady")
    assert {one.port for one in balancer_of(world).targets.values()} == {50_000}
    assert len(balancer_of(world).targets) == state.desired


def test_what_was_rolled_back_before_says_nothing_of_a_change_after_it(
    graph: Graph, world: World
) -> None:
    Faults(world).fail("image", "", "missing")
    service = web_of(world)
    definition = world.definitions[service.definition.task_definition.name]
    agent_of(world).broken = (str(definition.containers[0]["Image"]),)
    tick_until(world, lambda: world.outcome(0) == "rolled-back", seconds=30)
    since = world.clock.now()
    world.apply(graph)
    tick_until(world, lambda: world.outcome(since))
    assert world.outcome(since) == "steady"


def test_what_had_failed_before_a_change_is_told_by_name_once_the_change_is_there(
    graph: Graph, world: World
) -> None:
    web = web_of(world)
    other = next(one for one in world.state.services.values() if one is not web)
    web.primary.rollout, web.primary.reason = "FAILED", "tasks failed to start."
    web.primary.updated_at = world.clock.now()
    assert world.outcome(0) == "failed"
    since = world.clock.now() + 1
    world.apply(graph)
    other.is_steady = False
    assert world.outcome(since) == ""
    other.is_steady = True
    assert world.outcome(since) == "failed"
    (line,) = world.failures()
    assert f"(service {web.name}) (deployment {web.primary.id}) has failed: tasks" in line


def test_a_rule_keeps_a_deployments_weights_over_a_change_of_something_else(
    described: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = templates.read(described / "variants")
    world = acting_world(graph, monkeypatch, name="bluegreen")
    tick_until(world, lambda: steady(world))
    service = web_of(world)
    world.deploy(service.definition, service.desired, force=True)
    tick_until(world, lambda: service.primary.stage == "BAKE_TIME")

    def weights() -> list[int]:
        (rule,) = (one for listener in balancer_of(world).listeners for one in listener.rules)
        return [one["Weight"] for one in rule.actions[0]["ForwardConfig"]["TargetGroups"]]

    assert weights() == [1, 0]
    idle = {"Key": "idle_timeout.timeout_seconds", "Value": "61"}
    balancer = f"{ELB}LoadBalancer"
    world.apply(changed(graph, "Bluegreen/", balancer, LoadBalancerAttributes=[idle]))
    assert weights() == [1, 0]
    # A rule that the templates change is as they have it.
    (declared,) = graph.stack("Bluegreen/Web").of_type(f"{ELB}ListenerRule")
    as_declared = declared.properties["Actions"][0]["ForwardConfig"]["TargetGroups"]
    world.apply(changed(graph, "Bluegreen/", f"{ELB}ListenerRule", Priority=77))
    assert weights() == [one["Weight"] for one in as_declared]
    world.close()


def test_a_target_group_that_is_gone_is_let_go_after_its_last_target(
    assembly: Path, graph: Graph, world: World, tmp_path: Path
) -> None:
    (group,) = graph.stack("Sandbox/Web").of_type(f"{ELB}TargetGroup")
    shutil.copytree(assembly, tmp_path / "renamed")
    for template in (tmp_path / "renamed").rglob("*.template.json"):
        text = template.read_text(encoding="utf-8")
        template.write_text(text.replace(group.logical_id, "Another"), encoding="utf-8")
    before = balancer_of(world).target_groups
    world.apply(templates.read(tmp_path / "renamed"))
    assert balancer_of(world).target_groups > before
    tick_until(world, lambda: steady(world) and not balancer_of(world).target_groups & before)
    assert len(balancer_of(world).target_groups) == 1
    assert {group for group, _ in balancer_of(world).targets} == balancer_of(world).target_groups


def test_restoring_leaves_alone_what_was_changed_since(graph: Graph, world: World) -> None:
    faults = Faults(world)
    name = web_of(world).name
    good = world.state.services[name].definition.task_definition.name
    faults.fail("image", "", "crash")
    world.roll_out(name, world.definitions[good])
    assert faults.restore().words == "Nothing was left broken."
    faults.fail("image", "", "crash")
    faults.fail("image", "", "silent")
    assert f"{name} goes back to" in faults.restore().words
    assert world.state.services[name].definition.task_definition.name == good
    assert graph


def test_words_that_a_fault_does_not_take_are_refused_by_name(world: World) -> None:
    with pytest.raises(FaultError, match="fail capacity now: too many positional arguments"):
        Faults(world).fail("capacity", "now")
    with pytest.raises(FaultError, match="az '': expected one of us-east-1a, us-east-1b"):
        Faults(world).fail("az")


def test_how_an_image_is_broken_may_be_said_alone(world: World) -> None:
    words = Faults(world).fail("image", "missing").words
    # Of the one service that is behind the balancer.
    assert words.startswith(f"{web_of(world).name} rolls out ")
    assert words.endswith("whose image is broken: missing.")


def test_a_service_without_a_balancer_is_broken_and_mended_by_its_name(world: World) -> None:
    faults = Faults(world)
    (quotes,) = (one for one in world.state.services if one != web_of(world).name)
    assert faults.fail("image", "quotes", "missing").words.startswith(f"{quotes} rolls out ")
    assert f"{quotes} goes back to" in faults.restore().words
    words = faults.fail("task", "quotes").words
    (killed,) = (one for one in world.tasks.values() if one.id in words)
    assert killed.group == f"service:{quotes}"
    with pytest.raises(FaultError, match="expected a task behind the load balancer"):
        faults.fail("health", "quotes")
    assert faults.fail("health").words
    assert {world.tasks[one].group for one in world.unchecked} == {f"service:{web_of(world).name}"}
    with pytest.raises(FaultError, match=f"service 'nobody': expected one of {quotes}, "):
        faults.fail("image", "nobody")


def test_of_a_container_that_ends_unasked_the_last_words_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    world.say = said.append
    written = "begins\n\nTraceback\n  line 1\nBoom: no\n"
    monkeypatch.setattr(ActingEngine, "logs", lambda *_: written)
    record = task_of(world)
    seen(world, "stopped", exit_code=1, last=True)
    told = f"(task {record.id}) web exited with 1.\n  Traceback\n    line 1\n  Boom: no"
    tick_until(world, lambda: told in said)
    # One that is stopped on purpose ends in silence.
    said.clear()
    service = web_of(world)
    world.deploy(service.definition, 0)
    tick_until(world, lambda: record.group not in {one.group for one in world.state.tasks.values()})
    assert not any("exited with" in line for line in said)
