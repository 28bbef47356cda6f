"""Turns a task definition into the specification of a Pod.

Every property is taken once; what nobody took ends as a note. Sources, read 2026-11-25:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html,
API_HealthCheck.html, API_ContainerDependency.html, API_LinuxParameters.html beside it, and
https://kubernetes.io/docs/concepts/workloads/pods/probes/,
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/,
https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination,
https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from labs.kubernetes import names
from labs.kubernetes.fields import Fields
from labs.kubernetes.notes import CONCEPTS, ECS_GUIDE, EKS_GUIDE, Notes
from labs.kubernetes.target import Target, probe
from templates import TemplateError, Unresolved, Value

Manifest = dict[str, Any]

ARCHITECTURES = {"x86_64": "amd64", "X86_64": "amd64", "arm64": "arm64", "ARM64": "arm64"}
# In seconds. Sources: API_HealthCheck.html, and stopTimeout on API_ContainerDefinition.html.
HEALTH_DEFAULTS = {"Interval": 30, "Timeout": 5, "Retries": 3, "StartPeriod": 0}
STOP_TIMEOUT_SECONDS = 30
# Where Docker mounts what SharedMemorySize is the size of.
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a path in the container
# The conditions of API_ContainerDependency.html that wait for an end, and those that do not.
ENDED = {"COMPLETE", "SUCCESS"}
RUNNING = {"START", "HEALTHY"}

_ARCHITECTURE = re.compile(r"attribute:ecs\.cpu-architecture\s*==\s*(?P<name>\w+)")
_NUMBERS = re.compile(r"(?P<user>\d+)(:(?P<group>\d+))?")
PAGE_LIFECYCLE = f"{CONCEPTS}/workloads/pods/pod-lifecycle/"
PAGE_PROBES = f"{CONCEPTS}/workloads/pods/probes/"
PAGE_RESOURCES = f"{CONCEPTS}/configuration/manage-resources-containers/"

# What a manifest has no field for, in the schemas of Kubernetes 1.37.
_CONTAINER_NONE = {
    "Ulimits": "a Pod sets no ulimits; the node's container runtime has its own",
    "LogConfiguration": "the kubelet keeps what a container writes; shipping it is an agent's work "
    "on each node",
    "FirelensConfiguration": "an agent on each node ships logs, or a container that you add",
    "DockerLabels": "a container has no labels, its Pod has",
    "StartTimeout": "nothing bounds the wait for a container that others depend on",
    "RestartPolicy": "the Pod's restartPolicy is Always; how often and after what is the kubelet's",
    "VersionConsistency": "a tag is not pinned to a digest; name the image by its digest instead",
    "CredentialSpecs": "not translated: a Windows container's gmsaCredentialSpec",
    "RepositoryCredentials": "not translated: a Secret that imagePullSecrets names",
    "EnvironmentFiles": "not translated: a ConfigMap made from the file, and envFrom",
    "ResourceRequirements": "not translated: a device plugin's resource, like nvidia.com/gpu",
    "Links": "the containers of a Pod find each other on localhost",
    "VolumesFrom": "not translated: mount the volume in both containers",
}
_LINUX_NONE = {
    "InitProcessEnabled": "no container gets an init process: what starts children must reap them",
    "Devices": "not translated: a device plugin gives devices to Pods",
    "MaxSwap": "swap is the node's setting",
    "Swappiness": "swap is the node's setting",
}
_TASK_NONE = {
    "Tags": "labels and annotations are not AWS's tags",
    "ProxyConfiguration": "a mesh puts its proxies into Pods by itself",
    "EphemeralStorage": "not translated: a limit of ephemeral-storage",
    "EnableFaultInjection": "no such API is offered to a Pod",
    "InferenceAccelerators": "not translated: a device plugin's resource",
}


@dataclass(frozen=True)
class Ports:
    """The name of each port in the Pod: by container, number and protocol, and by ECS's name."""

    by_number: Mapping[tuple[str, int, str], str]
    by_name: Mapping[str, tuple[str, int, str]] = field(default_factory=dict)

    def name(self, container: str, port: int, where: str) -> str:
        """Name a container's TCP port; raise TemplateError where it has none."""
        key = (container, port, "TCP")
        if key not in self.by_number:
            known = ", ".join(f"{one[0]} {one[1]}" for one in self.by_number) or "none"
            raise TemplateError(
                f"{where}: expected a port of the task definition ({known}), got {container} {port}"
            )
        return self.by_number[key]


