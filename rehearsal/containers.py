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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from templates import Unresolved, Value

# The agent's own labels, so that whoever knows them finds the containers here too.
# Source: agent/engine/docker_task_engine.go, labelPrefix and createContainer.
FAMILY_LABEL = "com.amazonaws.ecs.task-definition-family"
CONTAINER_LABEL = "com.amazonaws.ecs.container-name"

# Docker itself takes 0 shares for 1024. Source: task_linux.go, dockerCPUShares.
MINIMUM_CPU_SHARES = 2
# Docker's own, since 20.10. Source: the page of API_ContainerDefinition, memory.
MINIMUM_MEMORY_MIB = 6
# Source: agent/config/config.go, defaultDockerStopTimeout, and that page.
STOP_TIMEOUT_SECONDS = 30
# Source: README.md of the agent; runc on Amazon Linux takes no more.
MAXIMUM_PIDS = 4 * 1024 * 1024
# In seconds. Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
HEALTH_DEFAULTS = {"Interval": 30, "Timeout": 5, "Retries": 3, "StartPeriod": 0}

_ECR = re.compile(r"^[^/]*\.dkr\.ecr\.[^/]+/(?P<name>.+)$")
_ECHO = re.compile(
    r"""^[ \t]*echo[ \t]+(?P<quote>["']?)(?P<name>ECS_\w+)=(?P<value>.*?)(?P=quote)"""
    r"""[ \t]*>>?[ \t]*["']?/etc/ecs/ecs\.config""",
    re.MULTILINE,
)
_HEREDOC = re.compile(
    r"""^[^\n]*/etc/ecs/ecs\.config[^\n]*?<<-?[ \t]*["']?(?P<end>\w+)["']?[ \t]*\n"""
    r"""(?P<body>.*?)^[ \t]*(?P=end)[ \t]*$"""
    r"""|^[^\n]*<<-?[ \t]*["']?(?P<end2>\w+)["']?[^\n]*/etc/ecs/ecs\.config[^\n]*\n"""
    r"""(?P<body2>.*?)^[ \t]*(?P=end2)[ \t]*$""",
    re.MULTILINE | re.DOTALL,
)
_SETTING = re.compile(r"^[ \t]*(?P<name>ECS_\w+)=(?P<value>.*?)[ \t]*$", re.MULTILINE)
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")


class ContainerError(ValueError):
    """Says which container's which field cannot be run here, what it is, and what is expected."""


