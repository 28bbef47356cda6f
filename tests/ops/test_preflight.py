"""What a command refuses before it changes anything: each reason seen, and all at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)

from ops.aws import Aws
from ops.destroy import empty_group, stop_services
from ops.engine import Engine
from ops.environment import Failed
from ops.preflight import BOOTSTRAP_PARAMETER, Cleared, clear_deploy, clear_destroy
from tests.conftest import Values
from tests.ops.world import FakeClock, World

ACCOUNT = "123456789012"
# What `docker info` and `docker buildx inspect` say, as a script that the tests put on PATH.
DOCKER = """#!/bin/sh
echo "$0 $*" >> "$(dirname "$0")/asked"
case "$*" in
  "info --format {{{{.Architecture}}}}") {docker} ;;
  "info --format {{{{.Host.Arch}}}}") {podman} ;;
  "buildx inspect --bootstrap") {buildx} ;;
  "buildx version") {plugin} ;;
  "--version") echo "Docker version {version}, build 0a1b2c3" ;;
  *) exit 125 ;;
esac
"""
QEMU = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: {flags}\noffset 0\n"

MakeEngine = Callable[..., Engine]


@pytest.fixture
def project(tmp_path: Path, values: Values) -> Path:
    """A project whose settings may be deployed, with the CLI installed."""
    values["sandbox"]["alerts"]["email"] = "me@harbour.test"
    (tmp_path / "node_modules" / ".bin").mkdir(parents=True)
    (tmp_path / "node_modules" / ".bin" / "cdk").touch()
    write(tmp_path, values)
    return tmp_path


@pytest.fixture
def make_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
    """Put a container engine on PATH: a real program, with the answers it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    binfmt = tmp_path / "binfmt_misc"
    binfmt.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(
        name: str = "docker",
        *,
        docker: str = "echo x86_64",
        podman: str = "exit 125",
        buildx: str = "exit 1",
        plugin: str = "echo v0.17",
        version: str = "28.2.2",
        emulator: str | None = None,
    ) -> Engine:
        script = folder / name
        script.write_text(
            DOCKER.format(
                docker=docker, podman=podman, buildx=buildx, plugin=plugin, version=version
            )
        )
        script.chmod(0o755)
        if emulator is not None:
            (binfmt / "qemu-aarch64").write_text(QEMU.format(flags=emulator))
        return Engine(name, binfmt)

    return make


def write(project: Path, values: Values) -> None:
    (project / "cdk.json").write_text(json.dumps({"context": {"environments": values}}))


def bootstrap(world: World) -> None:
    ssm = world.session.client("ssm")
    ssm.put_parameter(Name=BOOTSTRAP_PARAMETER, Value="33", Type="String")


def refused(clear: Callable[[], Cleared]) -> list[str]:
    with pytest.raises(Failed) as caught:
        clear()
    return list(caught.value.lines)


def deploying(
    world: World, project: Path, engine: Engine, name: str = "sandbox"
) -> Callable[[], Cleared]:
    return lambda: clear_deploy(name, connect=lambda _: world.aws, engine=engine, project=project)


def destroying(world: World, project: Path, name: str = "sandbox") -> Callable[[], Cleared]:
    return lambda: clear_destroy(name, connect=lambda _: world.aws, project=project)


def failing(error: Exception) -> Callable[[str | None], Aws]:
    def connect(_: str | None) -> Aws:
        raise error

    return connect


def test_what_is_in_order_is_cleared(world: World, project: Path, make_engine: MakeEngine) -> None:
    bootstrap(world)
    cleared = deploying(world, project, make_engine())()
    assert (cleared.environment.name, cleared.account) == ("sandbox", ACCOUNT)


def test_a_preflight_changes_nothing(world: World, project: Path, make_engine: MakeEngine) -> None:
    bootstrap(world)
    world.make_environment()
    deploying(world, project, make_engine())()
    destroying(world, project)()
    assert all(call.startswith(("Describe", "List", "Get")) for call in world.calls)


