"""Takes an environment down in the order in which that ends, however often it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from ops.clock import Clock, wait
from ops.environment import (
    BUCKET,
    CLUSTER,
    GROUP,
    SERVICE,
    SUSPENDED,
    TAG,
    Failed,
    Resource,
    of_kind,
    resources,
    scalable_target,
    scaling_id,
    stacks,
)

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_autoscaling.type_defs import AutoScalingGroupTypeDef
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.type_defs import ServiceTypeDef

    from ops.aws import Aws, Buckets, Keys, ScalableTargets
    from ops.cli import Cdk
    from ops.environment import Environment
    from ops.preflight import Cleared

Say = Callable[[str], None]

# Deregistration may take an hour by the settings; the sandbox's takes half a minute.
TASKS_SECONDS = 900
INSTANCES_SECONDS = 1200
EVERY_SECONDS = 10
# The most that one call takes.
# Sources: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html,
# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_SetInstanceProtection.html
SERVICES_A_CALL = 10
INSTANCES_A_CALL = 50
# In other states an instance has no protection to take away, and the call is refused.
PROTECTABLE = {"InService", "EnteringStandby", "Standby"}
# What outlives a stack and costs or holds data. The tagging API goes on naming for a while what
# is gone (terminated instances, deleted gateways), so everything else is left out.
# Source: https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html
KEPT = ("logs:log-group", "kms:key", "ecr:repository", "s3")
# Log groups that services make by themselves for what a stack contains, outside of any stack.
SELF_MADE_LOGS = ("/aws/ecs/containerinsights/", "/aws/lambda/")
# By what CloudWatch Logs, ECR, EC2, S3 and KMS say that a thing is not there.
GONE = {
    "ResourceNotFoundException",
    "RepositoryNotFoundException",
    "InvalidVolume.NotFound",
    "NoSuchBucket",
    "NotFoundException",
}


def destroy(cleared: Cleared, *, cdk: Cdk, clock: Clock, say: Say) -> int:
    """Scale everything to nothing, delete the stacks, and say what is left.

    Gives the CLI's exit code. Raises Failed where something would not stop in time. Each step
    looks at what is there, so a run after an interrupted one does the rest.
    """
    aws, environment = cleared.aws, cleared.environment
    existing = stacks(aws.cloudformation, environment)
    # By their ids, under which CloudFormation still answers once they are deleted.
    ids = [stack["StackId"] for stack in existing]
    if existing:
        found = resources(aws.cloudformation, ids)
        stop_services(
            aws.ecs, aws.scalable_targets, services=of_kind(found, SERVICE), clock=clock, say=say
        )
        stop_other_tasks(aws.ecs, clusters=of_kind(found, CLUSTER), clock=clock, say=say)
        for group in of_kind(found, GROUP):
            empty_group(aws.autoscaling, group=group, clock=clock, say=say)
        code = _delete_stacks(aws, environment, ids, cdk, say)
        if code:
            return code
    else:
        say(f"{environment.name} has no stacks; looking for what they may have left.")
    if not environment.settings.retain_data:
        delete_self_made_logs(aws, environment, say)
    report_leftovers(aws, environment, ids, say)
    return 0


def stop_services(
    ecs: ECSClient, targets: ScalableTargets, *, services: list[str], clock: Clock, say: Say
) -> None:
    """Set each service (by ARN) to no task, after what could start one again; wait for the end.

    Raises Failed when tasks still run after TASKS_SECONDS.
    """
    for service in _active(ecs, services):
        name = service["serviceName"]
        if scalable_target(targets, service["serviceArn"]):
            # A minimum of 0 alone would not do: a scheduled action sets a minimum of its own.
            targets.register_scalable_target(
                ServiceNamespace="ecs",
                ResourceId=scaling_id(service["serviceArn"]),
                ScalableDimension="ecs:service:DesiredCount",
                MinCapacity=0,
                MaxCapacity=0,
                SuspendedState=SUSPENDED,
            )
        if service["desiredCount"]:
            say(f"{name}: from {service['desiredCount']} tasks to none")
            ecs.update_service(
                cluster=service["clusterArn"], service=service["serviceArn"], desiredCount=0
            )

    def look() -> str:
        running = {
            service["serviceName"]: service["runningCount"] + service["pendingCount"]
            for service in _active(ecs, services)
        }
        return ", ".join(f"{name} has {count} tasks" for name, count in running.items() if count)

    _wait(look, TASKS_SECONDS, clock, say)


def stop_other_tasks(ecs: ECSClient, *, clusters: list[str], clock: Clock, say: Say) -> None:
    """Stop what somebody started by hand: a draining instance would wait for it for two days.

    Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-instance-draining.html
    """
    for cluster in clusters:
        for task in _tasks(ecs, cluster):
            say(f"{task.rsplit('/', 1)[-1]}: stopping; it belongs to no service")
            ecs.stop_task(cluster=cluster, task=task, reason="the environment is being destroyed")

    def look() -> str:
        left = [task for cluster in clusters for task in _tasks(ecs, cluster)]
        return f"{len(left)} tasks of no service run" if left else ""

    _wait(look, TASKS_SECONDS, clock, say)


def empty_group(autoscaling: AutoScalingClient, *, group: str, clock: Clock, say: Say) -> None:
    """Take the protection from an Auto Scaling group's instances and wait until none is left.

    ECS protects instances from scale-in and never takes it back, which is why a stack's deletion
    hangs (aws-cdk #18179, containers-roadmap #2862). Raises Failed after INSTANCES_SECONDS.
    """

    def look() -> str:
        now = _group(autoscaling, group)
        if now is None:
            return ""
        if now["NewInstancesProtectedFromScaleIn"]:
            autoscaling.update_auto_scaling_group(
                AutoScalingGroupName=group, NewInstancesProtectedFromScaleIn=False
            )
        # Each time: what was still starting is protected a moment later, and ECS, where managed
        # termination protection is on, protects again what still runs a task.
        released = _release(autoscaling, now)
        if now["MaxSize"] or now["DesiredCapacity"]:
            say(f"{group}: from {len(now['Instances'])} instances to none")
        if released or now["MaxSize"] or now["DesiredCapacity"]:
            # Anew after each release: no page was found that says a group tries a scale-in again
            # that protection once stopped.
            autoscaling.update_auto_scaling_group(
                AutoScalingGroupName=group, MinSize=0, MaxSize=0, DesiredCapacity=0
            )
            now = _group(autoscaling, group)
        if now is None or not now["Instances"]:
            return ""
        states = sorted({instance["LifecycleState"] for instance in now["Instances"]})
        return f"{len(now['Instances'])} instances ({', '.join(states)})"

    _wait(look, INSTANCES_SECONDS, clock, say)


def delete_self_made_logs(aws: Aws, environment: Environment, say: Say) -> None:
    """Delete the log groups that no stack owns, and that otherwise stay for good."""
    for name in _self_made_logs(aws, environment):
        delete_log_group(aws, name, say)


def delete_log_group(aws: Aws, name: str, say: Say) -> None:
    """Delete a log group, if it is still there."""
    say(f"log group {name}: deleting")
    with unless_gone(f"log group {name}", say):
        aws.logs.delete_log_group(logGroupName=name)


@contextmanager
def unless_gone(what: str, say: Say) -> Iterator[None]:
    """Let a call end well that finds nothing to delete; other errors of AWS pass."""
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in GONE:
            raise
        say(f"{what}: was gone already")


def report_leftovers(aws: Aws, environment: Environment, ids: Iterable[str], say: Say) -> None:
    """Say what the deleted stacks (by id) left, and how else this environment is still there."""
    left = leftovers(aws, environment, ids, say)
    if not left:
        say(f"Nothing of {environment.name} is left.")
        return
    say(f"{environment.name} is gone, but for what was kept or made outside its stacks:")
    for line in left:
        say(f"  {line}")
    say("Delete what you do not need; kept data and keys go on costing.")


def leftovers(aws: Aws, environment: Environment, ids: Iterable[str], say: Say) -> list[str]:
    """Name what the deleted stacks (by id) left, and what else of the environment is still there.

    Each is an ARN, or what it is and its id. `say` is told where the tags could not be asked for.
    """
    left = {
        f"{resource.kind} {resource.id}"
        for resource in resources(aws.cloudformation, ids)
        if resource.status == "DELETE_SKIPPED" and resource.kind not in {CLUSTER, GROUP, SERVICE}
    }
    known = {line.split(" ", 1)[1] for line in left}
    try:
        for arn in _tagged(aws, environment):
            if not any(name in arn for name in known) and not is_going(aws.keys, arn):
                left.add(arn)
    except (BotoCoreError, ClientError) as error:
        say(f"What carries the tag {TAG}={environment.tag} could not be listed: {error}")
    left.update(f"log group {name}" for name in _self_made_logs(aws, environment))
    return sorted(left)


def _self_made_logs(aws: Aws, environment: Environment) -> list[str]:
    paginator = aws.logs.get_paginator("describe_log_groups")
    return [
        group["logGroupName"]
        for prefix in SELF_MADE_LOGS
        for stack in environment.stacks
        for page in paginator.paginate(logGroupNamePrefix=f"{prefix}{stack}-")
        for group in page["logGroups"]
    ]


def _delete_stacks(aws: Aws, environment: Environment, ids: list[str], cdk: Cdk, say: Say) -> int:
    arguments = ["destroy", f"{environment.stage}/*", "--force"]
    code = cdk(arguments)
    if code:
        empty_undeleted(aws, ids, say)
        say("Trying once more.")
        code = cdk(arguments)
    if code:
        say(
            f"cdk destroy ended with {code}, as it says above. Mend that and go on with: "
            f"make destroy ENV={environment.name}"
        )
        return code
    return 0


def empty_undeleted(aws: Aws, ids: list[str], say: Say) -> None:
    """Say what an attempt to delete those stacks left undeleted; empty the buckets among it.

    The balancer's last log may come after CDK's function has emptied the bucket, and that function
    is deleted by then; so a second attempt needs an empty bucket beforehand.
    """
    for resource in undeleted(aws.cloudformation, ids):
        say(f"{resource.id} was not deleted: {resource.reason or 'no reason given'}")
        if resource.kind == BUCKET:
            say(f"{resource.id}: emptying it")
            with unless_gone(resource.id, say):
                empty_bucket(aws.buckets, resource.id)


def empty_bucket(buckets: Buckets, name: str) -> None:
    """Delete every version of every object of a bucket that its stack was to delete."""
    for page in buckets.get_paginator("list_object_versions").paginate(Bucket=name):
        objects = [
            {"Key": version["Key"], "VersionId": version["VersionId"]}
            for version in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        ]
        if objects:
            buckets.delete_objects(Bucket=name, Delete={"Objects": objects, "Quiet": True})


def undeleted(cloudformation: CloudFormationClient, ids: list[str]) -> list[Resource]:
    """List what CloudFormation tried to delete of those stacks, and could not."""
    return [one for one in resources(cloudformation, ids) if one.status == "DELETE_FAILED"]


def _wait(look: Callable[[], str], seconds: float, clock: Clock, say: Say) -> None:
    missing = wait(look, clock=clock, seconds=seconds, every=EVERY_SECONDS, say=say)
    if missing:
        raise Failed(
            f"still there after {seconds:.0f} seconds: {missing}; run this again to wait on, "
            "nothing done so far is lost"
        )


def _active(ecs: ECSClient, services: list[str]) -> list[ServiceTypeDef]:
    """Describe those services that exist and are not being deleted."""
    found: list[ServiceTypeDef] = []
    for cluster in sorted({arn.split("/")[-2] for arn in services}):
        there = [arn for arn in services if arn.split("/")[-2] == cluster]
        for start in range(0, len(there), SERVICES_A_CALL):
            try:
                answer = ecs.describe_services(
                    cluster=cluster, services=there[start : start + SERVICES_A_CALL]
                )
            except ecs.exceptions.ClusterNotFoundException:
                break
            found += [one for one in answer["services"] if one["status"] == "ACTIVE"]
    return found


def _tasks(ecs: ECSClient, cluster: str) -> list[str]:
    """List the tasks of a cluster that are to run, whoever started them."""
    try:
        pages = ecs.get_paginator("list_tasks").paginate(cluster=cluster, desiredStatus="RUNNING")
        return [arn for page in pages for arn in page["taskArns"]]
    except ecs.exceptions.ClusterNotFoundException:
        return []


def _group(autoscaling: AutoScalingClient, name: str) -> AutoScalingGroupTypeDef | None:
    groups = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    return next(iter(groups["AutoScalingGroups"]), None)


def _release(autoscaling: AutoScalingClient, group: AutoScalingGroupTypeDef) -> bool:
    """Take the scale-in protection from the group's instances; whether any had it."""
    protected = [
        instance["InstanceId"]
        for instance in group["Instances"]
        if instance["ProtectedFromScaleIn"] and instance["LifecycleState"] in PROTECTABLE
    ]
    for start in range(0, len(protected), INSTANCES_A_CALL):
        try:
            autoscaling.set_instance_protection(
                AutoScalingGroupName=group["AutoScalingGroupName"],
                InstanceIds=protected[start : start + INSTANCES_A_CALL],
                ProtectedFromScaleIn=False,
            )
        except ClientError as error:
            # One of them left that state since it was described; the next look asks anew.
            if error.response["Error"]["Code"] != "ValidationError":
                raise
    return bool(protected)


def _tagged(aws: Aws, environment: Environment) -> list[str]:
    pages = aws.tags.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": TAG, "Values": [environment.tag]}], ResourceTypeFilters=list(KEPT)
    )
    return [found["ResourceARN"] for page in pages for found in page["ResourceTagMappingList"]]


def is_going(keys: Keys, arn: str) -> bool:
    """Whether that is a key which is gone, or waits for its deletion and costs nothing by then."""
    if ":kms:" not in arn:
        return False
    try:
        state = keys.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"]
    except ClientError as error:
        return error.response["Error"]["Code"] in GONE
    return str(state) == "PendingDeletion"
