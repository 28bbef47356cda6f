"""The load balancer, CloudFormation, EC2 and Application Auto Scaling, from the same world."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rehearsal.target_groups import FAILED, HEALTHY, INITIAL, TIMED_OUT
from templates import Graph
from tests.rehearsal.acting import add_instances, until
from tests.rehearsal.api.conftest import Served

Values = dict[str, Any]


def target_health(served: Served, **asked: object) -> list[Values]:
    (group,) = served.client("elbv2").describe_target_groups()["TargetGroups"]
    found: list[Values] = served.client("elbv2").describe_target_health(
        TargetGroupArn=group["TargetGroupArn"], **asked
    )["TargetHealthDescriptions"]
    return found


def test_targets_are_told_in_the_words_of_the_balancer(still: Served) -> None:
    (first, second) = still.balancer.states
    assert [one["TargetHealth"] for one in target_health(still)] == [{"State": "healthy"}] * 2
    still.balancer.states[first] = FAILED
    still.balancer.states[second] = INITIAL
    by_id = {one["Target"]["Id"]: one["TargetHealth"] for one in target_health(still)}
    assert by_id[first[1].partition(":")[0]] == {
        "State": "unhealthy",
        "Reason": "Target.FailedHealthChecks",
        "Description": "Health checks failed",
    }
    assert by_id[second[1].partition(":")[0]] == {
        "State": "initial",
        "Reason": "Elb.InitialHealthChecking",
        "Description": "Initial health checks in progress",
    }


def test_a_target_is_an_instance_at_the_port_that_its_agent_gave_out(served: Served) -> None:
    instances = {
        one["Instances"][0]["InstanceId"]
        for one in served.client("ec2").describe_instances()["Reservations"]
    }
    found = target_health(served)
    assert {one["Target"]["Id"] for one in found} == instances
    given = {
        binding["hostPort"]
        for task in served.ecs.describe_tasks(
            cluster=served.cluster, tasks=served.tasks(serviceName=served.service)
        )["tasks"]
        for container in task["containers"]
        for binding in container["networkBindings"]
    }
    assert given <= {20000, 20001}
    assert {one["Target"]["Port"] for one in found} == given
    assert all(one["HealthCheckPort"] == str(one["Target"]["Port"]) for one in found)
    one = found[0]["Target"]["Id"]
    assert len(target_health(served, Targets=[{"Id": one}])) == 1
    (unknown,) = target_health(served, Targets=[{"Id": "i-0", "Port": 1}])
    assert unknown["TargetHealth"]["Reason"] == "Target.NotRegistered"


def test_a_check_that_a_fault_makes_fail_is_told_as_the_service_sees_it(still: Served) -> None:
    (record, *_) = (one for one in still.world.tasks.values() if one.target)
    still.world.unchecked.add(record.id)
    states = {one["TargetHealth"].get("Description") for one in target_health(still)}
    assert states == {None, TIMED_OUT.description}
    still.world.unchecked.clear()
    assert still.balancer.states[record.target or ("", "")] == HEALTHY


def test_the_balancer_its_listener_and_rules_are_those_of_the_templates(served: Served) -> None:
    elbv2 = served.client("elbv2")
    (balancer,) = elbv2.describe_load_balancers()["LoadBalancers"]
    assert balancer["DNSName"] == "127.0.0.1:8080"
    assert (balancer["State"]["Code"], balancer["Type"]) == ("active", "application")
    assert len(balancer["AvailabilityZones"]) == 2
    (listener,) = elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    rule, default = elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    (group,) = elbv2.describe_target_groups(LoadBalancerArn=balancer["LoadBalancerArn"])[
        "TargetGroups"
    ]
    assert rule["Actions"][0]["TargetGroupArn"] == group["TargetGroupArn"]
    assert (default["Priority"], default["IsDefault"]) == ("default", True)
    assert group["HealthCheckPath"] == "/health/ready"
    named = elbv2.describe_load_balancers(Names=[balancer["LoadBalancerName"]])["LoadBalancers"]
    assert named == [balancer]
    attributes = elbv2.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])
    of_group = {one["Key"]: one["Value"] for one in attributes["Attributes"]}
    assert len(of_group) == len(attributes["Attributes"])
    attributes = elbv2.describe_load_balancer_attributes(
        LoadBalancerArn=balancer["LoadBalancerArn"]
    )
    of_balancer = {one["Key"]: one["Value"] for one in attributes["Attributes"]}
    # What the template says, and what AWS has where it says nothing.
    assert of_group["deregistration_delay.timeout_seconds"] == "30"
    assert of_group["load_balancing.algorithm.type"] == "least_outstanding_requests"
    assert of_group["load_balancing.algorithm.anomaly_mitigation"] == "off"
    assert of_group["stickiness.enabled"] == "false"
    assert of_balancer["idle_timeout.timeout_seconds"] == "60"
    assert of_balancer["routing.http.drop_invalid_header_fields.enabled"] == "true"
    assert of_balancer["routing.http.xff_header_processing.mode"] == "append"
    with pytest.raises(ClientError, match="LoadBalancerNotFound"):
        elbv2.describe_load_balancers(Names=["other"])
    with pytest.raises(ClientError, match="TargetGroupNotFound"):
        elbv2.describe_target_health(TargetGroupArn="arn:aws:x")
    with pytest.raises(ClientError, match="does not play RegisterTargets"):
        elbv2.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=[{"Id": "i-0"}])


def test_stacks_have_their_outputs_tags_resources_and_templates(served: Served) -> None:
    cloudformation = served.client("cloudformation")
    pages = cloudformation.get_paginator("describe_stacks").paginate()
    stacks = {one["StackName"]: one for page in pages for one in page["Stacks"]}
    names = ("Cluster", "Ingress", "Network", "Quotes", "Registry", "Web")
    assert set(stacks) == {f"Sandbox-{one}" for one in names}
    web = stacks["Sandbox-Web"]
    assert web["StackStatus"] == "CREATE_COMPLETE"
    assert {"Key": "drydock:environment", "Value": "sandbox"} in web["Tags"]
    outputs = {one["OutputKey"]: one["OutputValue"] for one in web["Outputs"]}
    assert outputs["ServiceName"] == served.service
    (by_id,) = cloudformation.describe_stacks(StackName=web["StackId"])["Stacks"]
    assert by_id["StackName"] == "Sandbox-Web"
    template = cloudformation.get_template(StackName="Sandbox-Web")["TemplateBody"]
    assert json.loads(json.dumps(template))["Resources"]
    listed = [
        one
        for page in cloudformation.get_paginator("list_stack_resources").paginate(
            StackName="Sandbox-Web"
        )
        for one in page["StackResourceSummaries"]
    ]
    assert {one["LogicalResourceId"] for one in listed} == set(template["Resources"])
    (service,) = (one for one in listed if one["ResourceType"] == "AWS::ECS::Service")
    assert service["PhysicalResourceId"] == served.described()["serviceArn"]
    found = cloudformation.describe_stack_resources(
        PhysicalResourceId=service["PhysicalResourceId"]
    )["StackResources"]
    assert service["LogicalResourceId"] in {one["LogicalResourceId"] for one in found}
    exports = cloudformation.list_exports()["Exports"]
    assert any(one["Name"].startswith("Sandbox-Network:") for one in exports)
    for ask in (cloudformation.describe_stacks, cloudformation.list_stack_resources):
        with pytest.raises(ClientError, match="Stack with id other does not exist"):
            ask(StackName="other")
    with pytest.raises(ClientError, match="does not play DeleteStack"):
        cloudformation.delete_stack(StackName="Sandbox-Web")


def test_a_change_that_is_applied_is_an_update_of_the_stacks(served: Served) -> None:
    with served.world.lock:
        graph = served.world.graph
        served.world.apply(type(graph)(graph.stacks))
    (web,) = served.client("cloudformation").describe_stacks(StackName="Sandbox-Web")["Stacks"]
    assert web["StackStatus"] == "UPDATE_COMPLETE"
    assert web["LastUpdatedTime"] >= web["CreationTime"]


def test_an_instance_that_ec2_terminates_is_gone_at_once_and_replaced(served: Served) -> None:
    ec2 = served.client("ec2")
    (first, *_) = (one["Instances"][0] for one in ec2.describe_instances()["Reservations"])
    lost = served.tasks()
    with pytest.raises(ClientError, match="DryRunOperation"):
        ec2.terminate_instances(InstanceIds=[first["InstanceId"]], DryRun=True)
    (state,) = ec2.terminate_instances(InstanceIds=[first["InstanceId"]])["TerminatingInstances"]
    assert state["CurrentState"]["Name"] == "shutting-down"
    until(lambda: served.described()["runningCount"] == 2 and len(served.tasks()) == 4)
    stopped = served.ecs.describe_tasks(cluster=served.cluster, tasks=lost)["tasks"]
    reasons = {one.get("stoppedReason") for one in stopped if one["lastStatus"] == "STOPPED"}
    assert f"Host EC2 (instance {first['InstanceId']}) terminated." in reasons
    until(lambda: len(ec2.describe_instances()["Reservations"]) == 2)
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        ec2.describe_instances(InstanceIds=["i-0"])


def test_instances_are_found_by_filters_and_paged(still: Served) -> None:
    add_instances(still.world, 10)
    ec2 = still.client("ec2")

    def number(**filters: str) -> int:
        asked = [{"Name": name.replace("_", "-"), "Values": [one]} for name, one in filters.items()]
        return len(ec2.describe_instances(Filters=asked)["Reservations"])

    assert number(availability_zone="us-east-1a") == 6
    assert number(instance_state_name="running", instance_type="t3.*") == 12
    assert number(instance_state_name="stopped") == 0
    group = [{"Name": "tag:aws:autoscaling:groupName", "Values": [*still.world.state.groups]}]
    assert len(ec2.describe_instances(Filters=group)["Reservations"]) == 12
    with pytest.raises(ClientError, match="is invalid"):
        number(nonsense="x")
    pages = ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5})
    found = [one["ReservationId"] for page in pages for one in page["Reservations"]]
    assert len(set(found)) == len(found) == 12


def test_what_ec2_is_asked_beside_instances_is_moto_s(served: Served) -> None:
    assert served.client("ec2").describe_key_pairs()["KeyPairs"] == []


def test_bounds_that_are_registered_hold_and_suspended_scaling_rests(served: Served) -> None:
    scaling = served.client("application-autoscaling")
    ask = {"ServiceNamespace": "ecs"}
    targets = {
        one["ResourceId"].rpartition("/")[2]: one
        for one in scaling.describe_scalable_targets(**ask)["ScalableTargets"]
    }
    assert sorted(targets) == sorted(served.services)
    target, other = targets.pop(served.service), targets.popitem()[1]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
    assert (other["MinCapacity"], other["MaxCapacity"]) == (2, 4)
    named = {
        "ServiceNamespace": "ecs",
        "ResourceId": target["ResourceId"],
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    scaling.register_scalable_target(**named, MinCapacity=3)
    # Within one of AWS's minutes the service is in its bounds.
    until(lambda: served.described()["runningCount"] == 3)
    suspended = {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": True,
        "ScheduledScalingSuspended": True,
    }
    scaling.register_scalable_target(
        **named, MinCapacity=0, MaxCapacity=0, SuspendedState=suspended
    )
    (target,) = scaling.describe_scalable_targets(**ask, ResourceIds=[target["ResourceId"]])[
        "ScalableTargets"
    ]
    assert target["SuspendedState"] == suspended
    assert served.world.scalers[served.service].is_suspended
    assert served.described()["desiredCount"] == 3
    policies = scaling.describe_scaling_policies(**ask)["ScalingPolicies"]
    assert {one["PolicyType"] for one in policies} == {"TargetTrackingScaling"}
    # Without a route no balancer counts requests: quotes has the one for CPU only.
    resources = [one["ResourceId"] for one in policies]
    assert (resources.count(target["ResourceId"]), resources.count(other["ResourceId"])) == (2, 1)
    for wrong, words in (
        ({"MinCapacity": 9, "MaxCapacity": 1}, "cannot be less than minimum"),
        ({"ResourceId": "service/a/b"}, "ECS service doesn't exist"),
    ):
        with pytest.raises(ClientError, match=words):
            scaling.register_scalable_target(**named | wrong)
    scaling.deregister_scalable_target(**named)
    assert scaling.describe_scalable_targets(**ask)["ScalableTargets"] == [other]
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        scaling.deregister_scalable_target(**named)


def test_a_rule_forwards_as_it_was_modified_until_the_templates_say_otherwise(
    still: Served, graph: Graph
) -> None:
    elbv2, world = still.client("elbv2"), still.world
    (listener,) = elbv2.describe_listeners()["Listeners"]
    rule, _ = elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    arn, before = rule["RuleArn"], rule["Actions"]
    group = before[0]["TargetGroupArn"]
    groups = [{"TargetGroupArn": group, "Weight": 30}]
    forward = [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]

    def actions() -> Any:  # noqa: ANN401 - as boto3 has them
        return elbv2.describe_rules(RuleArns=[arn])["Rules"][0]["Actions"]

    (modified,) = elbv2.modify_rule(RuleArn=arn, Actions=forward)["Rules"]
    assert modified["Actions"] == actions() == forward
    (played,) = (one for each in still.balancer.listeners for one in each.rules)
    assert played.actions == forward
    world.apply(graph)
    assert actions() == forward
    other = copy.deepcopy(graph)
    for one in other.stack("Sandbox/Web").of_type("AWS::ElasticLoadBalancingV2::ListenerRule"):
        assert isinstance(one.properties, dict)
        one.properties["Priority"] = 77
    world.apply(other)
    assert actions() == before
    assert world.modified == {}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"Conditions": [{"Field": "path-pattern", "Values": ["/x"]}]}, "ValidationError"),
        ({"Actions": [{"Type": "forward"}]}, "InvalidLoadBalancerAction"),
        ({"Actions": [{"Type": "authenticate-oidc"}]}, "InvalidLoadBalancerAction"),
    ],
)
def test_a_rule_that_cannot_be_modified_so_stays_as_it_is(
    still: Served, asked: dict[str, Any], code: str
) -> None:
    elbv2 = still.client("elbv2")
    (listener,) = elbv2.describe_listeners()["Listeners"]
    rule, _ = elbv2.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    with pytest.raises(ClientError) as refused:
        elbv2.modify_rule(RuleArn=rule["RuleArn"], **asked)
    assert refused.value.response["Error"]["Code"] == code
    assert elbv2.describe_rules(RuleArns=[rule["RuleArn"]])["Rules"] == [rule]
