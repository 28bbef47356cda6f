"""Every property of a container becomes an option, is refused, or is reported by name."""

from __future__ import annotations

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal import containers
from rehearsal.containers import ContainerError, Run
from scheduler.agent_settings import AgentSettings, agent_settings
from templates import Graph, Unresolved
from tests.rehearsal.conftest import task_of

Values = dict[str, Any]
NO_LIMIT = AgentSettings()


def run(definition: Values | None = None, task: Values | None = None, **more: Any) -> Run:  # noqa: ANN401
    """Translate a container named web with these properties, of a task with those."""
    container = {"Name": "web", "Image": "an/image:1"} | (definition or {})
    body = {"Family": "family", "ContainerDefinitions": [container]} | (task or {})
    return containers.run(body, "web", **{"agent": NO_LIMIT} | more)


@pytest.mark.parametrize("environment", ["Sandbox", "Production"])
def test_the_synthesized_task_definition_is_translated_whole(
    graph: Graph, environment: str
) -> None:
    task = task_of(graph, environment)
    found = containers.run(task.definition, "web", agent=task.agent)
    container = task.container
    assert {
        "--user=10001:10001",
        "--read-only",
        "--cap-drop=ALL",
        "--init",
        "--security-opt=no-new-privileges",
        "--tmpfs=/tmp:size=64m,noexec,nosuid,nodev",
        "--ulimit=nofile=4096:4096",
        f"--cpu-shares={container['Cpu']}",
        f"--memory={container['Memory']}m",
        f"--memory-swap={container['Memory']}m",
        f"--cpus={int(task.definition['Cpu']) / 1024:g}",
        f"--memory-reservation={container['MemoryReservation']}m",
        f"--pids-limit={task.agent.task_pids_limit}",
        f"--stop-timeout={container['StopTimeout']}",
        "--publish=127.0.0.1::8080/tcp",
        "--health-cmd=exec python -m dock.probe",
        "--pull=never",
    } <= set(found.options)
    assert re.fullmatch(rf"{environment.lower()}-web:[0-9a-f]{{64}}", found.image)
    reported = {line.split(":")[0] for line in found.departures}
    expected = {
        "web.Image", "web.Essential", "web.LogConfiguration", "web.HealthCheck.Command",
        "TaskDefinition.ExecutionRoleArn", "TaskDefinition.TaskRoleArn",
        "TaskDefinition.PlacementConstraints", "TaskDefinition.RequiresCompatibilities",
        "TaskDefinition.Tags", "ECS_ENABLE_CONTAINER_METADATA",
    }  # fmt: skip
    if task.definition["NetworkMode"] == "awsvpc":
        expected |= {"TaskDefinition.NetworkMode"}
    assert reported == expected


