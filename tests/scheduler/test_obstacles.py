"""What does not come to rest has a name."""

from __future__ import annotations

from dataclasses import replace

from scheduler import control
from scheduler.model import Breaker, Refresh, Task, TaskDefinition
from scheduler.obstacles import obstacles
from tests.scheduler.clusters import TASK, WEB, Watched, group, instance, live, state

SERVED = replace(WEB, target_groups=("tg",))


def test_a_cluster_at_rest_has_none() -> None:
    cluster = state([instance("i-1")])
    cluster.deploy(SERVED, 2, 0)
    live(cluster, 30)
    assert obstacles(cluster, 30) == []


def test_a_draining_instance_names_each_task_that_it_waits_for() -> None:
    cluster = state([instance("i-1")])
    cluster.deploy(replace(SERVED, maximum_percent=100), 1, 0)
    live(cluster, 30)
    cluster.run(Task("batch", "batch", TASK, 0), cluster.instances["i-1"])
    cluster.set_instance_status("i-1", "DRAINING")
    control.step(cluster, 31)
    told = obstacles(cluster, 31)
    assert (
        "(instance i-1) is DRAINING: (task 2) of (service web) stays until another is healthy; 1 "
        "of at least 1 are, and there is room for 0 more under the maximum of 1"
    ) in told
    assert (
        "(instance i-1) is DRAINING: (task batch) belongs to no service and ends only by itself"
        in told
    )


def test_what_finds_no_place_says_why() -> None:
    cluster = state([instance("i-1")])
    cluster.deploy(replace(WEB, task_definition=TaskDefinition("big", 4096, 1)), 1, 0)
    control.step(cluster, 0)
    (told,) = obstacles(cluster, 0)
    assert "has insufficient CPU units available" in told


def test_a_failed_deployment_and_starts_that_fail_are_named() -> None:
    for breaker, words in (
        (Breaker(), "starts no tasks: ECS deployment circuit breaker: tasks failed to start."),
        (None, "starts failed in a row; the next is tried in"),
    ):
        cluster = Watched([group(minimum=2)], fate=lambda _: "cannot be pulled")
        cluster.begin((replace(SERVED, provider="provider", breaker=breaker), 3))
        cluster.run(1000)
        assert any(words in one for one in obstacles(cluster.state, cluster.now))


def test_unhealthy_and_protected_tasks_are_counted() -> None:
    cluster = state([instance("i-1")])
    cluster.deploy(replace(SERVED, maximum_percent=100), 2, 0)
    live(cluster, 30)
    sick, safe = cluster.tasks.values()
    cluster.set_target(sick.id, "unhealthy", 31, "Request timed out")
    safe.protected_until = 100
    cluster.services["web"].is_steady = False
    told = obstacles(cluster, 31)
    assert "(service web) 1 tasks are unhealthy" in told
    assert "(service web) 1 tasks are protected from scale-in" in told


def test_a_group_says_what_it_lacks_and_what_it_cannot_end() -> None:
    lost = group()
    lost.lost_zones = {"a", "b"}
    full = group(desired=0)
    cluster = state([instance("i-1", group="group", is_protected=True)])
    for made, words in (
        (lost, "lacks 1 instances: every zone is out of order"),
        (group(is_exhausted=True), "lacks 1 instances: no more are to be had"),
        (full, "has 1 instances too many: 1 are protected from scale-in"),
        (group(refresh=Refresh("r", "2", 0, protected="Wait")), "waits for protected instances"),
        (group(refresh=Refresh("r", "2", 0, "Failed")), "failed: nothing moved for an hour"),
    ):
        cluster.groups = {"group": made}
        assert any(words in one for one in obstacles(cluster, 0)), words
