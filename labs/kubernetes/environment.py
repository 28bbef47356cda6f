"""Reads an environment's services from the templates and gives the manifests of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from labs.kubernetes import names, routes, workloads
from labs.kubernetes.fields import Fields
from labs.kubernetes.notes import CONCEPTS, ECS_GUIDE, Note, Notes
from labs.kubernetes.pods import PodWriter
from labs.kubernetes.target import Target, target_of
from scheduler import environment as ecs
from templates import Graph, TemplateError

Manifest = dict[str, Any]

# The release whose schemas the tests hold the manifests against, and the oldest one.
KUBERNETES = ("1.37", "1.34")
_PIDS = re.compile(r"ECS_TASK_PIDS_LIMIT=[\"']?(\d+)")
# A label's value ends at 63 characters, and the hash that is an image's tag is longer.
_VERSION_CHARACTERS = 12


@dataclass(frozen=True)
class Service:
    """One service's manifests, in an order to apply them in, and what they leave out."""

    name: str
    manifests: tuple[Manifest, ...]
    notes: tuple[Note, ...]
    target: Target | None = None

    def manifest(self, kind: str) -> Manifest:
        """Give the only manifest of a kind; raise KeyError where there is none."""
        found = [one for one in self.manifests if one["kind"] == kind]
        if len(found) != 1:
            raise KeyError(kind)
        return found[0]


@dataclass(frozen=True)
class Environment:
    """An environment's services, and what is left out of what they share."""

    name: str
    services: tuple[Service, ...]
    notes: tuple[Note, ...]

    def service(self, name: str) -> Service:
        """Give a service by its name; raise TemplateError naming those that there are."""
        for one in self.services:
            if one.name == name:
                return one
        there = ", ".join(one.name for one in self.services) or "none"
        raise TemplateError(f"{name}: expected a service of {self.name}, one of {there}")


def translate(graph: Graph, name: str) -> Environment:
    """Give the manifests of every service of an environment, by its name in the settings.

    Raises TemplateError where the assembly has no such environment, where a template cannot be read
    as it is, and for what would make a manifest that no cluster takes.
    """
    try:
        found = ecs.read(graph, name)
    except TemplateError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise TemplateError(f"{name}: expected what ECS takes, got {error!r}") from error
    environment = names.label(name, "the environment")
    services: dict[str, Service] = {}
    for declared in found.services:
        service = _service(graph, declared, environment)
        if service.name in services:
            raise TemplateError(
                f"{declared.resource.stack}: {declared.resource.logical_id}: expected a container "
                f"with a name of its own, got {service.name}, which another service has too"
            )
        services[service.name] = service
    if not services:
        raise TemplateError(f"{name}: expected a service in its templates, got none")
    return Environment(environment, tuple(services.values()), _shared(graph, found))


def _service(graph: Graph, declared: ecs.DeclaredService, environment: str) -> Service:
    resource, definition = declared.resource, declared.task_definition
    where = f"{resource.stack}: {resource.logical_id}"
    properties = graph.properties(resource)
    balancers = Fields(properties, where).parts("LoadBalancers")
    target = target_of(graph, resource, balancers)
    task = graph.properties(definition)
    name = names.label(_main(task, target, where), f"{where}.Name")
    notes = Notes(name)
    for beyond in balancers[1:]:
        notes.none("LoadBalancers", f"not translated: {beyond.any('ContainerName')} in another one")
    pod = PodWriter(
        task,
        where=f"{definition.stack}: {definition.logical_id}",
        service=name,
        target=target,
        notes=notes,
    )
    labels = names.labels(environment, name)
    tag = pod.image.rpartition("/")[2].partition(":")[2]
    shown = {"app.kubernetes.io/part-of": environment}
    if tag:
        shown["app.kubernetes.io/version"] = tag[:_VERSION_CHARACTERS].rstrip("-_.")
    autoscaler = workloads.autoscaler(
        graph, declared, name=name, labels=labels, requests_cpu=pod.requests_cpu, notes=notes
    )
    deployment = workloads.deployment(
        declared,
        pod.write(),
        name=name,
        labels=labels,
        shown=shown,
        scaled=autoscaler is not None,
        checked=target is not None or pod.has_health_check,
        unhealthy_seconds=_unhealthy_seconds(declared, target),
        notes=notes,
    )
    manifests: list[Manifest | None] = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "labels": dict(labels)},
            "automountServiceAccountToken": False,
        },
        *routes.services(
            properties,
            where=where,
            name=name,
            labels=labels,
            ports=pod.ports,
            target=target,
            notes=notes,
        ),
        deployment,
        autoscaler,
        workloads.budget(declared, name=name, labels=labels, notes=notes),
    ]
    if target is not None:
        manifests.append(
            routes.ingress(
                graph, target, environment=environment, name=name, labels=labels, notes=notes
            )
        )
    workloads.note_service(properties, where, notes)
    return Service(name, tuple(one for one in manifests if one), tuple(notes.found), target)


def _main(task: dict[str, Any], target: Target | None, where: str) -> str:
    """Name a service as its main container is: the one behind the load balancer, or essential."""
    if target is not None:
        return target.container
    for container in task.get("ContainerDefinitions") or []:
        if container.get("Essential", True) not in (False, "false"):
            return str(container.get("Name"))
    raise TemplateError(f"{where}: expected a task definition with an essential container")


def _unhealthy_seconds(declared: ecs.DeclaredService, target: Target | None) -> float:
    """Give how long a task that never gets healthy runs until ECS counts it as failed.

    Its grace period and then as many checks as the balancer wants; without a balancer, twice what
    ECS waits for a task that nobody checks (ours, no page says it).
    """
    if target is None:
        return workloads.UNCHECKED_SECONDS * 2
    return declared.definition.grace_seconds + target.interval * target.unhealthy


def _shared(graph: Graph, found: ecs.Environment) -> tuple[Note, ...]:
    notes = Notes(found.name)
    for resource in found.groups.values():
        stack = graph.stacks[resource.stack]
        for template in stack.of_type("AWS::EC2::LaunchTemplate"):
            data = graph.properties(template).get("LaunchTemplateData") or {}
            if limit := _PIDS.search(str(data.get("UserData") or "")):
                notes.none(
                    "ECS_TASK_PIDS_LIMIT",
                    f"{limit[1]} processes in a task: the kubelet's podPidsLimit, a setting of the "
                    "node",
                    f"{CONCEPTS}/policy/pid-limiting/",
                )
    notes.none(
        "CapacityProvider",
        "the Auto Scaling group, its AMI, scaling and draining are a node pool's, outside of the "
        "manifests",
        f"{ECS_GUIDE}/asg-capacity-providers.html",
    )
    notes.none("Alarms", "with dashboards, logs and budget they stay AWS's; none is written")
    return tuple(notes.found)