@pytest.mark.parametrize(
    ("definition", "options"),
    [
        ({"User": "7:8"}, ["--user=7:8"]),
        ({"WorkingDirectory": "/app"}, ["--workdir=/app"]),
        ({"ReadonlyRootFilesystem": True}, ["--read-only"]),
        ({"ReadonlyRootFilesystem": "true"}, ["--read-only"]),
        ({"Interactive": True, "PseudoTerminal": True}, ["--interactive", "--tty"]),
        ({"Memory": 128}, ["--memory=128m", "--memory-swap=128m"]),
        ({"Memory": "128"}, ["--memory=128m", "--memory-swap=128m"]),
        (
            {"Memory": 128, "LinuxParameters": {"MaxSwap": 64, "Swappiness": 10}},
            ["--memory=128m", "--memory-swap=192m", "--memory-swappiness=10"],
        ),
        ({"MemoryReservation": 64}, ["--memory-reservation=64m"]),
        ({"Cpu": 256}, ["--cpu-shares=256"]),
        ({"Cpu": 0}, ["--cpu-shares=2"]),
        ({"Cpu": 1}, ["--cpu-shares=2"]),
        ({"DockerSecurityOptions": ["no-new-privileges"]}, ["--security-opt=no-new-privileges"]),
        (
            {"LinuxParameters": {"Capabilities": {"Drop": ["ALL"], "Add": ["CHOWN"]}}},
            ["--cap-drop=ALL", "--cap-add=CHOWN"],
        ),
        ({"LinuxParameters": {"InitProcessEnabled": True}}, ["--init"]),
        ({"LinuxParameters": {"SharedMemorySize": 32}}, ["--shm-size=32m"]),
        (
            {"LinuxParameters": {"Tmpfs": [{"ContainerPath": "/t", "Size": 5}]}},
            ["--tmpfs=/t:size=5m"],
        ),
        (
            {"Ulimits": [{"Name": "nofile", "SoftLimit": 5, "HardLimit": 9}]},
            ["--ulimit=nofile=5:9"],
        ),
        ({"SystemControls": [{"Namespace": "net.a", "Value": "1"}]}, ["--sysctl=net.a=1"]),
        ({"Environment": [{"Name": "A", "Value": "b c"}]}, ["--env=A=b c"]),
        ({"StopTimeout": 7}, ["--stop-timeout=7"]),
        ({"DockerLabels": {"a": "b"}}, ["--label=a=b"]),
        ({"Hostname": "h"}, ["--hostname=h"]),
        ({"DnsServers": ["10.0.0.2"]}, ["--dns=10.0.0.2"]),
        ({"DnsSearchDomains": ["a.b"]}, ["--dns-search=a.b"]),
        ({"ExtraHosts": [{"Hostname": "h", "IpAddress": "10.0.0.9"}]}, ["--add-host=h:10.0.0.9"]),
        ({"DisableNetworking": True}, ["--network=none"]),
        ({"PortMappings": [{"ContainerPort": 80}]}, ["--publish=127.0.0.1::80/tcp"]),
        ({"PortMappings": [{"ContainerPort": 80, "HostPort": 0}]}, ["--publish=127.0.0.1::80/tcp"]),
        (
            {"PortMappings": [{"ContainerPort": 53, "HostPort": 5353, "Protocol": "udp"}]},
            ["--publish=127.0.0.1:5353:53/udp"],
        ),
        (
            {"HealthCheck": {"Command": ["CMD-SHELL", "a || exit 1"]}},
            ["--health-cmd=a || exit 1", "--health-interval=30s", "--health-timeout=5s",
             "--health-retries=3", "--health-start-period=0s"],
        ),
        (
            {"HealthCheck": {"Command": ["CMD", "a", "b c"], "Interval": 10, "Timeout": 4,
                             "Retries": 2, "StartPeriod": 60}},
            ["--health-cmd=exec a 'b c'", "--health-interval=10s", "--health-timeout=4s",
             "--health-retries=2", "--health-start-period=60s"],
        ),
    ],
)  # fmt: skip
def test_a_property_becomes_its_options(definition: Values, options: list[str]) -> None:
    bare = set(run().options) - {"--cpu-shares=2", "--stop-timeout=30"}
    found = [one for one in run(definition).options if one not in bare]
    ours = [one for one in found if one.split("=")[0] in {o.split("=")[0] for o in options}]
    assert ours == options


def test_without_limits_there_are_the_agents_defaults() -> None:
    assert run().options == (
        "--label=com.amazonaws.ecs.task-definition-family=family",
        "--label=com.amazonaws.ecs.container-name=web",
        "--stop-timeout=30",
        "--cpu-shares=2",
        "--pids-limit=-1",
    )
    assert (run().image, run().command, run().departures) == ("an/image:1", (), ())


def test_the_agents_settings_reach_the_container() -> None:
    found = run(agent=AgentSettings(task_pids_limit=50, stop_timeout_seconds=9))
    assert "--pids-limit=50" in found.options
    assert "--stop-timeout=9" in found.options
    assert (
        "--stop-timeout=4"
        in run({"StopTimeout": 4}, agent=AgentSettings(stop_timeout_seconds=9)).options
    )


