"""Turns a synthesized task definition into the arguments with which an engine runs a container.

What the ECS agent does with a container definition was read on 2026-11-24 in
github.com/aws/amazon-ecs-agent, agent/api/task/task.go (getDockerResources, dockerHostConfig) and
agent/api/task/task_linux.go (dockerCPUShares, BuildLinuxResourceSpec): memory and CPU shares it
sets itself; the rest of Docker's host configuration (capabilities, tmpfs, init, ulimits, security
options) comes ready-made from the ECS service, whose source is closed. For that part the mapping
to `docker run` is the one of the API reference, whose fields each name their option:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinuxParameters.html
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from rehearsal.properties import Properties
from scheduler.agent_settings import AgentSettings
from templates import Unresolved, Value

# The agent's own labels, so that whoever knows them finds the containers here too.
# Source: agent/engine/docker_task_engine.go, labelPrefix and createContainer.
FAMILY_LABEL = "com.amazonaws.ecs.task-definition-family"
CONTAINER_LABEL = "com.amazonaws.ecs.container-name"

# Of one CPU.
CPU_UNITS = 1024
# Docker itself takes 0 shares for 1024. Source: task_linux.go, dockerCPUShares.
MINIMUM_CPU_SHARES = 2
# Docker's own, since 20.10. Source: the page of API_ContainerDefinition, memory.
MINIMUM_MEMORY_MIB = 6
# In seconds. Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
HEALTH_DEFAULTS = {"Interval": 30, "Timeout": 5, "Retries": 3, "StartPeriod": 0}
# No speed makes these shorter. A check is a process in the container, of 0.13 s of a core's time
# with the engine's part: run each second, those of a few containers are most of what a machine
# does. And what a container takes to start is this machine's time, not AWS's.
SHORTEST = {"Interval": 3.0, "StartPeriod": 5.0}
# What a container has without asking. Source, read 2026-11-24:
# https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
DOCKERS_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip

# Source: the page of API_ContainerDefinition, name. It names a folder here, too.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,254}")
_ECR = re.compile(r"^[^/]*\.dkr\.ecr\.[^/]+/(?P<name>.+)$")


class ContainerError(ValueError):
    """Says which container's which field cannot be run here, what it is, and what is expected."""


@dataclass(frozen=True)
class Run:
    """What `docker run` or `podman run` is told, and what of the task definition is left out.

    `options` each have their value in the same word (`--user=7`), so that no value can be read as
    an option; `command` is what follows the image. Secrets' values stand in `environment`, for the
    engine's own process, since anybody on the machine can read the arguments of a process.
    `health_interval_seconds` is None without a health check; it is for who must ask an engine that
    does not check by itself.
    """

    options: tuple[str, ...]
    image: str
    command: tuple[str, ...]
    departures: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    health_interval_seconds: float | None = None


def run(
    task_definition: Mapping[str, Value],
    container: str,
    *,
    agent: AgentSettings,
    secrets: Mapping[str, str] | None = None,
    ports: Mapping[int, int] | None = None,
    network: str | None = None,
    sharing: Collection[str] = (),
    speed: float = 1,
    played: Collection[str] = (),
) -> Run:
    """Translate one container of a task definition (resolved CloudFormation properties).

    `secrets` gives the values of its secrets by their variables; `ports` the port of this machine
    for a container's port, where it shall not be the host port or any free one; 0 is any free one.
    Every port is published on 127.0.0.1 only.

    `network` is the engine's network to start it in; `container:<id>` has it share another
    container's, which then must publish the ports of both: in the mode awsvpc, that one's
    `sharing` names the containers that will. `speed` is by how much AWS's own waits are shortened,
    among them those between health checks. `played` names the properties that whoever runs the
    container acts upon, which are then no departures.

    Raises ContainerError for what must not run on somebody's own machine (privileges, the host's
    paths, devices and namespaces), cannot, or could be read as something else by an engine. What is
    merely left out is named in `departures`.

    A container's CPU units are a share and not a quota on EC2: it may use all that its neighbours
    leave, and its units count only where they compete. A task's own, if any, are a quota.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    """
    definitions = task_definition.get("ContainerDefinitions") or []
    found = [one for one in definitions if one.get("Name") == container]
    if len(found) != 1:
        names = ", ".join(str(one.get("Name")) for one in definitions)
        raise ContainerError(f"{container}: expected one of the task's containers: {names}")
    if not NAME.fullmatch(container):
        raise ContainerError(
            f"{container}.Name: expected up to 255 letters, digits, _ and -, and no - at the "
            f"beginning, got {container!r}"
        )
    return _Translation(
        task_definition,
        found[0],
        agent,
        secrets=secrets or {},
        ports=ports or {},
        network=network,
        sharing=sharing,
        speed=speed,
        played=played,
    ).run()


