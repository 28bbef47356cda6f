"""A service becomes a Deployment with what scales and protects it."""

from __future__ import annotations

from typing import Any

import pytest

import templates
from labs.kubernetes.environment import Service, translate
from templates import TemplateError
from tests.conftest import Assembly
from tests.labs.conftest import Edited, container_of, one, pod_of, said, service_of
from tests.labs.kubernetes.schemas import accepted

Values = dict[str, Any]
TARGET = "AWS::ApplicationAutoScaling::ScalableTarget"
POLICY = "AWS::ApplicationAutoScaling::ScalingPolicy"


def test_a_rollout_never_goes_below_what_is_asked_for(web: Service) -> None:
    spec = web.manifest("Deployment")["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"},
    }


def test_other_percentages_are_carried_over_and_none_that_leave_no_room(edited: Edited) -> None:
    def half(resources: Values) -> None:
        service_of(resources)["DeploymentConfiguration"] |= {
            "MinimumHealthyPercent": 50, "MaximumPercent": 100,
        }  # fmt: skip

    def nothing(resources: Values) -> None:
        service_of(resources)["DeploymentConfiguration"] |= {
            "MinimumHealthyPercent": 100, "MaximumPercent": 100,
        }  # fmt: skip

    rolling = edited(half).manifest("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert rolling == {"maxUnavailable": "50%", "maxSurge": 0}
    with pytest.raises(TemplateError, match="DeploymentConfiguration: expected room for a rollout"):
        edited(nothing)


def test_the_breaker_is_a_deadline_and_nobody_rolls_back(web: Service) -> None:
    # Three tasks, each of which has 60 s of grace and then three checks, 10 s apart.
    assert web.manifest("Deployment")["spec"]["progressDeadlineSeconds"] == 3 * (60 + 3 * 10)
    assert "nothing rolls it back" in said(web, "DeploymentConfiguration.DeploymentCircuitBreaker")
    assert said(web, "DeploymentConfiguration.Alarms").startswith("no counterpart")


@pytest.mark.parametrize("name", ["bluegreen", "canary", "linear"])
def test_a_strategy_that_shifts_traffic_needs_a_controller(variants: Assembly, name: str) -> None:
    service = translate(templates.read(variants.directory), name).service("web")
    assert "Argo Rollouts" in said(service, "DeploymentConfiguration.Strategy")
    assert "progressDeadlineSeconds" not in service.manifest("Deployment")["spec"]


def test_pods_are_spread_over_the_zones_as_far_as_there_is_room(web: Service) -> None:
    (spread,) = pod_of(web)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["maxSkew"] == 1
    assert "binpack MEMORY" in said(web, "PlacementStrategies")


def test_tasks_are_scaled_on_cpu_within_the_same_bounds(web: Service) -> None:
    spec = web.manifest("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 6)
    (metric,) = spec["metrics"]
    assert metric["resource"] == {
        "name": "cpu",
        "target": {"type": "Utilization", "averageUtilization": 60},
    }
    assert spec["behavior"] == {"scaleDown": {"stabilizationWindowSeconds": 300}}
    assert "ALBRequestCountPerTarget" in said(web, "ScalingPolicy.ServiceTaskCountTargetRequests")


def test_without_a_metric_of_the_pods_the_number_is_fixed(edited: Edited) -> None:
    def change(resources: Values) -> None:
        container_of(resources)["Cpu"] = 0

    service = edited(change)
    accepted(service.manifests)
    assert service.manifest("Deployment")["spec"]["replicas"] == 2
    assert "HorizontalPodAutoscaler" not in {each["kind"] for each in service.manifests}
    assert "nothing scales" in said(service, "ScalableTarget")


def test_what_sleeps_by_the_clock_or_at_zero_does_not_here(
    variants: Assembly, edited: Edited
) -> None:
    service = translate(templates.read(variants.directory), "linear").service("web")
    assert "by the clock" in said(service, "ScalableTarget.ScheduledActions")

    def change(resources: Values) -> None:
        one(resources, TARGET)["MinCapacity"] = 0

    service = edited(change)
    assert service.manifest("HorizontalPodAutoscaler")["spec"]["minReplicas"] == 1
    assert "one Pod at least" in said(service, "ScalableTarget.MinCapacity")


@pytest.mark.parametrize(("fewest", "stay"), [(2, "50%"), (3, "66%"), (6, "83%")])
def test_one_of_the_fewest_pods_may_be_evicted_at_a_time(
    edited: Edited, fewest: int, stay: str
) -> None:
    def change(resources: Values) -> None:
        one(resources, TARGET)["MinCapacity"] = fewest

    budget = edited(change).manifest("PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == stay
    # Kubernetes rounds up.
    assert -(-fewest * int(stay[:-1]) // 100) == fewest - 1


def test_a_single_pod_has_no_budget_since_its_node_must_be_drained(edited: Edited) -> None:
    def change(resources: Values) -> None:
        one(resources, TARGET)["MinCapacity"] = 1

    service = edited(change)
    assert "PodDisruptionBudget" not in {each["kind"] for each in service.manifests}
    assert "drain" in said(service, "DeploymentConfiguration.MinimumHealthyPercent")


def test_a_service_that_nobody_checks_counts_after_as_long_as_on_ecs(edited: Edited) -> None:
    def change(resources: Values) -> None:
        del container_of(resources)["HealthCheck"]
        del service_of(resources)["LoadBalancers"]

    assert edited(change).manifest("Deployment")["spec"]["minReadySeconds"] == 40


def test_a_daemon_service_is_refused(edited: Edited) -> None:
    def change(resources: Values) -> None:
        service_of(resources)["SchedulingStrategy"] = "DAEMON"

    with pytest.raises(
        TemplateError, match=r"SchedulingStrategy: expected REPLICA .* got 'DAEMON'"
    ):
        edited(change)


def test_without_scaling_the_number_is_the_services_own(edited: Edited) -> None:
    def change(resources: Values) -> None:
        for name in [key for key, each in resources.items() if each["Type"] in {TARGET, POLICY}]:
            del resources[name]
        service_of(resources)["DesiredCount"] = 4

    service = edited(change)
    accepted(service.manifests)
    assert service.manifest("Deployment")["spec"]["replicas"] == 4
    assert service.manifest("PodDisruptionBudget")["spec"]["minAvailable"] == "75%"