def test_command_and_entry_point_come_after_the_image() -> None:
    found = run({"EntryPoint": ["/enter", "-x"], "Command": ["a", "b"]})
    assert "--entrypoint=/enter" in found.options
    assert found.command == ("-x", "a", "b")


def test_a_port_is_published_where_it_is_asked_for_and_on_the_loopback_only() -> None:
    mapping = {"PortMappings": [{"ContainerPort": 8080, "HostPort": 8080}]}
    assert "--publish=127.0.0.1::8080/tcp" in run(mapping, {"NetworkMode": "awsvpc"}).options
    assert "--publish=127.0.0.1:9000:8080/tcp" in run(mapping, ports={8080: 9000}).options
    awsvpc = run(mapping, {"NetworkMode": "awsvpc"}, ports={8080: 9000})
    assert "--publish=127.0.0.1:9000:8080/tcp" in awsvpc.options


def test_a_host_port_gives_way_to_a_free_one_and_that_is_said() -> None:
    mapping = {"PortMappings": [{"ContainerPort": 8080, "HostPort": 80}]}
    found = run(mapping, ports={8080: 0})
    assert "--publish=127.0.0.1::8080/tcp" in found.options
    assert found.departures == (
        "web.PortMappings[0].HostPort: another port here, of 127.0.0.1",
    )  # fmt: skip
    assert run(mapping, ports={8080: 80}).departures == ()


def test_a_container_starts_in_the_network_that_it_is_given() -> None:
    assert "--network=of-an-instance" in run(network="of-an-instance").options
    for alone in ({"DisableNetworking": True}, {}):
        mode = {} if alone else {"NetworkMode": "none"}
        found = run(alone, mode, network="of-an-instance").options
        assert [one for one in found if one.startswith("--network")] == ["--network=none"]


def test_in_awsvpc_one_container_publishes_the_ports_of_those_that_share_its_network() -> None:
    def container(name: str, port: int) -> Values:
        return {"Name": name, "Image": "i", "PortMappings": [{"ContainerPort": port}]}

    task = {
        "NetworkMode": "awsvpc",
        "ContainerDefinitions": [container("web", 80), container("side", 81), container("own", 82)],
    }
    holder = containers.run(task, "web", agent=NO_LIMIT, network="a", sharing=("side",))
    published = [one for one in holder.options if one.startswith("--publish")]
    assert published == ["--publish=127.0.0.1::80/tcp", "--publish=127.0.0.1::81/tcp"]
    sharer = containers.run(task, "side", agent=NO_LIMIT, network="container:b")
    assert "--network=container:b" in sharer.options
    assert not [one for one in sharer.options if one.startswith("--publish")]
    assert not [one for one in sharer.departures if "PortMappings" in one]


@pytest.mark.parametrize(
    ("speed", "interval", "period"),
    [(1, "30s", "60s"), (10, "3s", "6s"), (100, "3s", "5s"), (0.5, "60s", "120s")],
)
def test_the_waits_of_a_health_check_run_at_the_rehearsals_speed(
    speed: float, interval: str, period: str
) -> None:
    check = {"Command": ["CMD-SHELL", "a"], "Interval": 30, "StartPeriod": 60, "Timeout": 7}
    found = run({"HealthCheck": check}, speed=speed)
    assert {
        f"--health-interval={interval}",
        f"--health-start-period={period}",
        "--health-timeout=7s",
        "--health-retries=3",
    } <= set(found.options)
    assert found.health_interval_seconds == float(interval.rstrip("s"))
    said = (
        f"web.HealthCheck: at speed {speed:g} checked each {interval[:-1]} s, with a start period "
        f"of {period[:-1]} s; its timeout and retries are the container's"
    )
    assert found.departures == (() if speed == 1 else (said,))