def local_image(image: str) -> str:
    """Give the name under which an image of ECR stands in the engine: `<repository>:<tag>`.

    Other images keep their names.
    """
    match = _ECR.match(image)
    return match["name"] if match else image


# What a departure says for a property that the engine has no option for. Any other property that
# is not translated is reported too, with the general words.
_REASONS = {
    "Essential": "an engine knows no task; whoever runs the container acts when it stops",
    "DependsOn": "the order of starting is up to who runs the containers",
    "StartTimeout": "it bounds the wait of containers that depend on this one",
    "RestartPolicy": "it is the agent that restarts; here the container stays stopped",
    "LogConfiguration": "the log stays with the engine",
    "VersionConsistency": "it pins tags to digests in ECS's own register",
    "RepositoryCredentials": "nothing is pulled with them here",
    "ExecutionRoleArn": "no AWS account stands behind it here",
    "TaskRoleArn": "no AWS account stands behind it here",
    "PlacementConstraints": "a scheduler's matter, not a container's",
    "RequiresCompatibilities": "a scheduler's matter, not a container's",
    "RuntimePlatform": "the image is built for this machine",
    "Tags": "AWS's, not the engine's",
}
_REFUSED_HERE = "containers here run on somebody's own machine"


class _Translation:
    """Translates one container; each method gives the options of its fields."""

    def __init__(
        self,
        task_definition: Mapping[str, Value],
        definition: Mapping[str, Value],
        agent: AgentSettings,
        *,
        secrets: Mapping[str, str],
        ports: Mapping[int, int],
        network: str | None,
        sharing: Collection[str],
        speed: float,
        played: Collection[str],
    ) -> None:
        self._name: str = definition["Name"]
        self._task = _properties("TaskDefinition", task_definition)
        self._fields = _properties(self._name, definition)
        self._linux_fields = self._fields.part("LinuxParameters")
        self._others = [
            one for one in self._task.any("ContainerDefinitions") if one["Name"] != self._name
        ]
        self._agent = agent
        self._secrets = secrets
        self._ports = ports
        self._engine_network = network
        self._sharing = sharing
        self._speed = speed
        self._played = played
        self._health_interval: float | None = None
        self._environment: dict[str, str] = {}
        self._departures: list[str] = []

    def run(self) -> Run:
        fields = self._fields
        fields.any("Name")
        family = self._task.text("Family", self._name)
        image = fields.any("Image")
        if not isinstance(image, str) or not image or image.startswith("-"):
            raise fields.error("Image", "an image's name")
        local = local_image(image)
        if "${" in local:
            raise fields.error("Image", "a name that is known before a deployment")
        options = [f"--label={FAMILY_LABEL}={family}", f"--label={CONTAINER_LABEL}={self._name}"]
        if local != image:
            options.append("--pull=never")
            self._departs(f"{self._name}.Image", f"built here as {local}, not pulled from ECR")
        translations: tuple[Callable[[], list[str]], ...] = (
            self._process, self._privileges, self._resources, self._linux, self._network,
            self._variables, self._health, self._mounts,
        )  # fmt: skip
        for translate in translations:
            options += translate()
        entry_point, command = fields.texts("EntryPoint", ()), fields.texts("Command", ())
        if entry_point:
            options.append(f"--entrypoint={_word(fields, 'EntryPoint', entry_point[0])}")
        self._report(fields)
        self._report(self._task)
        if self._agent.container_metadata and "ECS_ENABLE_CONTAINER_METADATA" not in self._played:
            self._departs("ECS_ENABLE_CONTAINER_METADATA", "there is no agent to write the file")
        return Run(
            options=tuple(options),
            image=local,
            command=(*entry_point[1:], *command),
            departures=tuple(self._departures),
            environment=self._environment,
            health_interval_seconds=self._health_interval,
        )

    def _process(self) -> list[str]:
        fields = self._fields
        timeout = fields.number_or_none("StopTimeout")
        options = [
            f"--stop-timeout={self._agent.stop_timeout_seconds if timeout is None else timeout}"
        ]
        for name, option in (("User", "--user"), ("WorkingDirectory", "--workdir")):
            if name in fields:
                options.append(f"{option}={_word(fields, name)}")
        if fields.flag("Interactive", default=False):
            options.append("--interactive")
        if fields.flag("PseudoTerminal", default=False):
            options.append("--tty")
        labels = fields.part("DockerLabels").left()
        return options + [f"--label={key}={value}" for key, value in labels.items()]

    def _privileges(self) -> list[str]:
        fields = self._fields
        fields.refuse("Privileged", _REFUSED_HERE)
        for name in ("PidMode", "IpcMode"):
            mode = self._task.text(name, "none")
            if mode == "host":
                self._task.refuse(name, _REFUSED_HERE)
            if mode != "none":
                self._departs(f"TaskDefinition.{name}", "each container has its own namespace here")
        options = ["--read-only"] if fields.flag("ReadonlyRootFilesystem", default=False) else []
        for option in fields.texts("DockerSecurityOptions", ()):
            if option == "no-new-privileges":
                options.append(f"--security-opt={option}")
            else:
                self._departs(
                    f"{self._name}.DockerSecurityOptions",
                    f"{option} is of the instances' own setup",
                )
        return options

    def _resources(self) -> list[str]:
        """Translate memory, CPU, processes and ulimits; none of them is a quota of CPU."""
        fields = self._fields
        shares = max(fields.number_or_none("Cpu") or 0, MINIMUM_CPU_SHARES)
        # Said even where there is no limit, since Podman has one of its own.
        pids = self._agent.task_pids_limit
        options = [f"--cpu-shares={shares}", f"--pids-limit={-1 if pids is None else pids}"]
        if pids is not None and self._others:
            self._departs("ECS_TASK_PIDS_LIMIT", "per container here, for the whole task on ECS")
        cpus, whole = self._task_limits()
        if cpus is not None:
            options.append(f"--cpus={cpus:g}")
        memory = fields.number_or_none("Memory", MINIMUM_MEMORY_MIB)
        if whole is not None and memory is not None and memory > whole:
            raise fields.error("Memory", f"at most the task's, {whole} MiB")
        memory = whole if memory is None else memory
        swap = self._linux_fields.number_or_none("MaxSwap")
        swappiness = self._linux_fields.number_or_none("Swappiness")
        if memory is not None:
            # Without MaxSwap the instance's swap decides, and ECS's AMIs have none; an engine
            # that is told nothing would allow as much again where this machine has some.
            # Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-swap.html
            options += [f"--memory={memory}m", f"--memory-swap={memory + (swap or 0)}m"]
        if swap is not None and swappiness is not None:
            options.append(f"--memory-swappiness={swappiness}")
        reservation = fields.number_or_none("MemoryReservation", MINIMUM_MEMORY_MIB)
        if reservation is not None:
            options.append(f"--memory-reservation={reservation}m")
        for limit in fields.parts("Ulimits"):
            soft, hard = limit.number("SoftLimit", 0), limit.number("HardLimit", 0)
            options.append(f"--ulimit={_word(limit, 'Name')}={soft}:{hard}")
            self._report(limit)
        return options

    def _task_limits(self) -> tuple[float | None, int | None]:
        """Give CPUs and MiB of the task's own cgroup, a quota and a hard limit; None where none is.

        Source: task_linux.go, BuildLinuxResourceSpec, read 2026-11-25; the setting is of README.md.
        """
        units = self._task.number_or_none("Cpu", 1)
        memory = self._task.number_or_none("Memory", MINIMUM_MEMORY_MIB)
        if self._agent.settings.get("ECS_ENABLE_TASK_CPU_MEM_LIMIT", "true").lower() == "false":
            return None, None
        for name, value in (("Cpu", units), ("Memory", memory)):
            if value is not None and self._others:
                self._departs(
                    f"TaskDefinition.{name}", "for each container here, for the whole task on ECS"
                )
        return None if units is None else units / CPU_UNITS, memory

    def _linux(self) -> list[str]:
        linux = self._linux_fields
        linux.refuse("Devices", _REFUSED_HERE)
        capabilities = linux.part("Capabilities")
        options = [f"--cap-drop={name}" for name in capabilities.texts("Drop", ())]
        added = capabilities.texts("Add", ())
        if not DOCKERS_CAPABILITIES.issuperset(added):
            raise capabilities.error("Add", f"none but {', '.join(sorted(DOCKERS_CAPABILITIES))}")
        options += [f"--cap-add={name}" for name in added]
        if linux.flag("InitProcessEnabled", default=False):
            options.append("--init")
        if (size := linux.number_or_none("SharedMemorySize")) is not None:
            options.append(f"--shm-size={size}m")
        for tmpfs in linux.parts("Tmpfs"):
            path, size = _path(tmpfs, "ContainerPath"), tmpfs.number("Size", 1)
            # The size first: where a mount option repeats it, that one decides, as for mount(8).
            # In which order ECS itself writes them is unverified.
            mount = [f"size={size}m", *tmpfs.texts("MountOptions", ())]
            options.append(f"--tmpfs={path}:{','.join(mount)}")
            self._report(tmpfs)
        for control in self._fields.parts("SystemControls"):
            options.append(f"--sysctl={_word(control, 'Namespace')}={control.text('Value')}")
            self._report(control)
        self._report(capabilities)
        self._report(linux)
        return options

    def _network(self) -> list[str]:
        fields = self._fields
        mode = self._task.text("NetworkMode", "bridge")
        if mode == "host":
            self._task.refuse("NetworkMode", _REFUSED_HERE)
        if mode == "none" or fields.flag("DisableNetworking", default=False):
            return ["--network=none"]
        if mode == "awsvpc":
            self._departs("TaskDefinition.NetworkMode", "the task shares a bridge, it has no ENI")
        network = self._engine_network
        options = [f"--network={network}"] if network else []
        if network and network.startswith("container:"):
            # What the other container has: a port, a name or a resolver of its own is refused.
            fields.any("PortMappings")
            return options
        options += self._published(mode)
        if "Hostname" in fields:
            options.append(f"--hostname={_word(fields, 'Hostname')}")
        for name, option in (("DnsServers", "--dns"), ("DnsSearchDomains", "--dns-search")):
            options += [f"{option}={_word(fields, name, one)}" for one in fields.texts(name, ())]
        for entry in fields.parts("ExtraHosts"):
            host, address = _word(entry, "Hostname"), _word(entry, "IpAddress")
            options.append(f"--add-host={host}:{address}")
            self._report(entry)
        return options

    def _published(self, mode: str) -> list[str]:
        """Publish its ports, and in the mode awsvpc those of the containers that share them."""
        mappings = [*self._fields.parts("PortMappings")]
        for other in self._others:
            if mode == "awsvpc" and other["Name"] in self._sharing:
                mappings += _properties(other["Name"], other).parts("PortMappings")
        options = []
        for mapping in mappings:
            port = mapping.number_or_none("ContainerPort", 1)
            if port is None:
                self._report(mapping)
                continue
            protocol = mapping.text("Protocol", "tcp", of=("tcp", "udp"))
            host = mapping.number_or_none("HostPort")
            if mode == "awsvpc":
                host = 0  # there it repeats the container's, on an interface of the task's own
            here = self._ports.get(port, host) or ""
            if host and here != host:
                self._departs(f"{mapping.place}.HostPort", "another port here, of 127.0.0.1")
            options.append(f"--publish=127.0.0.1:{here}:{port}/{protocol}")
            self._report(mapping)
        return options

    def _variables(self) -> list[str]:
        fields = self._fields
        options = []
        for variable in fields.parts("Environment"):
            name, value = _variable(variable), variable.any("Value")
            if isinstance(value, Unresolved):
                self._departs(
                    f"{self._name}.Environment.{name}", f"only a deployment knows it: {value}"
                )
            options.append(f"--env={name}={value}")
            self._report(variable)
        for secret in fields.parts("Secrets"):
            name, source = _variable(secret), secret.any("ValueFrom")
            if name not in self._secrets:
                raise ContainerError(
                    f"{self._name}.Secrets.{name}: expected a value to run with in place of "
                    f"{source}, got none"
                )
            self._environment[name] = self._secrets[name]
            options.append(f"--env={name}")
            self._report(secret)
        return options

    def _health(self) -> list[str]:
        """Translate the health check; `docker run` knows only the kind with a shell.

        A command without one is quoted for the shell and takes the shell's place (exec), so that
        it sees the same arguments and counts as one process.
        """
        health = self._fields.part("HealthCheck")
        command = health.texts("Command", ())
        if not command:
            self._report(health)
            return []
        kind, *words = command
        if kind == "CMD-SHELL" and len(words) == 1:
            (line,) = words
        elif kind == "CMD" and words:
            line = f"exec {shlex.join(words)}"
            self._departs(f"{self._name}.HealthCheck.Command", "started by the image's shell")
        else:
            raise health.error("Command", "CMD and its words, or CMD-SHELL and one line")
        told: dict[str, float] = {
            name: health.number(name, 0, default=default)
            for name, default in HEALTH_DEFAULTS.items()
        }
        if self._speed != 1:
            for name, shortest in SHORTEST.items():
                sped_up = round(told[name] / self._speed, 3)
                told[name] = max(sped_up, min(told[name], shortest))
            self._departs(
                f"{self._name}.HealthCheck",
                f"at speed {self._speed:g} checked each {told['Interval']:g} s, with a start "
                f"period of {told['StartPeriod']:g} s; its timeout and retries are the container's",
            )
        self._health_interval = told["Interval"]
        self._report(health)
        return [
            f"--health-cmd={line}",
            f"--health-interval={told['Interval']:g}s",
            f"--health-timeout={told['Timeout']:g}s",
            f"--health-retries={told['Retries']:g}",
            f"--health-start-period={told['StartPeriod']:g}s",
        ]

    def _mounts(self) -> list[str]:
        volumes = {volume.text("Name"): volume for volume in self._task.parts("Volumes")}
        self._fields.refuse("VolumesFrom", "its mounts would need the other container first")
        options = []
        for mount in self._fields.parts("MountPoints"):
            path = _path(mount, "ContainerPath")
            self._check_volume(volumes.get(mount.text("SourceVolume")), mount)
            readonly = ",readonly" if mount.flag("ReadOnly", default=False) else ""
            options.append(f"--mount=type=volume,target={path}{readonly}")
            self._report(mount)
        return options

    def _check_volume(self, volume: Properties | None, mount: Properties) -> None:
        """Accept what an engine's own nameless volume stands for; refuse everything else."""
        where, name = mount.place, mount.text("SourceVolume")
        if volume is None:
            raise mount.error("SourceVolume", "a volume of the task")
        host, docker = volume.part("Host"), volume.part("DockerVolumeConfiguration")
        if source := host.any("SourcePath"):
            raise ContainerError(
                f"{where}: refused, got the host's path {source!r}: {_REFUSED_HERE}"
            )
        if beyond := volume.left():
            raise ContainerError(
                f"{where}: expected for {name} a volume of the engine, "
                f"got {', '.join(sorted(beyond))}"
            )
        scope, driver = docker.text("Scope", "task"), docker.text("Driver", "local")
        if (scope, driver) != ("task", "local"):
            raise ContainerError(
                f"{where}: expected for {name} the scope task and the driver local, "
                f"got {scope} and {driver}"
            )
        for other in self._others:
            if any(mount.get("SourceVolume") == name for mount in other.get("MountPoints") or []):
                raise ContainerError(
                    f"{where}: expected {name} to be mounted by one container, "
                    f"got {other['Name']} too"
                )
        for key in docker.left():
            self._departs(f"Volumes.{name}.{key}", "not passed on to the engine's nameless volume")

    def _departs(self, what: str, why: str) -> None:
        self._departures.append(f"{what}: {why}")

    def _report(self, fields: Properties) -> None:
        for name, value in fields.left().items():
            if value in (None, [], {}) or name in self._played:
                continue
            why = _REASONS.get(name, "not played")
            if name == "LogConfiguration" and isinstance(value, Mapping):
                why = f"{value.get('LogDriver')} is not used here, {why}"
            self._departs(f"{fields.place}.{name}", why)


def _properties(place: str, values: Value) -> Properties:
    return Properties(place, values, raises=ContainerError)


def _word(fields: Properties, name: str, value: str | None = None) -> str:
    """Give a text, or one of a list of texts, that cannot be taken for an option or for none."""
    word = fields.text(name) if value is None else value
    if not word or word.startswith("-"):
        raise fields.error(name, "a word, and no - at its beginning")
    return word


def _variable(fields: Properties) -> str:
    """Give a variable's name; Podman would copy this machine's variables for one that ends in *."""
    name = _word(fields, "Name")
    if "=" in name or "*" in name:
        raise fields.error("Name", "a variable's name, without = and *")
    return name


def _path(fields: Properties, name: str) -> str:
    """Give a path that cannot be read as more options of a mount, which stand behind , and :."""
    path = fields.text(name)
    if not path.startswith("/") or re.search(r"[,:\"\s]", path):
        raise fields.error(name, "an absolute path without comma, colon, quote and space")
    return path