def test_an_unknown_environment_is_refused_with_the_known_ones(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    expected = "'staging': no such environment; expected one of sandbox, production"
    assert refused(deploying(world, project, make_engine(), "staging")) == [expected]
    assert refused(destroying(world, project, "staging")) == [expected]


def test_faulty_settings_are_refused_all_at_once(
    world: World, project: Path, values: Values, make_engine: MakeEngine
) -> None:
    values["sandbox"]["region"] = "here"
    values["sandbox"]["network"]["availability_zones"] = "all"
    write(project, values)
    lines = refused(deploying(world, project, make_engine()))
    assert len(lines) == 2
    assert all(line.endswith("mend it in cdk.json or cdk.local.json") for line in lines)
    assert [line.split(":")[0] for line in lines] == [
        "sandbox.region",
        "sandbox.network.availability_zones",
    ]


def test_placeholders_are_refused(
    world: World, project: Path, values: Values, make_engine: MakeEngine
) -> None:
    bootstrap(world)
    values["sandbox"]["alerts"]["email"] = "you@example.com"
    write(project, values)
    (line,) = refused(deploying(world, project, make_engine()))
    assert line.startswith("sandbox.alerts.email: expected your own address")


def test_values_of_ones_own_count(
    world: World, project: Path, values: Values, make_engine: MakeEngine
) -> None:
    bootstrap(world)
    values["sandbox"]["alerts"]["email"] = "you@example.com"
    write(project, values)
    own = {"sandbox": {"alerts": {"email": "me@harbour.test"}}}
    (project / "cdk.local.json").write_text(json.dumps(own))
    assert deploying(world, project, make_engine())()


def test_a_missing_cli_is_refused(world: World, project: Path, make_engine: MakeEngine) -> None:
    bootstrap(world)
    (project / "node_modules" / ".bin" / "cdk").unlink()
    expected = ["the CDK CLI: is not installed; run: make setup"]
    assert refused(deploying(world, project, make_engine())) == expected
    assert refused(destroying(world, project)) == expected


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NoCredentialsError(), "credentials: none found; log in"),
        (ProfileNotFound(profile="mine"), "credentials: not usable (The config profile (mine)"),
        (UnauthorizedSSOTokenError(), "credentials: not usable (The SSO session associated"),
        (
            ClientError(
                {"Error": {"Code": "ExpiredToken", "Message": "it expired"}}, "GetCallerIdentity"
            ),
            "credentials: expired (ExpiredToken: it expired); log in",
        ),
        (
            ClientError(
                {"Error": {"Code": "InvalidClientTokenId", "Message": "invalid"}},
                "GetCallerIdentity",
            ),
            "credentials: refused by AWS (InvalidClientTokenId: invalid); log in",
        ),
        (
            EndpointConnectionError(endpoint_url="https://sts"),
            "AWS did not answer: Could not connect",
        ),
    ],
    ids=["none", "profile", "sso", "expired", "invalid", "offline"],
)
def test_credentials_that_cannot_be_used_are_refused(
    project: Path, make_engine: MakeEngine, error: Exception, said: str
) -> None:
    engine, connect = make_engine(), failing(error)
    (line,) = refused(
        lambda: clear_deploy("sandbox", connect=connect, engine=engine, project=project)
    )
    assert line.startswith(said)
    assert refused(lambda: clear_destroy("sandbox", connect=connect, project=project)) == [line]


def test_another_account_is_refused(
    world: World, project: Path, values: Values, make_engine: MakeEngine
) -> None:
    values["sandbox"]["account"] = "210987654321"
    write(project, values)
    (line,) = refused(deploying(world, project, make_engine()))
    assert line.startswith(
        f"sandbox.account: expected 210987654321, but the credentials are those of {ACCOUNT}"
    )
    assert refused(destroying(world, project)) == [line]


