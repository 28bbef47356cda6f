"""Whatever happens to a cluster on the virtual clock, some things always hold."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler import control
from scheduler.model import (
    BLUE_GREEN,
    CANARY,
    LINEAR,
    ROLLING,
    Breaker,
    Constraint,
    Group,
    InstanceKind,
    ManagedScaling,
    Refresh,
    ServiceDefinition,
    Shift,
    Strategy,
    TaskDefinition,
)
from scheduler.obstacles import obstacles
from scheduler.scaling import Policy, Scaler
from scheduler.simulation import Simulation, Timing
from tests.scheduler.clusters import BY_INSTANCE, BY_ZONE, TASK, WEB, Watched, group

SERVED = replace(WEB, provider="provider", target_groups=("tg",))
# Events come within the first of these, and then the cluster has the second to come to rest.
EVENTFUL, REST = 1800, 3 * 3600
EVENTS = (
    "deploy", "deploy", "scale", "scale", "drain", "activate", "lose", "zone", "refresh", "alarm",
    "protect", "sick",
)  # fmt: skip
GENTLE = ("deploy", "deploy", "drain", "activate", "refresh")


class Generated:
    """A cluster, its services and what happens to them, all by one source of chance."""

    def __init__(self, chance: Random, *, events: tuple[str, ...] = EVENTS) -> None:
        self.chance = chance
        self.is_gentle = events is GENTLE
        self.group = self._group()
        self.numbers = 0
        self.simulation = Watched(
            [self.group], seed=chance.randint(0, 99), fate=lambda task: task.definition.name[4:]
        )
        services = [
            (self._service(f"s{number}"), chance.randint(0, 6))
            for number in range(chance.randint(1, 2))
        ]
        self.simulation.begin(*services)
        for _ in range(chance.randint(0, 6)):
            # Gentle things happen to services that have their tasks.
            at, what = chance.randint(600 * self.is_gentle, EVENTFUL), chance.choice(events)
            self.simulation.at(at, lambda what=what: getattr(self, f"_{what}")())  # type: ignore[misc]

    def run(self) -> Watched:
        """Let everything happen, and then come to rest if it can."""
        self.simulation.run(EVENTFUL + 1)
        self.simulation.run(EVENTFUL + REST, settles=True)
        return self.simulation

    def _group(self) -> Group:
        chance = self.chance
        zones = tuple("abc"[: chance.randint(1, 3)])
        kinds = tuple(
            InstanceKind(
                f"kind{number}",
                cpu=chance.choice([1024, 2048]),
                memory=chance.choice([1000, 4000]),
                interfaces=chance.choice([1, 3, 8]),
                dynamic_ports=chance.choice([3, 50]),
            )
            for number in range(chance.randint(1, 2))
        )
        desired = chance.randint(0, 5)
        return Group(
            "group", "provider", zones, kinds,
            minimum=chance.choice([0, desired]),
            maximum=desired + chance.randint(0, 8),
            desired=desired,
            scaling=chance.choice(
                [
                    None,
                    ManagedScaling(),
                    ManagedScaling(80, 2, 3, 60),
                    ManagedScaling(minimum_step=2),
                ]
            ),
            drains=chance.random() < 0.8 or self.is_gentle,
            protects=chance.random() < 0.4,
            minimum_healthy_percent=chance.choice([50, 90, 100]),
            maximum_healthy_percent=chance.choice([100, 150, 200]),
        )  # fmt: skip

    def _task(self) -> TaskDefinition:
        chance = self.chance
        self.numbers += 1
        fates = ["healthy"] * 4 + ["crashes", "unhealthy", "cannot be pulled"]
        return TaskDefinition(
            f"{self.numbers:03}|{'healthy' if self.is_gentle else chance.choice(fates)}",
            cpu=chance.choice([64, 256, 512]),
            memory=chance.choice([100, 300, 900]),
            host_ports=frozenset({(80, "tcp")}) if chance.random() < 0.15 else frozenset(),
            dynamic_ports=chance.choice([0, 1]),
            interfaces=chance.choice([0, 0, 1]),
            has_health_check=chance.random() < 0.5,
        )

    def _service(self, name: str) -> ServiceDefinition:
        chance = self.chance
        shift = chance.choice(
            [Shift()] * 4
            + [
                Shift(ROLLING, bake_seconds=120),
                Shift(BLUE_GREEN, bake_seconds=300),
                Shift(CANARY, 10, 120, 120),
                Shift(LINEAR, 25, 60, 60),
            ]
        )
        one = chance.choice([(), ("tg",)])
        return ServiceDefinition(
            name,
            self._task(),
            minimum_healthy_percent=chance.choice([0, 50, 100, 100]),
            maximum_percent=chance.choice([100, 150, 200, 200]),
            strategies=chance.choice(
                [
                    (),
                    (BY_ZONE, Strategy("binpack", "memory")),
                    (Strategy("binpack", "cpu"),),
                    (Strategy("random"),),
                    (BY_INSTANCE,),
                ]
            ),
            constraints=chance.choice([(), (), (Constraint("distinctInstance"),)]),
            provider=chance.choice(["provider", "provider", None]),
            target_groups=one if shift.kind == ROLLING else ("blue", "green"),
            grace_seconds=chance.choice([0, 60]),
            breaker=chance.choice(
                [
                    None,
                    Breaker(),
                    Breaker("COUNT", 3, rollback=chance.random() < 0.5),
                    Breaker("UNBOUNDED_PERCENT", 50, reset_on_healthy_task=False),
                ]
            ),
            rebalancing=chance.random() < 0.5,
            shift=shift,
            alarms=("alarm",),
            alarm_rollback=chance.random() < 0.5,
        )

    # What happens.

    def _deploy(self) -> None:
        service = self.chance.choice(list(self.simulation.state.services.values()))
        new = replace(service.definition, task_definition=self._task())
        self.simulation.deploy(new, service.desired)

    def _scale(self) -> None:
        service = self.chance.choice(list(self.simulation.state.services.values()))
        self.simulation.deploy(service.definition, self.chance.randint(0, 6))

    def _drain(self) -> None:
        self._set("DRAINING")

    def _activate(self) -> None:
        self._set("ACTIVE")

    def _set(self, status: str) -> None:
        state = self.simulation.state
        if state.instances:
            one = self.chance.choice(list(state.instances.values()))
            if one.status in {"ACTIVE", "DRAINING"} and one.lifecycle == "InService":
                state.set_instance_status(one.id, status)  # type: ignore[arg-type]

    def _lose(self) -> None:
        if self.simulation.state.instances:
            self.simulation.lose(self.chance.choice(list(self.simulation.state.instances)))

    def _zone(self) -> None:
        zone = self.chance.choice(self.group.zones)
        self.group.lost_zones.add(zone)
        for one in list(self.simulation.state.instances.values()):
            if one.zone == zone:
                self.simulation.lose(one.id)
        back = self.simulation.now + 900
        self.simulation.at(back, lambda: self.group.lost_zones.discard(zone))

    def _refresh(self) -> None:
        self.group.template = f"{self.simulation.now}"
        mode = self.chance.choice(["Refresh", "Ignore", "Wait"])
        self.group.refresh = Refresh("r", self.group.template, self.simulation.now, protected=mode)  # type: ignore[arg-type]

    def _alarm(self) -> None:
        self.simulation.state.alarms.add("alarm")
        over = self.simulation.now + 200
        self.simulation.at(over, lambda: self.simulation.state.alarms.discard("alarm"))

    def _protect(self) -> None:
        if self.simulation.state.tasks:
            task = self.chance.choice(list(self.simulation.state.tasks.values()))
            task.protected_until = self.simulation.now + self.chance.choice([600, 7200])

    def _sick(self) -> None:
        state = self.simulation.state
        for task in list(state.tasks.values())[:2]:
            if task.status == "RUNNING" and task.wanted and task.definition.has_health_check:
                state.set_health(task.id, "UNHEALTHY", self.simulation.now)
            elif task.target == "healthy":
                state.set_target(task.id, "unhealthy", self.simulation.now, "Request timed out")


@settings(max_examples=30)
@given(st.randoms(use_true_random=True))
def test_limits_and_bounds_hold_and_all_comes_to_rest_or_says_why_not(chance: Random) -> None:
    # Watched asserts of every moment: no instance over its limits, no service over its maximum, no
    # healthy task stopped below the minimum.
    cluster = Generated(chance).run()
    told = obstacles(cluster.state, cluster.now)
    assert cluster.is_settled() or told
    for one in cluster.state.draining.values():
        assert not one.tasks or any(one.id in line for line in told)


@settings(max_examples=30)
@given(st.randoms(use_true_random=True))
def test_without_deaths_no_service_is_ever_below_its_minimum(chance: Random) -> None:
    cluster = Generated(chance, events=GENTLE).simulation
    cluster.run(600)
    while cluster.now < EVENTFUL + 600:
        whole = {
            service.name
            for service in cluster.state.services.values()
            if service.primary.completed_at is not None
        }
        cluster.run(cluster.now + 7)
        for service in cluster.state.services.values():
            healthy = sum(
                one.was_healthy and one.wanted
                for one in cluster.state.tasks.values()
                if one.service == service.name
            )
            # A service that has once been whole stays so.
            assert service.name not in whole or healthy >= service.minimum_healthy


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_the_same_input_gives_the_same_lines_and_samples(seed: int) -> None:
    one, other = (Generated(Random(seed)).simulation for _ in range(2))
    for cluster in (one, other):
        cluster.run(EVENTFUL)
    assert one.lines == other.lines
    assert one.samples == other.samples


class Asked(Watched):
    """Asks a second time at each moment."""

    def _decide(self) -> None:
        super()._decide()
        assert control.step(self.state, self.now) == []


@settings(max_examples=20)
@given(st.randoms(use_true_random=True))
def test_each_look_says_all_there_is_to_say(chance: Random) -> None:
    made = Generated(chance)
    made.simulation.__class__ = Asked
    made.simulation.run(EVENTFUL)


def test_another_seed_gives_another_course() -> None:
    def lines(seed: int) -> list[float]:
        cluster = Simulation([group()], seed=seed)
        cluster.boot(cluster.groups[0], 2)
        cluster.deploy(SERVED, 4)
        cluster.run(300, settles=True)
        return [line.at for line in cluster.lines]

    assert lines(1) == lines(1)
    assert len({tuple(lines(seed)) for seed in range(8)}) > 1


@pytest.mark.parametrize("desired", [4, 40])
def test_a_rollout_on_a_full_cluster_takes_turns(desired: int) -> None:
    tight = replace(SERVED, minimum_healthy_percent=50, maximum_percent=100)
    cluster = Watched([group(desired=desired // 4, maximum=desired // 4, scaling=None)])
    cluster.begin((replace(tight, task_definition=replace(TASK, cpu=512)), desired))
    cluster.run(600, settles=True)
    assert cluster.is_settled()
    new = replace(tight, task_definition=replace(TASK, name="web:2", cpu=512))
    cluster.deploy(new, desired)
    cluster.run(cluster.now + 3600, settles=True)
    assert cluster.is_settled()
    assert {task.definition.name for task in cluster.state.tasks.values()} == {"web:2"}


def test_a_large_service_shrinks_to_a_few() -> None:
    cluster = Watched([group(desired=10, scaling=None)])
    cluster.begin((SERVED, 80))
    cluster.run(600, settles=True)
    cluster.deploy(SERVED, 3)
    cluster.run(cluster.now + 600, settles=True)
    assert cluster.is_settled()
    zones = [task.instance.zone for task in cluster.state.tasks.values() if task.instance]
    assert sorted(zones.count(zone) for zone in "ab") == [1, 2]


def test_times_are_those_of_the_service() -> None:
    slow = Timing(start=100, deregistration=50)
    cluster = Simulation([group()], timings={"web": slow})
    cluster.boot(cluster.groups[0], 2)
    cluster.deploy(SERVED, 1)
    cluster.run(600, settles=True)
    assert 100 <= cluster.now <= 150
    began = cluster.now
    cluster.deploy(SERVED, 0)
    cluster.run(began + 600, settles=True)
    assert 58 <= cluster.now - began <= 62


def test_load_is_demand_and_is_scaled_for() -> None:
    policy = Policy("requests", "ALBRequestCountPerTarget", 100, 60, 60)
    cluster = Simulation([group(desired=3)])
    cluster.load = lambda _name, now: 600.0 if now > 300 else 150.0
    cluster.boot(cluster.groups[0], 3)
    cluster.deploy(SERVED, 2)
    cluster.scale_by(Scaler("web", 2, 10, (policy,)))
    cluster.run(900)
    assert {one.demand for one in cluster.samples} == {2, 6}
    assert cluster.state.services["web"].desired == 6
    assert cluster.samples[-1].healthy == 6