def ports_of(
    definitions: Sequence[Mapping[str, Value]], target: Target | None, where: str
) -> Ports:
    """Name the ports of a task definition's containers; those of a Pod share one network."""
    by_number: dict[tuple[str, int, str], str] = {}
    by_name: dict[str, tuple[str, int, str]] = {}
    taken: dict[tuple[int, str], str] = {}
    for definition in definitions:
        container = str(definition["Name"])
        for mapping in definition.get("PortMappings") or []:
            if not mapping.get("ContainerPort"):
                continue
            number = int(mapping["ContainerPort"])
            protocol = str(mapping.get("Protocol") or "tcp").upper()
            if taken.setdefault((number, protocol), container) != container:
                raise TemplateError(
                    f"{where}.{container}.PortMappings: expected a port that no other container "
                    f"of the Pod has, got {number}, which {taken[number, protocol]} has too"
                )
            own = str(mapping.get("Name") or "")
            is_target = target and (target.container, target.container_port) == (container, number)
            wanted = own if names.is_port_name(own) else "http" if is_target else ""
            if not wanted or wanted in by_number.values():
                wanted = f"port-{number}" if protocol == "TCP" else f"udp-{number}"
            by_number[container, number, protocol] = wanted
            if own:
                by_name[own] = (container, number, protocol)
    return Ports(by_number, by_name)


