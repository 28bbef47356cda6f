"""What ServiceStack promises."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Assembly, Template

BOTH = ("Sandbox", "Production")
STRATEGIES = {
    "Bluegreen": "BLUE_GREEN",
    "Canary": "CANARY",
    "Linear": "LINEAR",
    "Prefixed": "ROLLING",
}


def container(template: Template) -> dict[str, Any]:
    (found,) = template.one("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("service", ["Web", "Quotes"])
@pytest.mark.parametrize("environment", BOTH)
def test_the_container_gets_what_it_needs_and_nothing_else(
    synthesized: Assembly, environment: str, service: str
) -> None:
    found = container(synthesized.stack(f"{environment}/{service}"))
    assert found["User"] == "10001:10001"
    assert found["ReadonlyRootFilesystem"] is True
    assert found["Privileged"] is False
    assert found["DockerSecurityOptions"] == ["no-new-privileges"]
    linux = found["LinuxParameters"]
    assert linux["Capabilities"] == {"Drop": ["ALL"]}
    assert linux["InitProcessEnabled"] is True
    (tmpfs,) = linux["Tmpfs"]
    assert tmpfs["ContainerPath"] == "/tmp"
    assert set(tmpfs["MountOptions"]) == {"noexec", "nosuid", "nodev"}


@pytest.mark.parametrize(
    ("environment", "limits"), [("Sandbox", (256, 128, 96)), ("Production", (512, 256, 192))]
)
def test_cpu_and_both_memory_limits_are_the_settings(
    synthesized: Assembly, environment: str, limits: tuple[int, ...]
) -> None:
    found = container(synthesized.stack(f"{environment}/Web"))
    assert (found["Cpu"], found["Memory"], found["MemoryReservation"]) == limits


@pytest.mark.parametrize("environment", BOTH)
def test_the_service_outlives_its_drain_and_the_balancers_idle_connections(
    synthesized: Assembly, environment: str
) -> None:
    stack = synthesized.stack(f"{environment}/Web")
    found = container(stack)
    told = {
        one["Name"]: int(one["Value"]) for one in found["Environment"] if one["Value"].isdigit()
    }
    assert told["DRAIN_SECONDS"] < found["StopTimeout"]
    balancer = synthesized.stack(f"{environment}/Ingress").one(
        "AWS::ElasticLoadBalancingV2::LoadBalancer"
    )
    attributes = {one["Key"]: one["Value"] for one in balancer["LoadBalancerAttributes"]}
    assert told["KEEP_ALIVE_SECONDS"] > int(attributes["idle_timeout.timeout_seconds"])
    target = stack.one("AWS::ElasticLoadBalancingV2::TargetGroup")
    attributes = {one["Key"]: one["Value"] for one in target["TargetGroupAttributes"]}
    assert told["DRAIN_SECONDS"] <= int(attributes["deregistration_delay.timeout_seconds"])


@pytest.mark.parametrize("environment", BOTH)
def test_logs_never_stop_the_service_and_end_with_their_retention(
    synthesized: Assembly, environment: str
) -> None:
    stack = synthesized.stack(f"{environment}/Web")
    options = container(stack)["LogConfiguration"]["Options"]
    assert options["mode"] == "non-blocking"
    (group,) = stack.resources("AWS::Logs::LogGroup")
    assert options["awslogs-group"] == {"Ref": group}
    assert stack.one("AWS::Logs::LogGroup")["RetentionInDays"] in (7, 365)


@pytest.mark.parametrize(("environment", "cpu"), [("Sandbox", "x86_64"), ("Production", "arm64")])
def test_tasks_run_where_their_image_can(synthesized: Assembly, environment: str, cpu: str) -> None:
    task = synthesized.stack(f"{environment}/Web").one("AWS::ECS::TaskDefinition")
    expression = f"attribute:ecs.cpu-architecture == {cpu}"
    assert task["PlacementConstraints"] == [{"Expression": expression, "Type": "memberOf"}]
    (asset,) = images(synthesized, environment).values()
    assert asset["source"]["platform"] == {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[cpu]


@pytest.mark.parametrize("environment", BOTH)
def test_the_task_role_can_do_nothing_and_the_execution_role_only_this_task(
    synthesized: Assembly, environment: str
) -> None:
    stack = synthesized.stack(f"{environment}/Web")
    task = stack.one("AWS::ECS::TaskDefinition")
    assert task["TaskRoleArn"] != task["ExecutionRoleArn"]
    policy = stack.one("AWS::IAM::Policy")
    execution = task["ExecutionRoleArn"]["Fn::GetAtt"][0]
    assert policy["Roles"] == [{"Ref": execution}]
    statements = policy["PolicyDocument"]["Statement"]
    anywhere = [one["Action"] for one in statements if one["Resource"] == "*"]
    assert anywhere == ["ecr:GetAuthorizationToken"]
    assert f"repository/{environment.lower()}-web" in json.dumps(statements)


def test_secrets_come_by_reference(variants: Assembly) -> None:
    stack = variants.stack("Bluegreen/Web")
    (secret,) = container(stack)["Secrets"]
    assert secret["Name"] == "QUOTES_KEY"
    assert secret["ValueFrom"].startswith("arn:aws:secretsmanager:")
    statements = [
        statement
        for policy in stack.all("AWS::IAM::Policy")
        for statement in policy["PolicyDocument"]["Statement"]
        if "secretsmanager:GetSecretValue" in statement["Action"]
    ]
    assert [one["Resource"] for one in statements] == [secret["ValueFrom"]]


@pytest.mark.parametrize("environment", BOTH)
def test_the_service_goes_through_the_capacity_provider(
    synthesized: Assembly, environment: str
) -> None:
    service = synthesized.stack(f"{environment}/Web").one("AWS::ECS::Service")
    assert "LaunchType" not in service
    assert "DesiredCount" not in service, "a deploy would undo what scaling has decided"
    (strategy,) = service["CapacityProviderStrategy"]
    assert "CapacityProvider" in strategy["CapacityProvider"]["Fn::ImportValue"]
    assert service["PlacementStrategies"] == [
        {"Field": "attribute:ecs.availability-zone", "Type": "spread"},
        {"Field": "MEMORY", "Type": "binpack"},
    ]
    assert service["AvailabilityZoneRebalancing"] == "ENABLED"


@pytest.mark.parametrize("environment", BOTH)
def test_a_bad_deployment_rolls_back_after_three_tasks_or_an_alarm(
    synthesized: Assembly, environment: str
) -> None:
    stack = synthesized.stack(f"{environment}/Web")
    deployment = stack.one("AWS::ECS::Service")["DeploymentConfiguration"]
    assert (deployment["MinimumHealthyPercent"], deployment["MaximumPercent"]) == (100, 200)
    assert deployment["DeploymentCircuitBreaker"] == {
        "Enable": True,
        "Rollback": True,
        "ThresholdConfiguration": {"Type": "COUNT", "Value": 3},
    }
    alarms = stack.resources("AWS::CloudWatch::Alarm")
    watched = {one["Ref"] for one in deployment["Alarms"]["AlarmNames"]}
    assert watched < set(alarms)
    assert deployment["Alarms"]["Enable"]
    assert deployment["Alarms"]["Rollback"]


@pytest.mark.parametrize(("variant", "strategy"), STRATEGIES.items())
def test_each_strategy_moves_traffic_its_own_way(
    variants: Assembly, variant: str, strategy: str
) -> None:
    stack = variants.stack(f"{variant}/Web")
    service = stack.one("AWS::ECS::Service")
    deployment = service["DeploymentConfiguration"]
    assert deployment["Strategy"] == strategy
    groups = stack.resources("AWS::ElasticLoadBalancingV2::TargetGroup")
    (registered,) = service["LoadBalancers"]
    (action,) = stack.one("AWS::ElasticLoadBalancingV2::ListenerRule")["Actions"]
    if strategy == "ROLLING":
        assert len(groups) == 1
        assert "AdvancedConfiguration" not in registered
        return
    assert deployment["BakeTimeInMinutes"] == 5
    assert deployment["Alarms"]["Rollback"]
    assert "DeploymentCircuitBreaker" not in deployment
    first, second = groups
    advanced = registered["AdvancedConfiguration"]
    assert registered["TargetGroupArn"] == {"Ref": first}
    assert advanced["AlternateTargetGroupArn"] == {"Ref": second}
    weights = [one["Weight"] for one in action["ForwardConfig"]["TargetGroups"]]
    assert weights == [100, 0]
    steps = {
        "CANARY": ("CanaryConfiguration", {"CanaryPercent": 10, "CanaryBakeTimeInMinutes": 5}),
        "LINEAR": ("LinearConfiguration", {"StepPercent": 10, "StepBakeTimeInMinutes": 5}),
    }
    if strategy in steps:
        name, expected = steps[strategy]
        assert deployment[name] == expected


@pytest.mark.parametrize("variant", ["Bluegreen", "Canary", "Linear"])
def test_scaling_by_requests_follows_the_traffic_to_either_group(
    variants: Assembly, variant: str
) -> None:
    stack = variants.stack(f"{variant}/Web")
    tracked = [
        one["TargetTrackingScalingPolicyConfiguration"]
        for one in stack.all("AWS::ApplicationAutoScaling::ScalingPolicy")
    ]
    (custom,) = [
        one["CustomizedMetricSpecification"]
        for one in tracked
        if "CustomizedMetricSpecification" in one
    ]
    groups = [
        metric["MetricStat"]["Metric"]["Dimensions"][0]["Value"]["Fn::GetAtt"][0]
        for metric in custom["Metrics"]
        if "MetricStat" in metric
    ]
    assert sorted(groups) == sorted(stack.resources("AWS::ElasticLoadBalancingV2::TargetGroup"))
    assert custom["Metrics"][-1]["Expression"] == "FILL(m0, 0) + FILL(m1, 0)"


@pytest.mark.parametrize("environment", BOTH)
def test_tasks_scale_by_cpu_and_by_requests(synthesized: Assembly, environment: str) -> None:
    policies = synthesized.stack(f"{environment}/Web").all(
        "AWS::ApplicationAutoScaling::ScalingPolicy"
    )
    kinds = {
        one["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]["PredefinedMetricType"]
        for one in policies
    }  # fmt: skip
    assert kinds == {"ECSServiceAverageCPUUtilization", "ALBRequestCountPerTarget"}


def test_a_sandbox_can_sleep_at_night(variants: Assembly) -> None:
    target = variants.stack("Linear/Web").one("AWS::ApplicationAutoScaling::ScalableTarget")
    actions = {one["Schedule"]: one["ScalableTargetAction"] for one in target["ScheduledActions"]}
    assert actions == {
        "cron(0 19 ? * MON-FRI *)": {"MinCapacity": 0, "MaxCapacity": 0},
        "cron(0 7 ? * MON-FRI *)": {"MinCapacity": 2, "MaxCapacity": 6},
    }
    assert {one["Timezone"] for one in target["ScheduledActions"]} == {"Europe/Berlin"}


def test_bridge_tasks_share_an_instance_on_ports_of_the_agents_choice(
    synthesized: Assembly,
) -> None:
    stack = synthesized.stack("Sandbox/Web")
    assert stack.one("AWS::ECS::TaskDefinition")["NetworkMode"] == "bridge"
    (port,) = container(stack)["PortMappings"]
    assert (port["ContainerPort"], port["HostPort"]) == (8080, 0)
    target = stack.one("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert (target["TargetType"], target["HealthCheckPort"]) == ("instance", "traffic-port")


def test_awsvpc_tasks_have_a_security_group_for_the_balancer_only(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Web")
    assert stack.one("AWS::ECS::TaskDefinition")["NetworkMode"] == "awsvpc"
    assert stack.one("AWS::ElasticLoadBalancingV2::TargetGroup")["TargetType"] == "ip"
    (own,) = stack.resources("AWS::EC2::SecurityGroup")
    (rule,) = [
        one
        for one in stack.all("AWS::EC2::SecurityGroupIngress")
        if one["GroupId"] == {"Fn::GetAtt": [own, "GroupId"]}
    ]
    assert (rule["FromPort"], rule["ToPort"]) == (8080, 8080)
    assert rule["SourceSecurityGroupId"]["Fn::ImportValue"].startswith("Production-Ingress:")
    network = stack.one("AWS::ECS::Service")["NetworkConfiguration"]["AwsvpcConfiguration"]
    assert network["AssignPublicIp"] == "DISABLED"
    assert len(network["Subnets"]) == 3


def test_exec_is_off_until_asked_for_and_then_can_write(
    synthesized: Assembly, variants: Assembly
) -> None:
    off, on = synthesized.stack("Sandbox/Web"), variants.stack("Bluegreen/Web")
    assert off.one("AWS::ECS::Service")["EnableExecuteCommand"] is False
    assert not container(off).get("MountPoints")
    assert on.one("AWS::ECS::Service")["EnableExecuteCommand"] is True
    mounts = {one["ContainerPath"]: one["ReadOnly"] for one in container(on)["MountPoints"]}
    assert mounts == dict.fromkeys(
        ("/managed-agents", "/var/lib/amazon/ssm", "/var/log/amazon/ssm"), False
    )
    assert "ssmmessages:OpenDataChannel" in json.dumps(on.all("AWS::IAM::Policy"))


def test_readiness_decides_at_the_balancer_and_liveness_in_the_container(
    synthesized: Assembly,
) -> None:
    stack = synthesized.stack("Sandbox/Web")
    target = stack.one("AWS::ElasticLoadBalancingV2::TargetGroup")
    assert target["HealthCheckPath"] == "/health/ready"
    assert container(stack)["HealthCheck"]["Command"][0] == "CMD", "no shell"
    assert stack.one("AWS::ECS::Service")["HealthCheckGracePeriodSeconds"] == 60


def test_one_microservice_more_brings_all_of_its_own_and_changes_nothing_of_the_others(
    synthesized: Assembly, added: Assembly
) -> None:
    assert set(added.stacks()) - set(synthesized.stacks()) == {"Sandbox/Monolith"}
    monolith = added.stack("Sandbox/Monolith")
    rule = monolith.one("AWS::ElasticLoadBalancingV2::ListenerRule")
    assert (rule["Priority"], rule["Conditions"][0]["PathPatternConfig"]["Values"]) == (200, ["/*"])
    assert len(monolith.resources("AWS::CloudWatch::Alarm")) == 3
    assert monolith.resources("AWS::CloudWatch::Dashboard")
    assert "ServiceConnectConfiguration" not in monolith.one("AWS::ECS::Service")
    assert "Memory" not in monolith.one("AWS::ECS::TaskDefinition")
    for stack in ("Network", "Cluster", "Ingress", "Quotes", "Web"):
        name = f"Sandbox/{stack}"
        assert added.path(name).read_bytes() == synthesized.path(name).read_bytes()
    registry = added.stack("Sandbox/Registry").resources("AWS::ECR::Repository")
    assert synthesized.stack("Sandbox/Registry").resources("AWS::ECR::Repository").items() <= (
        registry.items()
    )


def images(assembly: Assembly, environment: str) -> dict[str, Any]:
    """Give the Docker images of a service stack's asset manifest."""
    template = assembly.path(f"{environment}/Web")
    manifest = template.with_name(template.name.replace(".template.json", ".assets.json"))
    found: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["dockerImages"]
    return found