def test_a_check_that_is_more_frequent_than_the_fastest_stays_as_it_is() -> None:
    check = {"Command": ["CMD-SHELL", "a"], "Interval": 1}
    assert run({"HealthCheck": check}, speed=10).health_interval_seconds == 1
    assert run(speed=10).departures == ()
    assert run(speed=10).health_interval_seconds is None


def test_what_whoever_runs_it_plays_is_no_departure() -> None:
    definition = {"Essential": True, "StartTimeout": 3}
    assert len(run(definition).departures) == 2
    (left,) = run(definition, played={"Essential"}).departures
    assert left.startswith("web.StartTimeout: ")


def test_a_tasks_own_limits_hold_each_container() -> None:
    found = run({}, {"Cpu": "512", "Memory": "192"})
    assert {"--cpus=0.5", "--memory=192m", "--memory-swap=192m"} <= set(found.options)
    assert found.departures == ()
    found = run({"Memory": 128}, {"Cpu": "2048", "Memory": "192"})
    assert {"--cpus=2", "--memory=128m", "--memory-swap=128m"} <= set(found.options)
    with pytest.raises(ContainerError, match=r"web\.Memory: expected at most the task's, 64 MiB"):
        run({"Memory": 128}, {"Memory": "64"})
    assert not [one for one in run({"Cpu": 256}).options if one.startswith("--cpus")]


def test_of_several_containers_it_is_said_that_their_tasks_limits_hold_each_alone() -> None:
    other = {"Name": "other", "Image": "other"}
    definition = {"Cpu": "512", "Memory": "192"}
    containers_of_it = [{"Name": "web", "Image": "an/image:1"}, other]
    departures = run({}, definition | {"ContainerDefinitions": containers_of_it}).departures
    assert [line.split(":")[0] for line in departures] == [
        "TaskDefinition.Cpu",
        "TaskDefinition.Memory",
    ]


def test_an_agent_that_makes_no_cgroups_for_tasks_limits_none() -> None:
    agent = agent_settings("echo ECS_ENABLE_TASK_CPU_MEM_LIMIT=false >> /etc/ecs/ecs.config")
    found = run({}, {"Cpu": "512", "Memory": "192"}, agent=agent)
    assert not [one for one in found.options if one.startswith(("--cpus", "--memory"))]


def test_an_image_of_ecr_is_the_one_built_here() -> None:
    for registry in ("1.dkr.ecr.us-east-1.amazonaws.com", "${AWS::AccountId}.dkr.ecr.x.${Y}"):
        found = run({"Image": f"{registry}/group/web:abc"})
        assert found.image == "group/web:abc"
        assert "--pull=never" in found.options
        assert found.departures == ("web.Image: built here as group/web:abc, not pulled from ECR",)


def test_a_secrets_value_is_handed_over_but_never_written_out() -> None:
    secret = {"Secrets": [{"Name": "KEY", "ValueFrom": "arn:secret"}]}
    found = run(secret, secrets={"KEY": "hush"})
    assert "--env=KEY" in found.options
    assert found.environment == {"KEY": "hush"}
    assert "hush" not in repr(found)
    with pytest.raises(ContainerError, match=r"web\.Secrets\.KEY: expected a value to run with"):
        run(secret)


def test_a_volume_of_the_tasks_own_becomes_one_of_the_engine() -> None:
    mount = {"MountPoints": [{"SourceVolume": "data", "ContainerPath": "/data", "ReadOnly": True}]}
    volume = {"Name": "data", "DockerVolumeConfiguration": {"Driver": "local", "Scope": "task"}}
    for body in (volume, {"Name": "data"}, {"Name": "data", "Host": {}}):
        found = run(mount, {"Volumes": [body]})
        assert "--mount=type=volume,target=/data,readonly" in found.options


PRIVATE = {"MountPoints": [{"SourceVolume": "data", "ContainerPath": "/data"}]}


