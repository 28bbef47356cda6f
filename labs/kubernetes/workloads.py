"""Writes what keeps a service's Pods running: Deployment, HorizontalPodAutoscaler, budget.

Sources, read 2026-11-25:
https://kubernetes.io/docs/concepts/workloads/controllers/deployment/,
https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/,
https://kubernetes.io/docs/tasks/run-application/configure-pdb/,
https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/, and
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from labs.kubernetes.fields import Fields
from labs.kubernetes.notes import CONCEPTS, TASKS, Notes
from scheduler.environment import DeclaredService
from scheduler.model import ROLLING
from templates import Graph, TemplateError, Value

Manifest = dict[str, Any]

# What ECS waits for a task without any check. Source: minimumHealthyPercent on
# API_DeploymentConfiguration.html.
UNCHECKED_SECONDS = 40
# The longest window that a HorizontalPodAutoscaler takes. Source: the description in its schema.
MAXIMUM_WINDOW_SECONDS = 3600
# The scaling metrics that are of the Pods themselves; both are percentages of what is asked for.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_utilization.html
RESOURCES = {
    "ECSServiceAverageCPUUtilization": "cpu",
    "ECSServiceAverageMemoryUtilization": "memory",
}
ZONE = "topology.kubernetes.io/zone"
TOPOLOGIES = {
    "attribute:ecs.availability-zone": ZONE,
    "instanceId": "kubernetes.io/hostname",
    "host": "kubernetes.io/hostname",
}

PAGE_DEPLOYMENT = f"{CONCEPTS}/workloads/controllers/deployment/"
PAGE_SCALING = f"{CONCEPTS}/workloads/autoscaling/horizontal-pod-autoscale/"
PAGE_SPREAD = f"{CONCEPTS}/scheduling-eviction/topology-spread-constraints/"
PAGE_BUDGET = f"{TASKS}/run-application/configure-pdb/"


def deployment(
    declared: DeclaredService,
    pod: Manifest,
    *,
    name: str,
    labels: Mapping[str, str],
    shown: Mapping[str, str],
    scaled: bool,
    checked: bool,
    unhealthy_seconds: float,
    notes: Notes,
) -> Manifest:
    """Give the Deployment of a service's Pods.

    `labels` select them, `shown` stand on them too. `scaled` says that an autoscaler sets the
    number, which the Deployment then must not; `checked` that anything says when a Pod is ready;
    `unhealthy_seconds` how long a Pod that never becomes ready takes to be known for it.
    """
    definition = declared.definition
    spec: Manifest = {} if scaled else {"replicas": declared.desired}
    spec["selector"] = {"matchLabels": dict(labels)}
    if not checked:
        spec["minReadySeconds"] = UNCHECKED_SECONDS
    _check_percentages(declared, name)
    spec["strategy"] = {
        "type": "RollingUpdate",
        "rollingUpdate": {
            "maxUnavailable": _percent(100 - definition.minimum_healthy_percent),
            "maxSurge": _percent(definition.maximum_percent - 100),
        },
    }
    if definition.breaker is not None:
        failures = definition.breaker.threshold(declared.desired)
        spec["progressDeadlineSeconds"] = math.ceil(failures * unhealthy_seconds)
        notes.none(
            "DeploymentConfiguration.DeploymentCircuitBreaker",
            f"a Deployment that stalls for progressDeadlineSeconds (here as long as {failures} "
            "tasks in a row take to fail) is said to have failed, and nothing rolls it back; "
            "kubectl rollout undo is yours",
            f"{PAGE_DEPLOYMENT}#failed-deployment",
        )
    if definition.alarms:
        notes.none(
            "DeploymentConfiguration.Alarms",
            "no alarm stops a rollout or takes it back; a controller like Argo Rollouts or Flagger "
            "would",
            PAGE_DEPLOYMENT,
        )
    if definition.shift.kind != ROLLING:
        notes.none(
            "DeploymentConfiguration.Strategy",
            f"a Deployment rolls or recreates; {definition.shift.kind} needs a controller like "
            "Argo Rollouts or Flagger",
            f"{PAGE_DEPLOYMENT}#strategy",
        )
    spread = _spread(declared, labels, notes)
    spec["template"] = {
        "metadata": {"labels": {**labels, **shown}},
        "spec": ({"topologySpreadConstraints": spread} if spread else {}) | pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {**labels, **shown}},
        "spec": spec,
    }


def autoscaler(
    graph: Graph,
    declared: DeclaredService,
    *,
    name: str,
    labels: Mapping[str, str],
    requests_cpu: bool,
    notes: Notes,
) -> Manifest | None:
    """Give the HorizontalPodAutoscaler; None where no policy of the service has a counterpart.

    ECS's utilization is a percentage of the CPU units, or of the memory, of the task definition; a
    HorizontalPodAutoscaler's one of the requests. For CPU these are the same units.
    """
    target = declared.target
    if target is None:
        return None
    where = f"{target.stack}: {target.logical_id}"
    fields = Fields(graph.properties(target), where)
    if fields.parts("ScheduledActions"):
        notes.none(
            "ScalableTarget.ScheduledActions",
            "nothing built in scales by the clock; KEDA's cron scaler or a CronJob would",
            PAGE_SCALING,
        )
    metrics: list[Manifest] = []
    windows: list[int] = []
    for policy in graph.stacks[target.stack].of_type("AWS::ApplicationAutoScaling::ScalingPolicy"):
        if all(one.logical_id != target.logical_id for one in graph.references(policy)):
            continue
        properties = Fields(graph.properties(policy), f"{policy.stack}: {policy.logical_id}")
        place = f"ScalingPolicy.{policy.logical_id}"
        tracking = properties.part("TargetTrackingScalingPolicyConfiguration")
        kind = tracking.part("PredefinedMetricSpecification").text("PredefinedMetricType")
        if kind not in RESOURCES:
            notes.none(
                place,
                f"{kind or 'a metric of CloudWatch'} is none of the Pods' own; a metrics adapter, "
                "or KEDA, would have to bring it in",
                f"{PAGE_SCALING}#support-for-metrics-apis",
            )
            continue
        resource = RESOURCES[kind]
        if resource == "cpu" and not requests_cpu:
            notes.none(place, "a container without a CPU request has no utilization", PAGE_SCALING)
            continue
        percent = round(float(tracking.any("TargetValue")))
        metrics.append(
            {
                "type": "Resource",
                "resource": {
                    "name": resource,
                    "target": {"type": "Utilization", "averageUtilization": percent},
                },
            }
        )
        windows.append(tracking.counted("ScaleInCooldown", 300))
        out = tracking.counted("ScaleOutCooldown", 300)
        notes.differs(
            place,
            f"its {windows[-1]} s after a scale-in become a window over which the highest number "
            f"counts; its {out} s after a scale-out have no counterpart, more Pods come every 15 s",
            f"{PAGE_SCALING}#stabilization-window",
        )
        if resource == "memory":
            notes.differs(
                place, "a percentage of the request, and on ECS of the limit where there is one "
                "(unverified)", PAGE_SCALING,
            )  # fmt: skip
    if not metrics:
        notes.none(
            "ScalableTarget",
            "without a metric of the Pods nothing scales them: the number is the minimum's",
            PAGE_SCALING,
        )
        return None
    notes.yours(
        "ScalableTarget",
        "Metrics Server, an add-on of the cluster, from which the Pods' use is read",
        f"{PAGE_SCALING}#support-for-metrics-apis",
    )
    minimum = declared.minimum or 0
    if minimum < 1:
        notes.none(
            "ScalableTarget.MinCapacity",
            "a HorizontalPodAutoscaler keeps one Pod at least",
            PAGE_SCALING,
        )
    window = min(max(windows), MAXIMUM_WINDOW_SECONDS)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": max(1, minimum),
            "maxReplicas": max(1, declared.maximum or 0),
            "metrics": metrics,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": window}},
        },
    }


def budget(
    declared: DeclaredService, *, name: str, labels: Mapping[str, str], notes: Notes
) -> Manifest | None:
    """Give the PodDisruptionBudget; None for a single Pod, whose node could then never be drained.

    An eviction takes a Pod away and only then is there another, while ECS starts another one first.
    So one of the fewest Pods may go at a time, and of more as many in proportion: a percentage,
    which Kubernetes rounds up.
    """
    fewest = declared.minimum if declared.minimum is not None else declared.desired
    page = f"{PAGE_BUDGET}#rounding-logic-when-specifying-percentages"
    if fewest < 2:
        notes.none(
            "DeploymentConfiguration.MinimumHealthyPercent",
            "with a single Pod a budget would hold up every drain; without one a drain interrupts "
            "it, where ECS starts another task first",
            PAGE_BUDGET,
        )
        return None
    notes.differs(
        "DeploymentConfiguration.MinimumHealthyPercent",
        "a drained node's Pods go before others come; ECS starts other tasks first",
        page,
    )
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {
            "minAvailable": f"{(fewest - 1) * 100 // fewest}%",
            "selector": {"matchLabels": dict(labels)},
        },
    }


def note_service(properties: Mapping[str, Value], where: str, notes: Notes) -> None:
    """Note what a service says that no manifest does, and refuse what is no Deployment."""
    fields = Fields(properties, where)
    for name in _ELSEWHERE:
        fields.any(name)
    if (kind := fields.text("SchedulingStrategy") or "REPLICA") != "REPLICA":
        raise fields.error("SchedulingStrategy", "REPLICA (a DaemonSet is not written)", kind)
    if fields.any("AvailabilityZoneRebalancing") != "DISABLED":
        notes.none(
            "AvailabilityZoneRebalancing",
            "Pods are spread when they are scheduled and never moved; a descheduler would",
            PAGE_SPREAD,
        )
    if fields.any("HealthCheckGracePeriodSeconds"):
        notes.none(
            "HealthCheckGracePeriodSeconds",
            "not needed: a Pod that is not ready yet is not replaced for it",
            f"{CONCEPTS}/workloads/pods/probes/",
        )
    if fields.flag("EnableExecuteCommand"):
        notes.differs(
            "EnableExecuteCommand",
            "kubectl exec always works for whom RBAC lets; no agent, no record in CloudWatch",
            f"{TASKS}/debug/debug-application/get-shell-running-container/",
        )
    network = fields.part("NetworkConfiguration").part("AwsvpcConfiguration")
    if network.any("SecurityGroups"):
        notes.none(
            "NetworkConfiguration.SecurityGroups",
            "a NetworkPolicy, or EKS's SecurityGroupPolicy, holds back what reaches a Pod; "
            "neither is written",
            f"{CONCEPTS}/services-networking/network-policies/",
        )
    for name, value in fields.left():
        notes.none(name, _SERVICE_NONE.get(name, f"not translated: {value!r}"))


# What is read elsewhere, or is the cluster's.
_ELSEWHERE = (
    "CapacityProviderStrategy", "Cluster", "DeploymentConfiguration", "DesiredCount",
    "LoadBalancers", "PlacementStrategies", "ServiceConnectConfiguration", "TaskDefinition",
)  # fmt: skip
_SERVICE_NONE = {
    "Tags": "labels and annotations are not AWS's tags",
    "PropagateTags": "labels and annotations are not AWS's tags",
    "EnableECSManagedTags": "labels and annotations are not AWS's tags",
    "ServiceRegistries": "a Service has a name in the cluster's DNS; Cloud Map is not asked",
    "PlacementConstraints": "not translated: a nodeSelector or an anti-affinity",
    "LaunchType": "not translated: the Pod goes to any node that it selects",
    "VolumeConfigurations": "not translated: a PersistentVolumeClaim",
}


def _spread(declared: DeclaredService, labels: Mapping[str, str], notes: Notes) -> list[Manifest]:
    """Give the spreads; both sides take another place where the best has no room.

    Each revision is spread by itself, or what a rollout leaves would be spread by what it took.
    """
    found: list[Manifest] = []
    for strategy in declared.definition.strategies:
        if strategy.kind == "spread" and strategy.field in TOPOLOGIES:
            found.append(
                {
                    "maxSkew": 1,
                    "topologyKey": TOPOLOGIES[strategy.field],
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": dict(labels)},
                    "matchLabelKeys": ["pod-template-hash"],
                }
            )
        else:
            notes.none(
                "PlacementStrategies",
                f"{strategy.kind} {strategy.field}".strip()
                + " is a setting of the cluster's scheduler (NodeResourcesFit), not of a Pod",
                f"{CONCEPTS}/scheduling-eviction/resource-bin-packing/",
            )
    return found


def _check_percentages(declared: DeclaredService, name: str) -> None:
    definition = declared.definition
    if definition.minimum_healthy_percent >= 100 and definition.maximum_percent <= 100:
        raise TemplateError(
            f"{declared.resource.stack}: {declared.resource.logical_id}.DeploymentConfiguration: "
            f"expected room for a rollout of {name}, got {definition.minimum_healthy_percent} per "
            f"cent at least and {definition.maximum_percent} at most"
        )


def _percent(value: int) -> int | str:
    return f"{value}%" if value > 0 else 0