@pytest.mark.parametrize("environment", BOTH)
def test_the_cli_builds_into_our_repository_under_the_hash_of_the_source(
    synthesized: Assembly, environment: str
) -> None:
    ((tag, image),) = images(synthesized, environment).items()
    (destination,) = image["destinations"].values()
    lower = environment.lower()
    assert destination["repositoryName"] == f"{lower}-web"
    assert destination["imageTag"] == tag
    role = "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/"
    assert destination["assumeRoleArn"] == f"{role}cdk-{lower}-publisher-us-east-1"
    used = container(synthesized.stack(f"{environment}/Web"))["Image"]["Fn::Sub"]
    assert used.endswith(f"/{lower}-web:{tag}")


@pytest.mark.parametrize("environment", BOTH)
def test_the_repository_exists_before_the_image_is_pushed(
    synthesized: Assembly, environment: str
) -> None:
    """The CLI publishes an asset after the stacks that its stack depends on."""
    manifest = json.loads(
        (synthesized.directory / f"assembly-{environment}" / "manifest.json").read_text()
    )
    artifacts = manifest["artifacts"]
    (web,) = [
        one
        for one in artifacts.values()
        if one.get("displayName", "").startswith(f"{environment}/Web")
    ]
    (registry,) = [
        name
        for name, one in artifacts.items()
        if one.get("displayName", "").startswith(f"{environment}/Registry")
    ]
    assert registry in web["dependencies"]