@pytest.mark.parametrize(
    ("definition", "task", "said"),
    [
        ({"Privileged": True}, {}, "web.Privileged: refused, got True"),
        (
            {"LinuxParameters": {"Devices": [{"HostPath": "/dev/kvm"}]}}, {},
            "web.LinuxParameters.Devices: refused, got [{'HostPath': '/dev/kvm'}]",
        ),
        ({}, {"NetworkMode": "host"}, "TaskDefinition.NetworkMode: refused, got 'host'"),
        ({}, {"PidMode": "host"}, "TaskDefinition.PidMode: refused, got 'host'"),
        ({}, {"IpcMode": "host"}, "TaskDefinition.IpcMode: refused, got 'host'"),
        (
            PRIVATE, {"Volumes": [{"Name": "data", "Host": {"SourcePath": "/etc"}}]},
            "web.MountPoints[0]: refused, got the host's path '/etc'",
        ),
        (
            PRIVATE, {"Volumes": [{"Name": "data", "EFSVolumeConfiguration": {}}]},
            "web.MountPoints[0]: expected for data a volume of the engine, "
            "got EFSVolumeConfiguration",
        ),
        (
            PRIVATE,
            {"Volumes": [{"Name": "data", "DockerVolumeConfiguration": {"Scope": "shared"}}]},
            "web.MountPoints[0]: expected for data the scope task and the driver local",
        ),
        (PRIVATE, {}, "web.MountPoints[0].SourceVolume: expected a volume of the task, got 'data'"),
        ({"VolumesFrom": [{"SourceContainer": "a"}]}, {}, "web.VolumesFrom: refused"),
        ({"Image": ""}, {}, "web.Image: expected an image's name, got ''"),
        (
            {"Image": "${Sandbox-Registry.Web.RepositoryUri}:1"}, {},
            "web.Image: expected a name that is known before a deployment",
        ),
        ({"Memory": 1}, {}, "web.Memory: expected an integer of at least 6, got 1"),
        ({"Memory": "much"}, {}, "web.Memory: expected an integer of at least 6, got 'much'"),
        ({"User": 1}, {}, "web.User: expected a text, got 1"),
        ({"Command": "a b"}, {}, "web.Command: expected a list of texts, got 'a b'"),
        (
            {"ReadonlyRootFilesystem": "yes"}, {},
            "web.ReadonlyRootFilesystem: expected true or false, got 'yes'",
        ),
        (
            {"HealthCheck": {"Command": ["curl", "x"]}}, {},
            "web.HealthCheck.Command: expected CMD and its words, or CMD-SHELL and one line, "
            "got ['curl', 'x']",
        ),
        ({"LinuxParameters": []}, {}, "web.LinuxParameters: expected a mapping, got []"),
        ({"LinuxParameters": 1}, {}, "web.LinuxParameters: expected a mapping, got 1"),
    ],
)  # fmt: skip
def test_what_must_not_or_cannot_run_here_is_refused_by_name(
    definition: Values, task: Values, said: str
) -> None:
    with pytest.raises(ContainerError) as refused:
        run(definition, task)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("name", ["SYS_ADMIN", "ALL", "NET_ADMIN", "-v", ""])
def test_no_container_gets_a_capability_that_docker_does_not_give_by_itself(name: str) -> None:
    with pytest.raises(ContainerError) as refused:
        run({"LinuxParameters": {"Capabilities": {"Drop": ["ALL"], "Add": ["CHOWN", name]}}})
    said = str(refused.value)
    assert said.startswith("web.LinuxParameters.Capabilities.Add: expected none but AUDIT_WRITE, ")
    assert said.endswith(f"got {['CHOWN', name]!r}")


