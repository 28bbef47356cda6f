"""What ClusterStack promises."""

from __future__ import annotations

import json
import types
from typing import Any

import boto3
import pytest
from moto import mock_aws

from stacks.constructs.trunking_check import CODE
from tests.conftest import Assembly

ENVIRONMENTS = ("Sandbox", "Production")


def launch_template(assembly: Assembly, environment: str) -> dict[str, Any]:
    template = assembly.stack(f"{environment}/Cluster").one("AWS::EC2::LaunchTemplate")
    data: dict[str, Any] = template["LaunchTemplateData"]
    return data


def agent(assembly: Assembly, environment: str) -> dict[str, str]:
    """Give what the instances' user data writes into /etc/ecs/ecs.config."""
    parts = launch_template(assembly, environment)["UserData"]["Fn::Base64"]["Fn::Join"][1]
    text = "".join(part if isinstance(part, str) else "<ref>" for part in parts)
    lines = [line for line in text.splitlines() if line.startswith("echo ECS_")]
    assert all(line.endswith(" >> /etc/ecs/ecs.config") for line in lines)
    return dict(line.split()[1].split("=", 1) for line in lines)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_instances_refuse_imds_v1(synthesized: Assembly, environment: str) -> None:
    options = launch_template(synthesized, environment)["MetadataOptions"]
    assert options == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_disks_are_encrypted(synthesized: Assembly, environment: str) -> None:
    (device,) = launch_template(synthesized, environment)["BlockDeviceMappings"]
    assert device["Ebs"]["Encrypted"] is True
    assert device["Ebs"]["VolumeType"] == "gp3"


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ("Sandbox", "amazon-linux-2023/al2023-ami-ecs-hvm-2023.0.20261113-kernel-6.1-x86_64"),
        (
            "Production",
            "amazon-linux-2023/arm64/al2023-ami-ecs-hvm-2023.0.20261113-kernel-6.1-arm64",
        ),
    ],
)
def test_the_image_is_pinned_by_its_name(
    synthesized: Assembly, environment: str, path: str
) -> None:
    parameters = synthesized.stack(f"{environment}/Cluster").body["Parameters"]
    images = [one for one in parameters.values() if "Image::Id" in one["Type"]]
    assert [one["Default"] for one in images] == [f"/aws/service/ecs/optimized-ami/{path}/image_id"]
    assert "recommended" not in json.dumps(parameters)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_launch_configuration_and_no_key_pair(synthesized: Assembly, environment: str) -> None:
    stack = synthesized.stack(f"{environment}/Cluster")
    assert not stack.resources("AWS::AutoScaling::LaunchConfiguration")
    assert "KeyName" not in launch_template(synthesized, environment)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nothing_reaches_an_instance_but_the_balancer(
    synthesized: Assembly, environment: str
) -> None:
    group = synthesized.stack(f"{environment}/Cluster").one("AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in group


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_agent_is_told_its_limits(synthesized: Assembly, environment: str) -> None:
    told = agent(synthesized, environment)
    assert told["ECS_CLUSTER"] == "<ref>"
    assert told["ECS_DYNAMIC_HOST_PORT_RANGE"] == "20000-20255"
    for switch in (
        "ECS_AWSVPC_BLOCK_IMDS",
        "ECS_DISABLE_PRIVILEGED",
        "ECS_ENABLE_CONTAINER_METADATA",
        "ECS_ENABLE_SPOT_INSTANCE_DRAINING",
    ):
        assert told[switch] == "true"
    assert told["ECS_IMAGE_PULL_BEHAVIOR"] == "once"
    assert int(told["ECS_TASK_PIDS_LIMIT"]) > 0
    assert int(told["ECS_RESERVED_MEMORY"]) > 0


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_new_instances_start_before_old_ones_end(synthesized: Assembly, environment: str) -> None:
    ((_, group),) = (
        synthesized.stack(f"{environment}/Cluster")
        .resources("AWS::AutoScaling::AutoScalingGroup")
        .items()
    )
    refresh = group["UpdatePolicy"]["AutoScalingInstanceRefresh"]
    assert refresh["Strategy"] == "Rolling"
    assert refresh["Preferences"]["MinHealthyPercentage"] == 100
    assert refresh["Preferences"]["MaxHealthyPercentage"] == 200
    assert refresh["Preferences"]["ScaleInProtectedInstances"] == "Refresh"
    assert "AutoScalingReplacingUpdate" not in group["UpdatePolicy"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_deploy_never_undoes_scaling(synthesized: Assembly, environment: str) -> None:
    group = synthesized.stack(f"{environment}/Cluster").one("AWS::AutoScaling::AutoScalingGroup")
    assert "DesiredCapacity" not in group


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_ill_or_old_instance_ends_after_its_successor_started(
    synthesized: Assembly, environment: str
) -> None:
    group = synthesized.stack(f"{environment}/Cluster").one("AWS::AutoScaling::AutoScalingGroup")
    policy = group["InstanceMaintenancePolicy"]
    assert policy == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 200}


@pytest.mark.parametrize(
    ("environment", "protection", "lifetime"),
    [("Sandbox", "DISABLED", 30), ("Production", "ENABLED", 14)],
)
def test_managed_scaling_draining_and_protection_are_explicit(
    synthesized: Assembly, environment: str, protection: str, lifetime: int
) -> None:
    stack = synthesized.stack(f"{environment}/Cluster")
    provider = stack.one("AWS::ECS::CapacityProvider")
    assert "Name" not in provider, "a name would make every replacement fail"
    managed = provider["AutoScalingGroupProvider"]
    assert managed["ManagedScaling"]["Status"] == "ENABLED"
    assert managed["ManagedDraining"] == "ENABLED"
    assert managed["ManagedTerminationProtection"] == protection
    group = stack.one("AWS::AutoScaling::AutoScalingGroup")
    assert group.get("NewInstancesProtectedFromScaleIn", False) is (protection == "ENABLED")
    assert group["MaxInstanceLifetime"] == lifetime * 86400
    assert not stack.resources("AWS::AutoScaling::LifecycleHook"), "ECS drains; no Lambda does"


def test_the_spot_share_is_a_setting(synthesized: Assembly, variants: Assembly) -> None:
    policies = [
        stack.one("AWS::AutoScaling::AutoScalingGroup")["MixedInstancesPolicy"]
        for stack in (synthesized.stack("Sandbox/Cluster"), variants.stack("Linear/Cluster"))
    ]
    shares = [
        one["InstancesDistribution"]["OnDemandPercentageAboveBaseCapacity"] for one in policies
    ]
    assert shares == [100, 0]
    assert policies[1]["InstancesDistribution"]["OnDemandBaseCapacity"] == 1
    assert variants.stack("Linear/Cluster").one("AWS::AutoScaling::AutoScalingGroup")[
        "CapacityRebalance"
    ]


def test_tasks_that_name_no_strategy_use_the_provider_too(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Cluster")
    association = stack.one("AWS::ECS::ClusterCapacityProviderAssociations")
    (provider,) = stack.resources("AWS::ECS::CapacityProvider")
    strategy = association["DefaultCapacityProviderStrategy"]
    assert strategy == [{"CapacityProvider": {"Ref": provider}, "Weight": 1}]


@pytest.mark.parametrize(("where", "value"), [("Sandbox", "enabled"), ("Production", "enhanced")])
def test_container_insights_is_a_setting(synthesized: Assembly, where: str, value: str) -> None:
    cluster = synthesized.stack(f"{where}/Cluster").one("AWS::ECS::Cluster")
    assert cluster["ClusterSettings"] == [{"Name": "containerInsights", "Value": value}]


def test_what_ecs_forgets_is_kept(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Cluster")
    rules = stack.all("AWS::Events::Rule")
    kinds = {
        kind
        for rule in rules
        if rule["Targets"][0]["Id"] == "Log"
        for kind in rule["EventPattern"]["detail-type"]
    }
    assert kinds == {
        "ECS Task State Change",
        "ECS Container Instance State Change",
        "ECS Container Instance Health Change",
        "ECS Deployment State Change",
        "ECS Service Action",
    }
    # Of the account's own policies a region takes ten, and so ten environments.
    assert not stack.all("AWS::Logs::ResourcePolicy")
    targets = {json.dumps(rule["Targets"][0]["Arn"]) for rule in rules}
    (written,) = [
        name
        for name, group in stack.resources("AWS::Logs::LogGroup").items()
        if "events.amazonaws.com" in json.dumps(group["Properties"].get("ResourcePolicyDocument"))
    ]
    assert any(written in target for target in targets)


def test_a_failed_deployment_and_an_ill_instance_are_told_to_the_topic(
    synthesized: Assembly,
) -> None:
    stack = synthesized.stack("Sandbox/Cluster")
    (topic,) = stack.resources("AWS::SNS::Topic")
    rules = stack.all("AWS::Events::Rule")
    told = [rule for rule in rules if rule["Targets"][0].get("Arn") == {"Ref": topic}]
    details = [rule["EventPattern"]["detail"] for rule in told]
    assert [one.get("eventName") for one in details] == [["SERVICE_DEPLOYMENT_FAILED"], None]
    assert [one.get("overallStatus") for one in details] == [None, ["IMPAIRED"]]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_alarms_may_publish_to_the_topic(synthesized: Assembly, environment: str) -> None:
    """A topic policy replaces the default one, by which the account's alarms could publish."""
    stack = synthesized.stack(f"{environment}/Cluster")
    statements = stack.one("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    allowed = [one["Principal"]["Service"] for one in statements if one["Effect"] == "Allow"]
    assert allowed == [["cloudwatch.amazonaws.com", "events.amazonaws.com"]]
    for key in stack.all("AWS::KMS::Key"):
        if "cloudwatch" in json.dumps(key):
            break
    else:
        assert environment == "Sandbox", "under a key, senders need the key too"


def test_the_budget_writes_to_the_address_of_the_settings(synthesized: Assembly) -> None:
    budget = synthesized.stack("Sandbox/Cluster").one("AWS::Budgets::Budget")
    assert budget["Budget"]["BudgetLimit"] == {"Amount": 50, "Unit": "USD"}
    addresses = {
        subscriber["Address"]
        for notification in budget["NotificationsWithSubscribers"]
        for subscriber in notification["Subscribers"]
    }
    assert addresses == {"you@example.com"}


def test_trunking_is_checked_before_the_first_instance(synthesized: Assembly) -> None:
    stack = synthesized.stack("Production/Cluster")
    (check,) = stack.resources("AWS::CloudFormation::CustomResource")
    ((_, group),) = stack.resources("AWS::AutoScaling::AutoScalingGroup").items()
    assert check in group["DependsOn"]
    sandbox = synthesized.stack("Sandbox/Cluster")
    assert not sandbox.resources("AWS::CloudFormation::CustomResource")


@pytest.mark.parametrize(
    ("value", "request_type", "status"),
    [
        ("enabled", "Create", "SUCCESS"),
        ("disabled", "Create", "FAILED"),
        ("disabled", "Update", "FAILED"),
        ("disabled", "Delete", "SUCCESS"),
    ],
)
def test_the_trunking_check_answers_by_the_accounts_setting(
    monkeypatch: pytest.MonkeyPatch, value: str, request_type: str, status: str
) -> None:
    answers: list[tuple[Any, ...]] = []
    sender = types.ModuleType("cfnresponse")
    sender.FAILED, sender.SUCCESS = "FAILED", "SUCCESS"  # type: ignore[attr-defined]
    sender.send = lambda *args, reason: answers.append((args[2], reason))  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "cfnresponse", sender)
    function: dict[str, Any] = {}
    with mock_aws():
        client = boto3.client("ecs")
        client.put_account_setting(name="awsvpcTrunking", value=value)
        exec(compile(CODE.read_text(encoding="utf-8"), str(CODE), "exec"), function)
        function["handler"]({"RequestType": request_type}, None)
    ((answered, reason),) = answers
    assert answered == status
    assert ("put-account-setting-default --name awsvpcTrunking" in str(reason)) is (
        status == "FAILED"
    )


def test_the_trunking_checks_code_fits_inline() -> None:
    assert len(CODE.read_text(encoding="utf-8")) <= 4096