@dataclass(frozen=True)
class Agent:
    """What /etc/ecs/ecs.config says on the instances; None where the agent sets no limit.

    `reserved_memory_mib` is kept from tasks, `host_ports` (first and last) are given to host port
    0: both are for who plays the instance. `settings` has everything as it was written.
    """

    task_pids_limit: int | None = None
    stop_timeout_seconds: int = STOP_TIMEOUT_SECONDS
    reserved_memory_mib: int = 0
    container_metadata: bool = False
    host_ports: tuple[int, int] | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What follows `docker run` or `podman run`, and what of the task definition it leaves out.

    Secrets' values stand in `environment`, for the engine's own process, since anybody on the
    machine can read the arguments of a process.
    """

    arguments: tuple[str, ...]
    departures: tuple[str, ...]
    image: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


def agent(user_data: str) -> Agent:
    """Read the agent's settings from a launch template's user data, decoded.

    Understood are `echo NAME=value >> /etc/ecs/ecs.config`, as the CDK writes it, and a here
    document into that file. Raises ContainerError for a value that the agent would pass over with
    a warning, since the limit meant by it would silently not be there.
    """
    written: dict[str, tuple[int, str]] = {}
    for match in _ECHO.finditer(user_data):
        written[match["name"]] = max(
            (match.start(), match["value"]), written.get(match["name"], (-1, ""))
        )
    for document in _HEREDOC.finditer(user_data):
        body = document["body"] if document["body"] is not None else document["body2"]
        for match in _SETTING.finditer(body):
            written[match["name"]] = max(
                (document.start() + match.start(), match["value"]),
                written.get(match["name"], (-1, "")),
            )
    settings = {name: value.strip("\"'") for name, (_, value) in written.items()}

    def number(name: str, low: int, high: int) -> int | None:
        value = settings.get(name)
        if value is None:
            return None
        if not value.isdecimal() or not low <= int(value) <= high:
            raise ContainerError(f"{name}: expected an integer from {low} to {high}, got {value!r}")
        return int(value)

    return Agent(
        task_pids_limit=number("ECS_TASK_PIDS_LIMIT", 1, MAXIMUM_PIDS),
        stop_timeout_seconds=_seconds(settings.get("ECS_CONTAINER_STOP_TIMEOUT")),
        reserved_memory_mib=number("ECS_RESERVED_MEMORY", 0, 1 << 32) or 0,
        container_metadata=settings.get("ECS_ENABLE_CONTAINER_METADATA", "").lower() == "true",
        host_ports=_host_ports(settings.get("ECS_DYNAMIC_HOST_PORT_RANGE")),
        settings=settings,
    )


def run(
    task_definition: Mapping[str, Value],
    container: str,
    *,
    agent: Agent,
    secrets: Mapping[str, str] | None = None,
    ports: Mapping[int, int] | None = None,
) -> Run:
    """Translate one container of a task definition (resolved CloudFormation properties).

    `secrets` gives the values of its secrets by their variables; `ports` the port of this machine
    for a container's port, where it shall not be any free one. Every port is published on
    127.0.0.1 only. Raises ContainerError for what must not run on somebody's own machine
    (privileges, the host's paths, devices and namespaces) or cannot. What is merely left out is
    named in `departures`.

    CPU units are a share and not a quota on EC2: a container may use all that its neighbours
    leave, and its units count only where they compete.
    Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
    """
    definitions = task_definition.get("ContainerDefinitions") or []
    found = [one for one in definitions if one.get("Name") == container]
    if len(found) != 1:
        names = ", ".join(str(one.get("Name")) for one in definitions)
        raise ContainerError(f"{container}: expected one of the task's containers: {names}")
    return _Translation(task_definition, found[0], agent, secrets or {}, ports or {}).run()


def local_image(image: str) -> str:
    """Give the name under which an image of ECR stands in the engine: `<repository>:<tag>`.

    Other images keep their names.
    """
    match = _ECR.match(image)
    return match["name"] if match else image


class _Fields:
    """The properties of one part of a definition, each to be taken once."""

    def __init__(self, value: Value, where: str) -> None:
        if not isinstance(value, Mapping):
            raise ContainerError(f"{where}: expected a mapping, got {value!r}")
        self.where = where
        self._left = dict(value)

    def error(self, name: str, expected: str, value: object) -> ContainerError:
        return ContainerError(f"{self.where}.{name}: expected {expected}, got {value!r}")

    def any(self, name: str) -> Value:
        return self._left.pop(name, None)

    def text(self, name: str) -> str | None:
        value = self.any(name)
        if value is not None and not isinstance(value, str):
            raise self.error(name, "a text", value)
        return value

    def flag(self, name: str) -> bool:
        value = self.any(name)
        # CloudFormation takes the words too.
        if value in (True, "true"):
            return True
        if value in (None, False, "false"):
            return False
        raise self.error(name, "true or false", value)

    def number(self, name: str, low: int = 0) -> int | None:
        value = self.any(name)
        if value is None:
            return None
        if isinstance(value, bool) or not str(value).isdecimal() or int(value) < low:
            raise self.error(name, f"an integer of at least {low}", value)
        return int(value)

    def texts(self, name: str) -> list[str]:
        value = self.any(name) or []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, "a list of texts", value)
        return value

    def parts(self, name: str) -> list[_Fields]:
        value = self.any(name) or []
        if not isinstance(value, list):
            raise self.error(name, "a list", value)
        return [_Fields(item, f"{self.where}.{name}.{index}") for index, item in enumerate(value)]

    def part(self, name: str) -> _Fields:
        return _Fields(self.any(name) or {}, f"{self.where}.{name}")

    def refuse(self, name: str, why: str) -> None:
        value = self.any(name)
        if value not in (None, False, "false", [], {}):
            raise ContainerError(f"{self.where}.{name}: refused, got {value!r}: {why}")

    def left(self) -> dict[str, Value]:
        return self._left


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
    "Cpu": "of the task's own cgroup, which is not made here",
    "Memory": "of the task's own cgroup, which is not made here",
    "Tags": "AWS's, not the engine's",
}
_REFUSED_HERE = "containers here run on somebody's own machine"


class _Translation:
    """Translates one container; each method gives the options of its fields."""

    def __init__(
        self,
        task_definition: Mapping[str, Value],
        definition: Mapping[str, Value],
        agent: Agent,
        secrets: Mapping[str, str],
        ports: Mapping[int, int],
    ) -> None:
        self._name: str = definition["Name"]
        self._task = _Fields(task_definition, "TaskDefinition")
        self._fields = _Fields(definition, self._name)
        self._others = [
            one for one in self._task.any("ContainerDefinitions") if one["Name"] != self._name
        ]
        self._agent = agent
        self._secrets = secrets
        self._ports = ports
        self._environment: dict[str, str] = {}
        self._departures: list[str] = []

    def run(self) -> Run:
        fields = self._fields
        fields.any("Name")
        family = self._task.text("Family") or self._name
        image = fields.text("Image")
        if not image:
            raise fields.error("Image", "an image's name", image)
        local = local_image(image)
        if "${" in local:
            raise fields.error("Image", "a name that is known before a deployment", image)
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
        entry_point, command = fields.texts("EntryPoint"), fields.texts("Command")
        if entry_point:
            options.append(f"--entrypoint={entry_point[0]}")
        self._report(fields)
        self._report(self._task)
        if self._agent.container_metadata:
            self._departs("ECS_ENABLE_CONTAINER_METADATA", "there is no agent to write the file")
        return Run(
            arguments=(*options, local, *entry_point[1:], *command),
            departures=tuple(self._departures),
            image=local,
            environment=self._environment,
        )

    def _process(self) -> list[str]:
        fields = self._fields
        timeout = fields.number("StopTimeout")
        options = [
            f"--stop-timeout={self._agent.stop_timeout_seconds if timeout is None else timeout}"
        ]
        for name, option in (("User", "--user"), ("WorkingDirectory", "--workdir")):
            if value := fields.text(name):
                options.append(f"{option}={value}")
        if fields.flag("Interactive"):
            options.append("--interactive")
        if fields.flag("PseudoTerminal"):
            options.append("--tty")
        labels = fields.part("DockerLabels").left()
        return options + [f"--label={key}={value}" for key, value in labels.items()]

    def _privileges(self) -> list[str]:
        fields = self._fields
        fields.refuse("Privileged", _REFUSED_HERE)
        for name in ("PidMode", "IpcMode"):
            mode = self._task.text(name)
            if mode == "host":
                raise ContainerError(f"{self._name}: {name}: refused, got 'host': {_REFUSED_HERE}")
            if mode not in (None, "none"):
                self._departs(f"TaskDefinition.{name}", "each container has its own namespace here")
        options = ["--read-only"] if fields.flag("ReadonlyRootFilesystem") else []
        for option in fields.texts("DockerSecurityOptions"):
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
        shares = max(fields.number("Cpu") or 0, MINIMUM_CPU_SHARES)
        # Said even where there is no limit, since Podman has one of its own.
        pids = self._agent.task_pids_limit
        options = [f"--cpu-shares={shares}", f"--pids-limit={-1 if pids is None else pids}"]
        if pids is not None and self._others:
            self._departs("ECS_TASK_PIDS_LIMIT", "per container here, for the whole task on ECS")
        memory = fields.number("Memory", low=MINIMUM_MEMORY_MIB)
        linux = fields.any("LinuxParameters") or {}
        self._linux_fields = _Fields(linux, f"{self._name}.LinuxParameters")
        swap = self._linux_fields.number("MaxSwap")
        swappiness = self._linux_fields.number("Swappiness")
        if memory is not None:
            # Without MaxSwap the instance's swap decides, and ECS's AMIs have none; an engine
            # that is told nothing would allow as much again where this machine has some.
            # Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-swap.html
            options += [f"--memory={memory}m", f"--memory-swap={memory + (swap or 0)}m"]
        if swap is not None and swappiness is not None:
            options.append(f"--memory-swappiness={swappiness}")
        if (reservation := fields.number("MemoryReservation", low=MINIMUM_MEMORY_MIB)) is not None:
            options.append(f"--memory-reservation={reservation}m")
        for limit in fields.parts("Ulimits"):
            soft, hard = limit.number("SoftLimit"), limit.number("HardLimit")
            options.append(f"--ulimit={limit.text('Name')}={soft}:{hard}")
            self._report(limit)
        return options

    def _linux(self) -> list[str]:
        linux = self._linux_fields
        linux.refuse("Devices", _REFUSED_HERE)
        capabilities = linux.part("Capabilities")
        options = [f"--cap-drop={name}" for name in capabilities.texts("Drop")]
        options += [f"--cap-add={name}" for name in capabilities.texts("Add")]
        if linux.flag("InitProcessEnabled"):
            options.append("--init")
        if (size := linux.number("SharedMemorySize")) is not None:
            options.append(f"--shm-size={size}m")
        for tmpfs in linux.parts("Tmpfs"):
            path, size = tmpfs.text("ContainerPath"), tmpfs.number("Size", low=1)
            # The size first: where a mount option repeats it, that one decides, as for mount(8).
            # In which order ECS itself writes them is unverified.
            mount = [f"size={size}m", *tmpfs.texts("MountOptions")]
            options.append(f"--tmpfs={path}:{','.join(mount)}")
            self._report(tmpfs)
        for control in self._fields.parts("SystemControls"):
            options.append(f"--sysctl={control.text('Namespace')}={control.text('Value')}")
            self._report(control)
        self._report(capabilities)
        self._report(linux)
        return options

    def _network(self) -> list[str]:
        fields = self._fields
        mode = self._task.text("NetworkMode") or "bridge"
        if mode == "host":
            raise ContainerError(f"{self._name}: NetworkMode: refused, got 'host': {_REFUSED_HERE}")
        if mode == "none" or fields.flag("DisableNetworking"):
            return ["--network=none"]
        if mode == "awsvpc":
            self._departs("TaskDefinition.NetworkMode", "the task shares a bridge, it has no ENI")
        options = []
        for mapping in fields.parts("PortMappings"):
            port = mapping.number("ContainerPort", low=1)
            if port is None:
                self._report(mapping)
                continue
            protocol = mapping.text("Protocol") or "tcp"
            host = mapping.number("HostPort")
            if mode == "awsvpc":
                host = 0  # there it repeats the container's, on an interface of the task's own
            here = self._ports.get(port, host) or ""
            options.append(f"--publish=127.0.0.1:{here}:{port}/{protocol}")
            self._report(mapping)
        if name := fields.text("Hostname"):
            options.append(f"--hostname={name}")
        options += [f"--dns={server}" for server in fields.texts("DnsServers")]
        options += [f"--dns-search={domain}" for domain in fields.texts("DnsSearchDomains")]
        for entry in fields.parts("ExtraHosts"):
            options.append(f"--add-host={entry.text('Hostname')}:{entry.text('IpAddress')}")
            self._report(entry)
        return options

    def _variables(self) -> list[str]:
        fields = self._fields
        options = []
        for variable in fields.parts("Environment"):
            name, value = variable.text("Name"), variable.any("Value")
            if isinstance(value, Unresolved):
                self._departs(
                    f"{self._name}.Environment.{name}", f"only a deployment knows it: {value}"
                )
            options.append(f"--env={name}={value}")
            self._report(variable)
        for secret in fields.parts("Secrets"):
            name, source = secret.text("Name") or "", secret.text("ValueFrom")
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
        command = health.texts("Command")
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
            raise health.error("Command", "CMD and its words, or CMD-SHELL and one line", command)
        numbers = {name: health.number(name) for name in HEALTH_DEFAULTS}
        told = {
            name: HEALTH_DEFAULTS[name] if value is None else value
            for name, value in numbers.items()
        }
        self._report(health)
        return [
            f"--health-cmd={line}",
            f"--health-interval={told['Interval']}s",
            f"--health-timeout={told['Timeout']}s",
            f"--health-retries={told['Retries']}",
            f"--health-start-period={told['StartPeriod']}s",
        ]

    def _mounts(self) -> list[str]:
        volumes = {volume.get("Name"): volume for volume in self._task.any("Volumes") or []}
        self._fields.refuse("VolumesFrom", "its mounts would need the other container first")
        options = []
        for mount in self._fields.parts("MountPoints"):
            name, path = mount.text("SourceVolume") or "", mount.text("ContainerPath")
            if name not in volumes:
                raise mount.error("SourceVolume", "a volume of the task", name)
            self._check_volume(volumes[name], mount.where)
            readonly = ",readonly" if mount.flag("ReadOnly") else ""
            options.append(f"--mount=type=volume,target={path}{readonly}")
            self._report(mount)
        return options

    def _check_volume(self, volume: Mapping[str, Value], where: str) -> None:
        """Accept what an engine's own nameless volume stands for; refuse everything else."""
        name = volume["Name"]
        source = (volume.get("Host") or {}).get("SourcePath")
        docker = volume.get("DockerVolumeConfiguration") or {}
        beyond = set(volume) - {"Name", "Host", "DockerVolumeConfiguration"}
        if source:
            raise ContainerError(
                f"{where}: refused, got the host's path {source!r}: {_REFUSED_HERE}"
            )
        if beyond:
            raise ContainerError(
                f"{where}: expected for {name} a volume of the engine, "
                f"got {', '.join(sorted(beyond))}"
            )
        if docker.get("Scope", "task") != "task" or docker.get("Driver", "local") != "local":
            raise ContainerError(
                f"{where}: expected for {name} the scope task and the driver local, got {docker!r}"
            )
        for other in self._others:
            if any(mount.get("SourceVolume") == name for mount in other.get("MountPoints") or []):
                raise ContainerError(
                    f"{where}: expected {name} to be mounted by one container, "
                    f"got {other['Name']} too"
                )
        for key in set(docker) - {"Scope", "Driver"}:
            self._departs(f"Volumes.{name}.{key}", "not passed on to the engine's nameless volume")

    def _departs(self, what: str, why: str) -> None:
        self._departures.append(f"{what}: {why}")

    def _report(self, fields: _Fields) -> None:
        for name, value in fields.left().items():
            if value in (None, [], {}):
                continue
            why = _REASONS.get(name, "not played")
            if name == "LogConfiguration":
                why = f"{value.get('LogDriver')} is not used here, {why}"
            self._departs(f"{fields.where}.{name}", why)


def _seconds(text: str | None) -> int:
    """Read a duration of Go's, like 1m30s, as the agent does; whole seconds, one at least."""
    if text is None:
        return STOP_TIMEOUT_SECONDS
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ContainerError(
            f"ECS_CONTAINER_STOP_TIMEOUT: expected a duration like 30s or 1m30s, got {text!r}"
        )
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return max(1, int(hours * 3600 + minutes * 60 + seconds))


def _host_ports(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535):
        raise ContainerError(
            f"ECS_DYNAMIC_HOST_PORT_RANGE: expected two ports like 20000-20255, got {text!r}"
        )
    return int(first), int(last)