OPTION = "--privileged"
WORD = "expected a word, and no - at its beginning, got"
NAMED = "expected up to 255 letters, digits, _ and -, and no - at the beginning, got"


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({"Image": OPTION}, "web.Image: expected an image's name, got '--privileged'"),
        ({"User": OPTION}, f"web.User: {WORD} '--privileged'"),
        ({"User": ""}, f"web.User: {WORD} ''"),
        ({"WorkingDirectory": "-v"}, f"web.WorkingDirectory: {WORD} '-v'"),
        ({"Hostname": "-v"}, f"web.Hostname: {WORD} '-v'"),
        ({"DnsServers": ["10.0.0.2", "-v"]}, f"web.DnsServers: {WORD} ['10.0.0.2', '-v']"),
        ({"DnsSearchDomains": [""]}, f"web.DnsSearchDomains: {WORD} ['']"),
        ({"EntryPoint": ["-v", "x"]}, f"web.EntryPoint: {WORD} ['-v', 'x']"),
        ({"EntryPoint": [""]}, f"web.EntryPoint: {WORD} ['']"),
        ({"Environment": [{"Name": "", "Value": "x"}]}, f"web.Environment[0].Name: {WORD} ''"),
        ({"Environment": [{"Value": "x"}]}, "web.Environment[0].Name: expected a text, got None"),
        (
            {"Secrets": [{"Name": "A=B", "ValueFrom": "arn"}]},
            "web.Secrets[0].Name: expected a variable's name, without = and *, got 'A=B'",
        ),
        (
            {"Secrets": [{"Name": "AWS_*", "ValueFrom": "arn"}]},
            "web.Secrets[0].Name: expected a variable's name, without = and *, got 'AWS_*'",
        ),
        (
            {"ExtraHosts": [{"Hostname": "-v", "IpAddress": "10.0.0.9"}]},
            f"web.ExtraHosts[0].Hostname: {WORD} '-v'",
        ),
        (
            {"Ulimits": [{"Name": "-v", "SoftLimit": 1, "HardLimit": 1}]},
            f"web.Ulimits[0].Name: {WORD} '-v'",
        ),
        (
            {"SystemControls": [{"Namespace": "", "Value": "1"}]},
            f"web.SystemControls[0].Namespace: {WORD} ''",
        ),
        (
            {"PortMappings": [{"ContainerPort": 1, "Protocol": "tcp -v"}]},
            "web.PortMappings[0].Protocol: expected tcp or udp, got 'tcp -v'",
        ),
        (
            {"MountPoints": [{"SourceVolume": "data", "ContainerPath": "/d,type=bind,source=/"}]},
            "web.MountPoints[0].ContainerPath: expected an absolute path without comma, colon, "
            "quote and space, got '/d,type=bind,source=/'",
        ),
        (
            {"LinuxParameters": {"Tmpfs": [{"ContainerPath": "/t:exec", "Size": 1}]}},
            "web.LinuxParameters.Tmpfs[0].ContainerPath: expected an absolute path without comma, "
            "colon, quote and space, got '/t:exec'",
        ),
    ],
)
def test_no_value_can_be_read_as_more_than_a_value(definition: Values, said: str) -> None:
    with pytest.raises(ContainerError) as refused:
        run(definition, {"Volumes": [{"Name": "data"}]}, secrets={"A=B": "", "AWS_*": ""})
    assert str(refused.value) == said


@pytest.mark.parametrize("name", ["--privileged", "../up", "a b", ""])
def test_a_containers_name_is_one_that_ecs_would_register(name: str) -> None:
    task = {"ContainerDefinitions": [{"Name": name, "Image": "i"}]}
    with pytest.raises(ContainerError) as refused:
        containers.run(task, name, agent=NO_LIMIT)
    assert str(refused.value) == f"{name}.Name: {NAMED} {name!r}"


def test_a_volume_of_two_containers_is_refused() -> None:
    other = {"Name": "side", "Image": "i", "MountPoints": PRIVATE["MountPoints"]}
    web = {"Name": "web", "Image": "i"} | PRIVATE
    task = {"ContainerDefinitions": [web, other], "Volumes": [{"Name": "data"}]}
    with pytest.raises(ContainerError, match="to be mounted by one container, got side too"):
        containers.run(task, "web", agent=NO_LIMIT)


