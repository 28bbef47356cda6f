"""Services scale on what the balancer counted and what the engine says their containers use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from rehearsal.engines import EngineError, Usage
from rehearsal.meter import Meter
from rehearsal.records import ContainerRecord, Definition, TaskRecord
from rehearsal.service_scaling import MIB, ServiceScaling
from scheduler.actions import Scale
from scheduler.model import Service
from scheduler.scaling import METRIC_SECONDS, OUT_READINGS, Policy, Scaler
from tests.scheduler.clusters import TASK, WEB, instance, live, state

CPU = Policy("cpu", "ECSServiceAverageCPUUtilization", 60)
MEMORY = Policy("memory", "ECSServiceAverageMemoryUtilization", 60)
REQUESTS = Policy("requests", "ALBRequestCountPerTarget", 600)


class Using:
    """An engine that says of each container what it is told to."""

    def __init__(self) -> None:
        self.used: dict[str, Usage] = {}
        self.fails = False

    def usage(self, *containers: str) -> Mapping[str, Usage]:
        if self.fails:
            raise EngineError("no such container")
        return {one: self.used[one] for one in containers}


@pytest.fixture
def engine() -> Using:
    return Using()


@pytest.fixture
def meter() -> Meter:
    return Meter(None)  # type: ignore[arg-type]  # what it counted is set


@pytest.fixture
def service() -> Service:
    """A service of four tasks that run."""
    cluster = state([instance("i-1")])
    service = cluster.deploy(replace(WEB, target_groups=("blue", "green")), 4, 0)
    live(cluster, 60)
    return service


def scaled_by(engine: Using, *policies: Policy) -> ServiceScaling:
    scaling = ServiceScaling(engine, lambda work: work())  # type: ignore[arg-type]
    scaling.scalers["web"] = Scaler("web", 2, 10, policies)
    return scaling


def record(number: int, status: str = "RUNNING", group: str = "service:web") -> TaskRecord:
    name = f"t{number}"
    definition = Definition("arn", "web", 1, {}, TASK, 0)
    containers = {"web": ContainerRecord("web", "web:1", status=status, runtime_id=name)}
    return TaskRecord(name, "arn", definition, group, 0, containers=containers)


def minutes(scaling: ServiceScaling, service: Service, meter: Meter) -> list[int]:
    """Let as many minutes pass as a scale-out takes; give the counts that are asked for."""
    done = [
        action
        for minute in range(OUT_READINGS)
        for action in scaling.decide({"web": service}, meter, minute * METRIC_SECONDS)
    ]
    return [action.desired for action in done if isinstance(action, Scale)]


@pytest.mark.parametrize(
    ("policy", "half", "whole"),
    [
        # The task has 256 of the 1024 units of a CPU, and 500 MiB.
        (CPU, Usage(0, 20, 1), Usage(0, 25, 1)),
        (MEMORY, Usage(400 * MIB, 0, 1), Usage(500 * MIB, 0, 1)),
    ],
)
def test_what_containers_use_of_what_is_reserved_for_them_scales(
    engine: Using, meter: Meter, service: Service, policy: Policy, half: Usage, whole: Usage
) -> None:
    scaling = scaled_by(engine, policy)
    assert minutes(scaling, service, meter) == [], "nobody has looked yet"
    engine.used = {"t1": half, "t2": whole, "t3": whole, "t4": Usage(0, 0, 1)}
    others = [record(3, "STOPPED"), record(4, group="family:job")]
    scaling.look({one.id: one for one in (record(1), record(2), *others)})
    assert scaling.usage["web"][policy is MEMORY] == pytest.approx(90)
    # 4 tasks at 90 per cent are 6 at the target of 60.
    assert minutes(scaling, service, meter) == [6]


def test_requests_are_those_of_a_task_over_all_target_groups(
    engine: Using, meter: Meter, service: Service
) -> None:
    meter.requests = {"blue": 2000, "green": 1600, "of another": 9000}
    assert minutes(scaled_by(engine, REQUESTS), service, meter) == [6]


def test_what_an_engine_cannot_say_now_stays_as_it_was(engine: Using) -> None:
    scaling = scaled_by(engine, CPU)
    engine.used = {"t1": Usage(0, 25, 1)}
    scaling.look({"t1": record(1)})
    before = scaling.usage
    engine.fails = True
    scaling.look({"t1": record(1)})
    assert scaling.usage == before
    engine.fails, engine.used = False, {"t1": Usage(0, 0, 1)}
    scaling.look({"t1": record(1)})
    assert scaling.usage["web"] == (0, 0)


def test_a_service_that_is_deleted_is_not_scaled(
    engine: Using, meter: Meter, service: Service
) -> None:
    meter.requests = {"blue": 3600}
    scaling = scaled_by(engine, REQUESTS)
    assert list(scaling.decide({}, meter, 0)) == []
    service.is_active = False
    assert minutes(scaling, service, meter) == []