def test_an_account_without_bootstrap_is_told_the_command(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    (line,) = refused(deploying(world, project, make_engine()))
    assert line.endswith(f"run: npx cdk bootstrap aws://{ACCOUNT}/us-east-1")


def test_an_image_that_the_region_does_not_have_is_refused(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    bootstrap(world)
    world.answer("GetParameter", lambda _: None)  # moto has no such image
    (line,) = refused(deploying(world, project, make_engine()))
    assert line.startswith("sandbox.cluster.ami: us-east-1 has no image of the name al2023-ami-")


def test_who_may_not_read_the_bootstrap_parameter_leaves_it_to_the_cli(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    def deny(_: Any) -> None:  # noqa: ANN401 - the call's parameters
        raise ClientError(
            {"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetParameter"
        )

    world.answer("GetParameter", deny)
    assert deploying(world, project, make_engine())()


def test_an_environment_whose_instances_were_taken_is_not_deployed_over(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    bootstrap(world)
    world.make_environment()
    name = world.group()["AutoScalingGroupName"]
    empty_group(world.aws.autoscaling, group=name, clock=FakeClock(), say=world.say)
    (line,) = refused(deploying(world, project, make_engine()))
    assert line.endswith("first finish with: make destroy ENV=sandbox")


def test_an_environment_whose_tasks_were_stopped_is_not_deployed_over(
    world: World, project: Path, make_engine: MakeEngine
) -> None:
    bootstrap(world)
    world.make_environment()
    stop_services(
        world.aws.ecs,
        world.aws.scalable_targets,
        services=[world.service],
        clock=FakeClock(),
        say=world.say,
    )
    (line,) = refused(deploying(world, project, make_engine()))
    assert "half destroyed" in line


@pytest.mark.parametrize(
    ("answers", "command"),
    [
        ({"docker": "exit 1"}, "docker"),
        ({"docker": "echo"}, "docker"),  # what a client without a server prints
        ({"docker": "exit 125"}, "podman"),
    ],
)
def test_an_engine_that_does_not_answer_is_refused(
    world: World, project: Path, make_engine: MakeEngine, answers: dict[str, str], command: str
) -> None:
    bootstrap(world)
    (line,) = refused(deploying(world, project, make_engine(command, **answers)))
    assert line.startswith(f"container engine: {command} does not answer")


def test_an_engine_that_does_not_exist_is_refused(world: World, project: Path) -> None:
    bootstrap(world)
    engine = Engine.of({"CDK_DOCKER": "no-such-engine"})
    (line,) = refused(deploying(world, project, engine))
    assert line.startswith("container engine: no-such-engine does not answer")


def test_a_docker_that_has_lost_its_builder_is_refused(make_engine: MakeEngine) -> None:
    (line,) = make_engine(plugin="exit 1").faults("sandbox", "x86_64")
    assert line.startswith("container engine: docker has no BuildKit")
    assert make_engine(plugin="exit 1", version="20.10.24").faults("sandbox", "x86_64") == []


def test_cdk_docker_names_the_engine() -> None:
    assert Engine.of({}).command == "docker"
    assert Engine.of({"CDK_DOCKER": ""}).command == "docker"
    assert Engine.of({"CDK_DOCKER": "podman"}).command == "podman"


def test_podman_is_asked_in_its_own_words(make_engine: MakeEngine) -> None:
    engine = make_engine("podman", docker="echo no such field; exit 125", podman="echo amd64")
    assert engine.faults("sandbox", "x86_64") == []
    (line,) = engine.faults("sandbox", "arm64")
    assert line.startswith("sandbox.cluster.architecture: podman here is amd64 and cannot build")


@pytest.mark.parametrize("said", ["aarch64", "arm64"])
def test_an_architecture_that_is_not_the_engines_is_refused(
    world: World, project: Path, make_engine: MakeEngine, said: str
) -> None:
    bootstrap(world)
    (line,) = refused(deploying(world, project, make_engine(docker=f"echo {said}")))
    assert line.startswith(f"sandbox.cluster.architecture: docker here is {said} and cannot build")
    assert "--install amd64" in line
    assert "set it to arm64" in line


def test_a_builder_that_emulates_is_accepted(make_engine: MakeEngine) -> None:
    platforms = "echo 'Platforms: linux/amd64, linux/amd64/v2, linux/arm64*, linux/386'"
    assert make_engine(buildx=platforms).faults("sandbox", "arm64") == []
    platforms = "echo 'Platforms: linux/amd64, linux/amd64/v2'"
    assert make_engine(buildx=platforms).faults("sandbox", "arm64") != []


def test_a_kernel_that_emulates_is_accepted(make_engine: MakeEngine) -> None:
    assert make_engine(emulator="OCF").faults("sandbox", "arm64") == []


def test_an_emulator_that_containers_cannot_see_is_refused(make_engine: MakeEngine) -> None:
    assert make_engine(emulator="OC").faults("sandbox", "arm64") != []


def test_all_reasons_are_said_at_once(project: Path, values: Values) -> None:
    values["sandbox"]["alerts"]["email"] = "you@example.com"
    write(project, values)
    (project / "node_modules" / ".bin" / "cdk").unlink()
    connect = failing(NoCredentialsError())
    engine = Engine("no-such-engine")
    lines = refused(
        lambda: clear_deploy("sandbox", connect=connect, engine=engine, project=project)
    )
    assert [line.split(":")[0] for line in lines] == [
        "sandbox.alerts.email",
        "container engine",
        "the CDK CLI",
        "credentials",
    ]


def test_faulty_settings_hide_neither_engine_nor_credentials(project: Path, values: Values) -> None:
    del values["sandbox"]["region"]
    write(project, values)
    lines = refused(
        lambda: clear_deploy(
            "sandbox",
            connect=failing(NoCredentialsError()),
            engine=Engine("no-such-engine"),
            project=project,
        )
    )
    assert [line.split(":")[0] for line in lines] == [
        "sandbox.region",
        "container engine",
        "credentials",
    ]


def test_a_protected_environment_is_not_destroyed(
    world: World, project: Path, values: Values
) -> None:
    values["sandbox"]["deletion_protection"] = True
    write(project, values)
    (line,) = refused(destroying(world, project))
    assert line.startswith("sandbox.deletion_protection: is true")
    assert "set it to false, run: make deploy ENV=sandbox, then destroy" in line


def test_a_balancer_that_is_still_protected_stops_a_destroy(world: World, project: Path) -> None:
    ec2 = world.session.client("ec2")
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    balancer = {
        "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "Properties": {"Name": "b", "Subnets": subnets},
    }
    world.make_stack("Sandbox-Ingress", {"Balancer": balancer})
    assert destroying(world, project)()
    (made,) = world.aws.elbv2.describe_load_balancers()["LoadBalancers"]
    world.aws.elbv2.modify_load_balancer_attributes(
        LoadBalancerArn=made["LoadBalancerArn"],
        Attributes=[{"Key": "deletion_protection.enabled", "Value": "true"}],
    )
    (line,) = refused(destroying(world, project))
    assert line.startswith("the load balancer has deletion protection")


def test_a_stack_that_the_settings_forgot_stops_a_destroy(world: World, project: Path) -> None:
    nothing = {"Nothing": {"Type": "AWS::SQS::Queue"}}
    world.make_stack("Sandbox-Jokes", nothing)
    world.make_stack("Production-Jokes", nothing, tag="production")
    (line,) = refused(destroying(world, project))
    assert line.startswith("Sandbox-Jokes: is sandbox's by its tag")
    assert "aws cloudformation delete-stack --stack-name Sandbox-Jokes" in line


def test_a_stack_that_is_being_changed_or_is_protected_stops_a_destroy(
    world: World, project: Path
) -> None:
    # Moto's stacks are never in between, and know no termination protection.
    made = {"CreationTime": datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=1), "Tags": []}
    stacks = [
        made | {"StackName": "Sandbox-Web", "StackStatus": "UPDATE_IN_PROGRESS"},
        made | {"StackName": "Sandbox-Cluster", "StackStatus": "DELETE_IN_PROGRESS"},
        made
        | {
            "StackName": "Sandbox-Network",
            "StackStatus": "CREATE_COMPLETE",
            "EnableTerminationProtection": True,
        },
    ]
    world.answer("DescribeStacks", lambda _: {"Stacks": stacks})
    world.answer("ListStackResources", lambda _: {"StackResourceSummaries": []})
    lines = refused(destroying(world, project))
    assert [line.split(":")[0] for line in lines] == ["Sandbox-Web", "Sandbox-Network"]
