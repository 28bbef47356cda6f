"""Every operation that is answered conforms; every other is refused by name, or is moto's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from rehearsal.api import wire
from rehearsal.api.operations import ANSWERED, MOTOS, OWNED, READS, refusal
from tests.rehearsal.acting import steady, until
from tests.rehearsal.api.conftest import Answered, Served


def test_every_answered_operation_answers_and_conforms(served: Served, answered: Answered) -> None:
    _ask_ecs(served)
    _ask_others(served)
    missing = {
        (service, name) for service, operations in ANSWERED.items() for name in operations
    } - answered.operations
    # Both have no answer here but an error.
    assert missing == {("ecs", "DeleteCluster")}
    # That the answers conform is what the fixture asserts.


def test_every_other_operation_of_ecs_says_what_is_not_played(served: Served) -> None:
    operations = set(wire.model("ecs").operation_names) - set(ANSWERED["ecs"]) - MOTOS
    assert len(operations) > 30
    for name in operations:
        error = refusal("ecs", name)
        assert error is not None
        assert error.code == "UnsupportedFeatureException"
    with pytest.raises(ClientError, match=r"does not play.*ExecuteCommand"):
        served.ecs.execute_command(
            cluster=served.cluster, task="0" * 32, command="sh", interactive=True
        )
    with pytest.raises(ClientError, match="daemons"):
        served.ecs.list_daemons()


def test_changes_of_what_only_the_world_knows_are_refused_and_reads_are_passed_on() -> None:
    for service in OWNED:
        for name in wire.model(service).operation_names:
            if name not in ANSWERED[service]:
                assert (refusal(service, name) is None) == name.startswith(READS)


def test_an_account_setting_is_kept(served: Served) -> None:
    served.ecs.put_account_setting(name="awsvpcTrunking", value="enabled")
    settings = served.ecs.list_account_settings(name="awsvpcTrunking")["settings"]
    assert settings[0]["value"] == "enabled"


def _ask_ecs(served: Served) -> None:
    ecs, cluster = served.ecs, served.cluster
    ecs.create_cluster(clusterName=cluster)
    ecs.list_clusters()
    with pytest.raises(ClientError):
        ecs.delete_cluster(cluster=cluster)
    every = ["STATISTICS", "SETTINGS", "TAGS", "CONFIGURATIONS", "ATTACHMENTS"]
    (found,) = ecs.describe_clusters(clusters=[cluster], include=every)["clusters"]
    (provider,) = ecs.describe_capacity_providers(include=["TAGS"])["capacityProviders"]
    assert found["capacityProviders"] == [provider["name"]]
    ecs.update_capacity_provider(
        name=provider["name"],
        autoScalingGroupProvider={"managedScaling": {"status": "ENABLED", "targetCapacity": 100}},
    )
    definition = served.register("small", portMappings=[{"containerPort": 80}])
    served.register("small")
    ecs.describe_task_definition(taskDefinition="small:1", include=["TAGS"])
    ecs.list_task_definitions()
    ecs.list_task_definition_families()
    (task,) = ecs.run_task(cluster=cluster, taskDefinition=definition)["tasks"]
    (instance, *_) = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"]
    ecs.start_task(cluster=cluster, taskDefinition=definition, containerInstances=[instance])
    ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"], *served.tasks()], include=["TAGS"])
    ecs.stop_task(cluster=cluster, task=task["taskArn"])
    until(lambda: task["taskArn"] in served.tasks(desiredStatus="STOPPED"))
    ecs.describe_tasks(cluster=cluster, tasks=[task["taskArn"]])
    (of_service, *_) = served.tasks(serviceName=served.service)
    ecs.update_task_protection(cluster=cluster, tasks=[of_service], protectionEnabled=True)
    ecs.get_task_protection(cluster=cluster, tasks=[of_service])
    _ask_ecs_instances(served, instance)
    _ask_ecs_services(served, definition)
    ecs.tag_resource(resourceArn=task["taskArn"], tags=[{"key": "a", "value": "b"}])
    ecs.list_tags_for_resource(resourceArn=task["taskArn"])
    ecs.untag_resource(resourceArn=task["taskArn"], tagKeys=["a"])
    ecs.deregister_task_definition(taskDefinition="small:2")
    ecs.delete_task_definitions(taskDefinitions=["small:2"])


def _ask_ecs_instances(served: Served, instance: str) -> None:
    ecs, cluster = served.ecs, served.cluster
    include = ["TAGS", "CONTAINER_INSTANCE_HEALTH"]
    ecs.describe_container_instances(
        cluster=cluster, containerInstances=[instance], include=include
    )
    attribute = {"name": "stack", "value": "blue", "targetId": instance}
    ecs.put_attributes(cluster=cluster, attributes=[attribute])
    ecs.list_attributes(cluster=cluster, targetType="container-instance")
    ecs.delete_attributes(cluster=cluster, attributes=[attribute])
    ecs.update_container_instances_state(
        cluster=cluster, containerInstances=[instance], status="ACTIVE"
    )


def _ask_ecs_services(served: Served, definition: str) -> None:
    ecs, cluster = served.ecs, served.cluster
    ecs.create_service(
        cluster=cluster, serviceName="other", taskDefinition=definition, desiredCount=1
    )
    until(lambda: steady(served.world))
    ecs.update_service(cluster=cluster, service="other", forceNewDeployment=True)
    (newest, *_) = ecs.list_service_deployments(cluster=cluster, service="other")[
        "serviceDeployments"
    ]
    ecs.describe_service_deployments(serviceDeploymentArns=[newest["serviceDeploymentArn"]])
    ecs.describe_service_revisions(serviceRevisionArns=[newest["targetServiceRevisionArn"]])
    ecs.stop_service_deployment(serviceDeploymentArn=newest["serviceDeploymentArn"])
    until(lambda: steady(served.world) or served.world.outcome(0) == "rolled-back")
    ecs.describe_service_deployments(serviceDeploymentArns=[newest["serviceDeploymentArn"]])
    ecs.list_services(cluster=cluster)
    ecs.list_services_by_namespace(namespace="none")
    ecs.describe_services(cluster=cluster, services=["other", served.service], include=["TAGS"])
    ecs.delete_service(cluster=cluster, service="other", force=True)
    until(lambda: served.described("other")["status"] == "INACTIVE")
    (last,) = ecs.list_container_instances(cluster=cluster)["containerInstanceArns"][-1:]
    ecs.deregister_container_instance(cluster=cluster, containerInstance=last, force=True)


def _ask_others(served: Served) -> None:
    (stack, *_) = served.client("cloudformation").describe_stacks()["Stacks"]
    (group,) = served.world.state.groups
    (balancer,) = served.client("elbv2").describe_load_balancers()["LoadBalancers"]
    (target_group,) = served.client("elbv2").describe_target_groups()["TargetGroups"]
    (listener,) = served.client("elbv2").describe_listeners()["Listeners"]
    rule, _ = served.client("elbv2").describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
    served.client("elbv2").modify_rule(RuleArn=rule["RuleArn"], Actions=rule["Actions"])
    target, _ = served.client("application-autoscaling").describe_scalable_targets(
        ServiceNamespace="ecs"
    )["ScalableTargets"]
    asks: list[tuple[str, Callable[[Any], object]]] = [
        *_of_elbv2(balancer["LoadBalancerArn"], listener["ListenerArn"],
                   target_group["TargetGroupArn"]),
        *_of_cloudformation(stack["StackName"]),
        *_of_application_autoscaling(target["ResourceId"]),
        ("ssm", lambda c: c.get_parameter(Name=_ami(served))),
        ("ssm", lambda c: c.get_parameters(Names=[_ami(served)])),
    ]  # fmt: skip
    for service, ask in asks:
        ask(served.client(service))
    _ask_autoscaling(served, group)


def _of_elbv2(
    balancer: str, listener: str, group: str
) -> list[tuple[str, Callable[[Any], object]]]:
    return [
        ("elbv2", lambda c: c.describe_rules(ListenerArn=listener)),
        ("elbv2", lambda c: c.describe_target_health(TargetGroupArn=group)),
        ("elbv2", lambda c: c.describe_tags(ResourceArns=[balancer, group])),
        ("elbv2", lambda c: c.describe_target_group_attributes(TargetGroupArn=group)),
        ("elbv2", lambda c: c.describe_load_balancer_attributes(LoadBalancerArn=balancer)),
    ]


def _of_cloudformation(stack: str) -> list[tuple[str, Callable[[Any], object]]]:
    return [
        ("cloudformation", lambda c: c.list_stacks()),
        ("cloudformation", lambda c: c.list_exports()),
        ("cloudformation", lambda c: c.get_template(StackName=stack)),
        ("cloudformation", lambda c: c.describe_stack_events(StackName=stack)),
        ("cloudformation", lambda c: c.list_stack_resources(StackName=stack)),
        ("cloudformation", lambda c: c.describe_stack_resources(StackName=stack)),
        (
            "cloudformation",
            lambda c: c.describe_stack_resource(
                StackName=stack,
                LogicalResourceId=c.list_stack_resources(StackName=stack)["StackResourceSummaries"][
                    0
                ]["LogicalResourceId"],
            ),
        ),
    ]


def _of_application_autoscaling(resource: str) -> list[tuple[str, Callable[[Any], object]]]:
    target = {
        "ServiceNamespace": "ecs",
        "ResourceId": resource,
        "ScalableDimension": "ecs:service:DesiredCount",
    }
    return [
        ("application-autoscaling", lambda c: c.describe_scaling_policies(ServiceNamespace="ecs")),
        (
            "application-autoscaling",
            lambda c: c.describe_scaling_activities(ServiceNamespace="ecs"),
        ),
        ("application-autoscaling", lambda c: c.register_scalable_target(**target)),
        ("application-autoscaling", lambda c: c.deregister_scalable_target(**target)),
    ]


def _ask_autoscaling(served: Served, group: str) -> None:
    autoscaling, ec2 = served.client("autoscaling"), served.client("ec2")
    named = {"AutoScalingGroupName": group}
    autoscaling.describe_auto_scaling_groups()
    (first, second) = (
        one["InstanceId"]
        for one in autoscaling.describe_auto_scaling_instances()["AutoScalingInstances"]
    )
    autoscaling.describe_lifecycle_hooks(**named)
    autoscaling.set_instance_protection(InstanceIds=[first], ProtectedFromScaleIn=False, **named)
    autoscaling.update_auto_scaling_group(MaxSize=5, **named)
    autoscaling.set_desired_capacity(DesiredCapacity=3, **named)
    autoscaling.start_instance_refresh(**named)
    autoscaling.cancel_instance_refresh(**named)
    autoscaling.describe_instance_refreshes(**named)
    autoscaling.terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=True
    )
    autoscaling.describe_scaling_activities(**named)
    ec2.describe_instances()
    ec2.terminate_instances(InstanceIds=[second])


def _ami(served: Served) -> str:
    (cluster,) = (
        one for one in served.world.stacks.records.values() if one.stack.name.endswith("Cluster")
    )
    return next(
        str(one["Default"])
        for one in cluster.stack.template["Parameters"].values()
        if "image_id" in str(one.get("Default"))
    )