class PodWriter:
    """Writes the Pod of one task definition (resolved CloudFormation properties)."""

    def __init__(
        self,
        definition: Mapping[str, Value],
        *,
        where: str,
        service: str,
        target: Target | None,
        notes: Notes,
    ) -> None:
        self._task = Fields(definition, where)
        self._service = service
        self._target = target
        self._notes = notes
        self._where = where
        self._volumes: dict[str, Manifest] = {}
        containers = self._task.any("ContainerDefinitions")
        if not isinstance(containers, list) or not containers:
            raise self._task.error("ContainerDefinitions", "a list of containers", containers)
        self._definitions: dict[str, Mapping[str, Value]] = {}
        for index, one in enumerate(containers):
            if not isinstance(one, Mapping) or not isinstance(one.get("Name"), str):
                raise self._task.error(f"ContainerDefinitions.{index}.Name", "a name", one)
            self._definitions[one["Name"]] = one
        self.ports = ports_of(list(self._definitions.values()), target, where)
        if target:
            # Whether that port is there at all.
            self.ports.name(target.container, target.container_port, f"{where}.PortMappings")
        self._network_mode = self._task.text("NetworkMode") or "bridge"
        self._declared_volumes = {one.text("Name"): one for one in self._task.parts("Volumes")}

    @property
    def image(self) -> str:
        """The image of the container that the load balancer asks, or else of the first one."""
        main = self._target.container if self._target else next(iter(self._definitions))
        return str(self._definitions[main].get("Image"))

    @property
    def requests_cpu(self) -> bool:
        """Whether every container asks for CPU, of which its use is then a percentage."""
        return all(int(one.get("Cpu") or 0) for one in self._definitions.values())

    @property
    def has_health_check(self) -> bool:
        """Whether an essential container has one."""
        return any(
            one.get("HealthCheck") and one.get("Essential", True) not in (False, "false")
            for one in self._definitions.values()
        )

    def write(self) -> Manifest:
        """Give the specification; where it goes is for the Deployment to add."""
        order, waits = self._order()
        inits: list[Manifest] = []
        mains: list[Manifest] = []
        stops: dict[str, int] = {}
        for name in order:
            fields = Fields(self._definitions[name], f"{self._where}.{name}")
            stop = fields.number("StopTimeout")
            stops[name] = STOP_TIMEOUT_SECONDS if stop is None else stop
            container = self._container(name, fields, waits.get(name))
            (inits if name in waits else mains).append(container)
        if not mains:
            raise self._task.error("ContainerDefinitions", "one that others do not wait for", order)
        delay = self._target.deregistration if self._target else 0
        spec: Manifest = {
            "serviceAccountName": self._service,
            "automountServiceAccountToken": False,
            # ECS puts no variables of other services into a container.
            "enableServiceLinks": False,
        }
        if selector := self._selector():
            spec["nodeSelector"] = selector
        spec |= self._namespaces()
        if not any(one.get("securityContext", {}).get("privileged") for one in [*inits, *mains]):
            # Docker's default profile on ECS; Kubernetes' own default is none at all. Source:
            # https://kubernetes.io/docs/tutorials/security/seccomp/ (unverified: not read again).
            spec["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
        # A sidecar is told to stop only when the others have ended.
        after = [stops[name] for name, condition in waits.items() if condition in RUNNING]
        main_stops = [seconds for name, seconds in stops.items() if name not in waits]
        spec["terminationGracePeriodSeconds"] = delay + max(main_stops) + sum(after)
        self._graceful(mains, delay)
        if inits:
            spec["initContainers"] = inits
        spec["containers"] = mains
        self._limit(spec, mains, inits)
        if self._volumes:
            spec["volumes"] = list(self._volumes.values())
        self._rest()
        return spec

    def _order(self) -> tuple[list[str], dict[str, str]]:
        """Give the order of starting, and for what others wait for the condition that they name."""
        waits: dict[str, str] = {}
        before: dict[str, list[str]] = {name: [] for name in self._definitions}
        for name, definition in self._definitions.items():
            for dependency in Fields(definition, f"{self._where}.{name}").parts("DependsOn"):
                other, condition = dependency.text("ContainerName"), dependency.text("Condition")
                if other not in self._definitions:
                    raise dependency.error("ContainerName", "a container of the task", other)
                if condition not in ENDED | RUNNING:
                    raise dependency.error(
                        "Condition", "START, HEALTHY, COMPLETE or SUCCESS", condition
                    )
                before[name].append(other)
                if waits.get(other) not in ENDED:
                    waits[other] = condition
        try:
            order = list(TopologicalSorter(before).static_order())
        except CycleError as error:
            raise self._task.error(
                "ContainerDefinitions", "an order of starting", " -> ".join(error.args[1])
            ) from error
        return order, waits

    def _container(self, name: str, fields: Fields, waited: str | None) -> Manifest:
        fields.any("Name")
        fields.any("DependsOn")
        image = fields.text("Image")
        if not image:
            raise fields.error("Image", "an image's name", image)
        container: Manifest = {
            "name": names.label(name, f"{fields.where}.Name"),
            "image": names.local_image(image, f"{fields.where}.Image"),
            # A tag is immutable in the repositories, and what is there is not pulled again.
            "imagePullPolicy": "IfNotPresent",
        }
        if container["image"] != image:
            self._notes.differs(
                f"{name}.Image",
                f"{container['image']} is its name where it is built; a cluster needs it in a "
                f"registry, like {image}",
                f"{CONCEPTS}/containers/images/",
            )
        linux = fields.part("LinuxParameters")
        container |= self._process(fields)
        container |= self._ports(name, fields)
        container |= self._environment(name, fields)
        container |= self._resources(name, fields)
        container |= self._security(name, fields, linux)
        if waited in RUNNING:
            container["restartPolicy"] = "Always"
        container |= self._health(name, fields, waited)
        container |= self._mounts(name, fields, linux)
        self._essential(name, fields, waited)
        for key, value in linux.left():
            says = _LINUX_NONE.get(key, f"not translated: {value!r}")
            self._notes.none(f"{name}.LinuxParameters.{key}", says)
        for key, value in fields.left():
            says = _CONTAINER_NONE.get(key, f"not translated: {value!r}")
            self._notes.none(f"{name}.{key}", says)
        return container

    def _process(self, fields: Fields) -> Manifest:
        found: Manifest = {}
        if entry_point := fields.texts("EntryPoint"):
            found["command"] = [escaped(word) for word in entry_point]
        if command := fields.texts("Command"):
            found["args"] = [escaped(word) for word in command]
        if directory := fields.text("WorkingDirectory"):
            found["workingDir"] = directory
        if fields.flag("Interactive"):
            found["stdin"] = True
        if fields.flag("PseudoTerminal"):
            found["tty"] = True
        return found

    def _ports(self, name: str, fields: Fields) -> Manifest:
        found = []
        for mapping in fields.parts("PortMappings"):
            number = mapping.number("ContainerPort", low=1)
            if number is None:
                self._notes.none(
                    f"{name}.PortMappings", "not translated: a range; a Pod names each port"
                )
                continue
            protocol = (mapping.text("Protocol") or "tcp").upper()
            port: Manifest = {
                "name": self.ports.by_number[name, number, protocol],
                "containerPort": number,
                "protocol": protocol,
            }
            host = mapping.number("HostPort")
            if host and self._network_mode != "awsvpc":
                port["hostPort"] = host
            found.append(port)
            if mapping.text("AppProtocol") in {"http2", "grpc"}:
                self._notes.none(
                    f"{name}.PortMappings.AppProtocol",
                    "not translated: a Service's appProtocol is a hint that few read",
                )
        return {"ports": found} if found else {}

    def _environment(self, name: str, fields: Fields) -> Manifest:
        """Give variables as they are, and secrets and what nobody knows yet by reference."""
        found: list[Manifest] = []
        for variable in fields.parts("Environment"):
            key, value = variable.text("Name") or "", variable.any("Value")
            if isinstance(value, Unresolved):
                reference = {"configMapKeyRef": {"name": self._service, "key": key}}
                found.append({"name": key, "valueFrom": reference})
                self._notes.yours(
                    f"{name}.Environment.{key}",
                    f"the ConfigMap {self._service} with the key {key}: only a deployment knows "
                    f"the value, {value}",
                )
            else:
                found.append({"name": key, "value": escaped(str(value))})
        for secret in fields.parts("Secrets"):
            key, source = secret.text("Name") or "", secret.text("ValueFrom")
            reference = {"secretKeyRef": {"name": self._service, "key": key}}
            found.append({"name": key, "valueFrom": reference})
            self._notes.yours(
                f"{name}.Secrets.{key}",
                f"the Secret {self._service} with the key {key}, its value that of {source}",
                f"{CONCEPTS}/configuration/secret/",
            )
        return {"env": found} if found else {}

    def _resources(self, name: str, fields: Fields) -> Manifest:
        """Give CPU as a request and no limit, since units are a share on EC2; memory as both.

        A request becomes the same shares again: CPU times 1,024.
        """
        requests: Manifest = {}
        limits: Manifest = {}
        if units := fields.number("Cpu"):
            requests["cpu"] = cpu(units)
        memory, reservation = fields.number("Memory"), fields.number("MemoryReservation")
        if reservation or memory:
            requests["memory"] = f"{reservation or memory}Mi"
        if memory:
            limits["memory"] = f"{memory}Mi"
        resources = {"requests": requests} if requests else {}
        if limits:
            resources["limits"] = limits
        if reservation and memory and reservation < memory:
            self._notes.differs(
                f"{name}.MemoryReservation",
                "where a node runs out of memory, a Pod above its request is evicted; ECS moves "
                "no task for it",
                PAGE_RESOURCES,
            )
        return {"resources": resources} if resources else {}

    def _security(self, name: str, fields: Fields, linux: Fields) -> Manifest:
        found: Manifest = {}
        if user := fields.text("User"):
            numbers = _NUMBERS.fullmatch(user)
            if numbers:
                found["runAsUser"] = int(numbers["user"])
                if numbers["group"]:
                    found["runAsGroup"] = int(numbers["group"])
                found["runAsNonRoot"] = int(numbers["user"]) != 0
            else:
                self._notes.none(
                    f"{name}.User", f"runAsUser is a number; {user} stays as the image has it"
                )
        if fields.flag("Privileged"):
            found["privileged"] = True
        if fields.flag("ReadonlyRootFilesystem"):
            found["readOnlyRootFilesystem"] = True
        for option in fields.texts("DockerSecurityOptions"):
            if option.removesuffix(":true") == "no-new-privileges":
                found["allowPrivilegeEscalation"] = False
            else:
                self._notes.none(
                    f"{name}.DockerSecurityOptions", f"not translated: {option} is of the node"
                )
        capabilities = linux.part("Capabilities")
        if drop := capabilities.texts("Drop"):
            found.setdefault("capabilities", {})["drop"] = drop
        if add := capabilities.texts("Add"):
            found.setdefault("capabilities", {})["add"] = add
        return {"securityContext": found} if found else {}

    def _health(self, name: str, fields: Fields, waited: str | None) -> Manifest:
        """Give the probes of a container.

        ECS's startPeriod forgives failures, and ends with the first success; what a startup probe
        does. An initial delay would leave the container unchecked for the whole period instead. So
        both are the health check's command, and the startup probe may fail for the period and then
        for as often as the health check may.
        """
        health = fields.part("HealthCheck")
        target = self._target if self._target and self._target.container == name else None
        if waited in ENDED:
            if list(health.left()):
                self._notes.none(f"{name}.HealthCheck", "an init container has no probes")
            return {}
        found: Manifest = {}
        check = self._check(health)
        if check:
            told = {key: health.counted(key, value) for key, value in HEALTH_DEFAULTS.items()}
            told = {key: value or HEALTH_DEFAULTS[key] for key, value in told.items()}
            times = {"periodSeconds": told["Interval"], "timeoutSeconds": told["Timeout"]}
            patience = math.ceil(told["StartPeriod"] / told["Interval"]) + told["Retries"]
            found["startupProbe"] = {"exec": check, **times, "failureThreshold": patience}
            found["livenessProbe"] = {"exec": check, **times, "failureThreshold": told["Retries"]}
            self._notes.differs(
                f"{name}.HealthCheck",
                "where it fails, the kubelet restarts the container in its Pod; ECS replaces the "
                "task",
                PAGE_PROBES,
            )
        if target:
            port = self.ports.name(name, target.container_port, fields.where)
            found["readinessProbe"] = probe(target, port)
            self._note_target(target)
        elif check and not self._target:
            # Without a load balancer ECS takes a task as healthy by this check alone.
            # Source: minimumHealthyPercent on API_DeploymentConfiguration.html.
            found["readinessProbe"] = dict(found["livenessProbe"])
        return found

    def _check(self, health: Fields) -> Manifest | None:
        command = health.texts("Command")
        if not command or command == ["NONE"]:
            return None
        kind, *words = command
        if kind == "CMD-SHELL" and len(words) == 1:
            return {"command": ["/bin/sh", "-c", words[0]]}
        if kind == "CMD" and words:
            return {"command": words}
        raise health.error("Command", "CMD and its words, or CMD-SHELL and one line", command)

    def _note_target(self, target: Target) -> None:
        place = f"{target.resource.logical_id}"
        if target.check_protocol in {"HTTP", "HTTPS"} and target.codes != "200-399":
            self._notes.differs(
                f"{place}.Matcher",
                f"a probe takes every code from 200 to 399 as success, the load balancer "
                f"{target.codes}",
                PAGE_PROBES,
            )
        self._notes.differs(
            f"{place}.HealthCheckPath",
            "a Pod that is not ready gets no requests and stays; ECS replaces a task whose target "
            "is unhealthy",
            PAGE_PROBES,
        )

    def _mounts(self, name: str, fields: Fields, linux: Fields) -> Manifest:
        found: list[Manifest] = []
        for tmpfs in linux.parts("Tmpfs"):
            path, size = tmpfs.text("ContainerPath") or "", tmpfs.number("Size", low=1)
            volume = self._in_memory(name, path, size)
            found.append({"name": volume, "mountPath": path})
            if options := tmpfs.texts("MountOptions"):
                self._notes.none(
                    f"{name}.LinuxParameters.Tmpfs.{path}",
                    f"an emptyDir is mounted without options, these had {', '.join(options)}",
                )
        if (size := linux.number("SharedMemorySize", low=1)) is not None:
            volume = self._in_memory(name, SHARED_MEMORY, size)
            found.append({"name": volume, "mountPath": SHARED_MEMORY})
        for mount in fields.parts("MountPoints"):
            source, target = mount.text("SourceVolume"), mount.text("ContainerPath")
            if source not in self._declared_volumes:
                raise mount.error("SourceVolume", "a volume of the task", source)
            read_only = mount.flag("ReadOnly")
            named = names.label(str(source), f"{mount.where}.SourceVolume")
            if self._declare(str(source), named):
                found.append({"name": named, "mountPath": target})
                if read_only:
                    found[-1]["readOnly"] = True
        return {"volumeMounts": found} if found else {}

    def _in_memory(self, container: str, path: str, size: int | None) -> str:
        volume = names.label(
            f"{container}-{path.strip('/').replace('/', '-').replace('.', '-')}",
            f"{self._where}.{container}.LinuxParameters.Tmpfs.ContainerPath",
        )
        directory: Manifest = {"medium": "Memory"}
        if size is not None:
            directory["sizeLimit"] = f"{size}Mi"
        self._volumes[volume] = {"name": volume, "emptyDir": directory}
        return volume

    def _declare(self, source: str, volume: str) -> bool:
        """Take a volume of the task into the Pod; say whether there is a counterpart."""
        if volume in self._volumes:
            return True
        fields = self._declared_volumes[source]
        path = fields.part("Host").text("SourcePath")
        docker = fields.part("DockerVolumeConfiguration")
        scope = docker.text("Scope") or "task"
        beyond = [key for key, _ in fields.left()]
        if beyond or scope != "task":
            self._notes.none(
                f"Volumes.{source}",
                f"not translated: {', '.join(beyond) or 'a shared volume'}; a "
                "PersistentVolumeClaim and its driver would be it, and the mount is left out",
                f"{CONCEPTS}/storage/persistent-volumes/",
            )
            return False
        self._volumes[volume] = {"name": volume, "emptyDir": {}}
        if path:
            self._volumes[volume] = {"name": volume, "hostPath": {"path": path}}
        return True

    def _essential(self, name: str, fields: Fields, waited: str | None) -> None:
        if waited in ENDED:
            fields.any("Essential")
            self._notes.differs(
                f"{name}.DependsOn",
                "an init container must end with 0 before the Pod goes on, and is run again until "
                "it does",
                f"{CONCEPTS}/workloads/pods/init-containers/",
            )
        elif fields.flag("Essential", default=True):
            self._notes.differs(
                f"{name}.Essential",
                "a container that ends is started again in its Pod; an ECS task ends with its "
                "essential container and is replaced",
                PAGE_LIFECYCLE,
            )
        else:
            self._notes.differs(
                f"{name}.Essential",
                "a Deployment's Pods start every container again that ends; ECS leaves one that is "
                "not essential stopped",
                PAGE_LIFECYCLE,
            )

    def _graceful(self, mains: list[Manifest], delay: int) -> None:
        """Let a Pod serve on while the balancer deregisters it, and stop it only then.

        ECS stops a task after its target's deregistration delay. A Pod is taken out of the Services
        and told to stop at the same time, and so its containers sleep first. The grace period
        begins before the sleep.
        """
        if not delay:
            return
        for container in mains:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": delay}}}
        self._notes.differs(
            "StopTimeout",
            f"one grace period for the Pod, in which each container first sleeps for the "
            f"deregistration delay, {delay} s; a Pod always takes that long to stop, a target "
            f"without requests under way does not",
            f"{PAGE_LIFECYCLE}#pod-termination",
        )

    def _limit(self, spec: Manifest, mains: list[Manifest], inits: list[Manifest]) -> None:
        """Give the task's own CPU and memory, which are hard limits, to the container or the Pod.

        Source: agent/api/task/task_linux.go of github.com/aws/amazon-ecs-agent,
        BuildLinuxResourceSpec, read 2026-11-25: a quota of CPU and a limit of memory.
        """
        limits: Manifest = {}
        if units := self._task.number("Cpu"):
            limits["cpu"] = cpu(units)
        if size := self._task.number("Memory"):
            limits["memory"] = f"{size}Mi"
        if not limits:
            return
        if len(mains) == 1 and not inits:
            own = mains[0].setdefault("resources", {}).setdefault("limits", {})
            # A container's own limit is never above its task's.
            mains[0]["resources"]["limits"] = limits | own
        else:
            spec["resources"] = {"limits": limits}
            self._notes.differs(
                "Memory", "limits of a whole Pod need the feature gate PodLevelResources",
                PAGE_RESOURCES,
            )  # fmt: skip

    def _selector(self) -> Manifest:
        found: Manifest = {}
        platform = self._task.part("RuntimePlatform")
        architecture = platform.text("CpuArchitecture")
        for constraint in self._task.parts("PlacementConstraints"):
            expression = constraint.text("Expression") or ""
            match = _ARCHITECTURE.fullmatch(expression.strip())
            if match:
                architecture = match["name"]
            else:
                self._notes.none(
                    "PlacementConstraints",
                    f"not translated: {expression}; label the nodes and select by that",
                    f"{CONCEPTS}/scheduling-eviction/assign-pod-node/",
                )
        if architecture:
            if architecture not in ARCHITECTURES:
                raise self._task.error(
                    "PlacementConstraints", f"one of {', '.join(ARCHITECTURES)}", architecture
                )
            found["kubernetes.io/arch"] = ARCHITECTURES[architecture]
        return found

    def _namespaces(self) -> Manifest:
        found: Manifest = {}
        if self._network_mode == "host":
            found["hostNetwork"] = True
        elif self._network_mode == "bridge":
            self._notes.differs(
                "NetworkMode",
                "each Pod has an address of its own, and its containers share localhost; no port "
                "of the node is taken",
                f"{CONCEPTS}/services-networking/",
            )
        pid, ipc = self._task.text("PidMode"), self._task.text("IpcMode")
        if pid == "host":
            found["hostPID"] = True
        elif pid == "task":
            found["shareProcessNamespace"] = True
        if ipc == "host":
            found["hostIPC"] = True
        return found

    def _rest(self) -> None:
        """Note what the task definition has beside its containers."""
        task = self._task
        for name in ("Family", "RequiresCompatibilities"):
            task.any(name)
        if role := task.any("TaskRoleArn"):
            self._notes.yours(
                "TaskRoleArn",
                f"the role of the ServiceAccount {self._service}: its annotation "
                f"eks.amazonaws.com/role-arn, or an EKS Pod Identity association, with {role} or "
                "another role that trusts EKS instead of ECS",
                f"{EKS_GUIDE}/associate-service-account-role.html",
            )
        if task.any("ExecutionRoleArn"):
            self._notes.none(
                "ExecutionRoleArn",
                "images are pulled by the node, its log agent writes the logs, and a controller "
                "fetches secrets, each with a role of its own",
                f"{ECS_GUIDE}/task_execution_IAM_role.html",
            )
        for key, value in task.left():
            self._notes.none(key, _TASK_NONE.get(key, f"not translated: {value!r}"))


def cpu(units: int) -> str:
    """Give CPU units as thousandths of a CPU: 1,024 units are one."""
    return f"{max(1, round(units * 1000 / 1024))}m"


def escaped(text: str) -> str:
    """Keep a text from being expanded: in commands and values $(NAME) is a variable.

    Source, read 2026-11-25: the descriptions of args and env in the schema.
    """
    return text.replace("$(", "$$(")