def test_a_limit_of_a_task_with_neighbours_is_said_to_be_the_containers() -> None:
    task = {"ContainerDefinitions": [{"Name": name, "Image": "i"} for name in ("web", "side")]}
    found = containers.run(task, "web", agent=AgentSettings(task_pids_limit=9))
    assert found.departures == (
        "ECS_TASK_PIDS_LIMIT: per container here, for the whole task on ECS",
    )


def test_an_unknown_container_is_refused_with_those_that_are() -> None:
    with pytest.raises(ContainerError, match="other: expected one of the task's containers: web"):
        containers.run({"ContainerDefinitions": [{"Name": "web"}]}, "other", agent=NO_LIMIT)


def test_a_variable_that_only_a_deployment_knows_is_reported() -> None:
    found = run({"Environment": [{"Name": "TABLE", "Value": Unresolved("${Data.Table}")}]})
    assert found.departures == ("web.Environment.TABLE: only a deployment knows it: ${Data.Table}",)


def schema() -> Values:
    """CloudFormation's own list of a task definition's properties, as cfn-lint ships it."""
    schemas = Path(str(files("cfnlint"))) / "data" / "schemas"
    index = json.loads((schemas / "providers" / "us-east-1.json").read_text(encoding="utf-8"))
    name = index["AWS::ECS::TaskDefinition"]
    found: Values = json.loads((schemas / "resources" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def heard(definition: Values, task: Values, name: str) -> bool:
    """Say whether a property made a difference: to the arguments, the departures, or by refusal."""
    try:
        found = run(definition, task)
    except ContainerError as refused:
        return name in str(refused)
    changed = (found.options, found.command) != (run().options, run().command)
    return changed or any(name in one for one in found.departures)


def test_no_property_that_cloudformation_knows_is_ignored() -> None:
    """Whatever AWS adds to the schema is at least reported, without a line of ours."""
    known = schema()
    odd: dict[str, Any] = {"not": "expected"}
    for name in known["definitions"]["ContainerDefinition"]["properties"]:
        if name not in ("Name", "Image"):
            assert heard({name: odd}, {}, name), name
    for name in known["definitions"]["LinuxParameters"]["properties"]:
        assert heard({"LinuxParameters": {name: odd}}, {}, name), name
    for name in known["definitions"]["PortMapping"]["properties"]:
        mapping = {"ContainerPort": 1} | {name: odd}
        assert heard({"PortMappings": [mapping]}, {}, name), name
    for name in set(known["properties"]) - {"ContainerDefinitions", "Volumes", "Family"}:
        assert heard({}, {name: odd}, name), name


@given(
    definition=st.dictionaries(
        st.sampled_from(["Memory", "Cpu", "User", "Command", "LinuxParameters", "PortMappings",
                         "HealthCheck", "Environment", "Ulimits", "Privileged", "Novel"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["Name", "Value", "Command", "Size"]), inner),
            max_leaves=5,
        ),
    )
)  # fmt: skip
def test_whatever_stands_in_a_definition_it_is_translated_or_refused(definition: Values) -> None:
    try:
        found = run(definition)
    except ContainerError as refused:
        assert str(refused).startswith("web")  # noqa: PT017 - the other outcome is as good
        return
    # Whatever follows a bare word could be its value, or the image.
    assert all(option.startswith("--") for option in found.options)
    bare = {option for option in found.options if "=" not in option}
    assert bare <= {"--read-only", "--init", "--interactive", "--tty"} | {
        f"--env={name}" for name in found.environment
    }
    assert found.image == "an/image:1"
    if definition.get("Novel") not in (None, [], {}):
        assert "web.Novel: not played" in found.departures


@given(words=st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_the_words_of_a_health_check_survive_the_shell(words: list[str]) -> None:
    found = run({"HealthCheck": {"Command": ["CMD", *words]}})
    (line,) = (one for one in found.options if one.startswith("--health-cmd="))
    assert shlex.split(line.removeprefix("--health-cmd=")) == ["exec", *words]
