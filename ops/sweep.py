"""Finds what the learners of a class left on one account, by their prefixes, and deletes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from ops.clock import Clock, wait
from ops.destroy import (
    EVERY_SECONDS,
    KEPT,
    SELF_MADE_LOGS,
    empty_bucket,
    empty_group,
    stop_other_tasks,
    stop_services,
    undeleted,
)
from ops.environment import (
    BUCKET,
    CLUSTER,
    GROUP,
    SERVICE,
    SHARED_STACKS,
    TAG,
    Environment,
    Failed,
    of_kind,
    resources,
)

if TYPE_CHECKING:
    from types_boto3_cloudformation.type_defs import StackTypeDef

    from ops.aws import Aws

Say = Callable[[str], None]

# A balancer and its network interfaces take minutes; an instance that hangs takes longer.
STACK_SECONDS = 1800


Put = Callable[["Left"], None]


@dataclass
class Left:
    """What is there of one learner's environment, by the value of its tag, like ana-sandbox."""

    tag: str
    stacks: list[StackTypeDef] = field(default_factory=list)
    log_groups: set[str] = field(default_factory=set)
    repositories: set[str] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    # ARNs of what is only named: buckets and keys may hold what nobody wants to lose.
    others: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """Name everything, a line each."""
        for stack in self.stacks:
            yield f"stack {stack['StackName']} ({stack['StackStatus']})"
        for kind, names in (
            ("log group", self.log_groups),
            ("repository", self.repositories),
            ("volume", self.volumes),
        ):
            yield from (f"{kind} {name}" for name in sorted(names))
        yield from sorted(self.others)


def find(aws: Aws, environment: Environment) -> list[Left]:
    """Find what carries the tag or the names of a learner's environment, in the client's region.

    A learner's differ from the caller's own by a prefix, so `ana-sandbox` is found and `sandbox`
    never is, nor the caller's own prefix: that one goes with `destroy`. What a stack that is
    there still owns is not named a second time.
    """
    found: dict[str, Left] = {}

    def of(tag: str) -> Left | None:
        prefix = tag.removesuffix(f"-{environment.name}")
        if prefix in {tag, ""} or tag == environment.tag:
            return None
        return found.setdefault(tag, Left(tag))

    for tag, put in _everything(aws, environment):
        if left := of(tag):
            put(left)
    for left in found.values():
        _leave_out_owned(aws, left)
    return sorted((one for one in found.values() if any(one.lines())), key=lambda one: one.tag)


def report(
    left: list[Left], environment: Environment, *, write: Callable[[str], object], say: Say
) -> None:
    """Write everything that was found, by learner; nothing is changed."""
    for one in left:
        write(f"{one.tag}\n")
        for line in one.lines():
            write(f"  {line}\n")
    if left:
        say(
            f"{len(left)} learners left something. To delete it: "
            f"python -m ops sweep {environment.name} --delete"
        )
    else:
        say(f"No learner's {environment.name} is left. Your own goes with: make destroy")


def delete(aws: Aws, left: list[Left], *, clock: Clock, say: Say) -> int:
    """Delete what was found, one learner after the other; 0 if nothing remains, else 1.

    What stops one learner's does not stop the others'. Stacks under termination protection are
    somebody's wish, and are left alone with all that is theirs.
    """
    code = 0
    for one in left:
        try:
            _delete_one(aws, one, clock, say)
        except Failed as failed:
            for line in failed.lines:
                say(f"{one.tag}: {line}")
            code = 1
        except (BotoCoreError, ClientError) as error:
            say(f"{one.tag}: AWS refused: {error}")
            code = 1
        for arn in sorted(one.others):
            say(f"{one.tag}: {arn} stays; look at it, and delete it yourself")
            code = 1
    return code


def _delete_one(aws: Aws, one: Left, clock: Clock, say: Say) -> None:
    protected = [stack for stack in one.stacks if stack.get("EnableTerminationProtection")]
    if protected:
        names = ", ".join(stack["StackName"] for stack in protected)
        raise Failed(f"{names} has termination protection; nothing of it was deleted")
    ids = [stack["StackId"] for stack in one.stacks]
    found = resources(aws.cloudformation, ids)
    stop_services(
        aws.ecs, aws.scalable_targets, services=of_kind(found, SERVICE), clock=clock, say=say
    )
    stop_other_tasks(aws.ecs, clusters=of_kind(found, CLUSTER), clock=clock, say=say)
    for group in of_kind(found, GROUP):
        empty_group(aws.autoscaling, group=group, clock=clock, say=say)
    # Where an earlier attempt failed, most often for a balancer's late log.
    for resource in undeleted(aws.cloudformation, ids):
        if resource.kind == BUCKET:
            empty_bucket(aws.buckets, resource.id)
    for stack in sorted(one.stacks, key=_teardown_order):
        say(f"{stack['StackName']}: deleting")
        aws.cloudformation.delete_stack(StackName=stack["StackId"])
        _await_end(aws, stack, clock, say)
    for name in sorted(one.log_groups):
        say(f"log group {name}: deleting")
        aws.logs.delete_log_group(logGroupName=name)
    for name in sorted(one.repositories):
        say(f"repository {name}: deleting, with its images")
        aws.ecr.delete_repository(repositoryName=name, force=True)
    for volume in sorted(one.volumes):
        say(f"volume {volume}: deleting")
        aws.ec2.delete_volume(VolumeId=volume)


def _await_end(aws: Aws, stack: StackTypeDef, clock: Clock, say: Say) -> None:
    """Wait until a stack is deleted; raises Failed when it cannot be, or takes STACK_SECONDS."""

    def look() -> str:
        (now,) = aws.cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"]
        if now["StackStatus"] == "DELETE_COMPLETE":
            return ""
        if now["StackStatus"] == "DELETE_FAILED":
            kept = undeleted(aws.cloudformation, [stack["StackId"]])
            reasons = "; ".join(f"{one.id}: {one.reason or 'no reason given'}" for one in kept)
            raise Failed(f"{stack['StackName']} was not deleted: {reasons}; sweep once more")
        return f"{stack['StackName']} is {now['StackStatus']}"

    missing = wait(look, clock=clock, seconds=STACK_SECONDS, every=EVERY_SECONDS, say=say)
    if missing:
        raise Failed(f"still there after {STACK_SECONDS} seconds: {missing}; sweep once more")


def _teardown_order(stack: StackTypeDef) -> int:
    """Services first, which import from the others, then these from the last to the first."""
    own = stack["StackName"].rpartition("-")[2]
    return -SHARED_STACKS.index(own) if own in SHARED_STACKS else -len(SHARED_STACKS)


def _everything(aws: Aws, environment: Environment) -> Iterator[tuple[str, Put]]:
    """Give what there is of whatever environment: its tag's value, and how it is noted."""
    for stack in _stacks(aws):
        yield _value(stack.get("Tags", [])), partial(_note_stack, stack=stack)
    for tag, arn in _tagged(aws):
        yield tag, partial(_note_arn, arn=arn)
    for tag, volume in _free_volumes(aws):
        yield tag, partial(_note_volume, volume=volume)
    for prefix, group in _self_made_logs(aws, environment):
        yield f"{prefix}-{environment.name}", partial(_note_log_group, name=group)


def _note_stack(left: Left, *, stack: StackTypeDef) -> None:
    left.stacks.append(stack)


def _note_volume(left: Left, *, volume: str) -> None:
    left.volumes.add(volume)


def _note_log_group(left: Left, *, name: str) -> None:
    left.log_groups.add(name)


def _stacks(aws: Aws) -> Iterator[StackTypeDef]:
    for page in aws.cloudformation.get_paginator("describe_stacks").paginate():
        for stack in page["Stacks"]:
            if stack["StackStatus"] != "DELETE_COMPLETE":
                yield stack


def _tagged(aws: Aws) -> Iterator[tuple[str, str]]:
    """Give the ARNs of what outlives a stack, each after its tag's value."""
    for page in aws.tags.get_paginator("get_resources").paginate(
        TagFilters=[{"Key": TAG}], ResourceTypeFilters=list(KEPT)
    ):
        for one in page["ResourceTagMappingList"]:
            yield _value(one["Tags"]), one["ResourceARN"]


def _free_volumes(aws: Aws) -> Iterator[tuple[str, str]]:
    """Give the volumes that no instance has, each after its tag's value."""
    for page in aws.ec2.get_paginator("describe_volumes").paginate(
        Filters=[
            {"Name": "tag-key", "Values": [TAG]},
            {"Name": "status", "Values": ["available"]},
        ]
    ):
        for volume in page["Volumes"]:
            yield _value(volume["Tags"]), volume["VolumeId"]


def _self_made_logs(aws: Aws, environment: Environment) -> Iterator[tuple[str, str]]:
    """Give the log groups that services made, with no tag, each after a learner's prefix."""
    name = re.compile(rf"([a-z][a-z0-9-]*)-{environment.stage}-")
    for start in SELF_MADE_LOGS:
        for page in aws.logs.get_paginator("describe_log_groups").paginate(
            logGroupNamePrefix=start
        ):
            for group in page["logGroups"]:
                if matched := name.match(group["logGroupName"].removeprefix(start)):
                    yield matched[1], group["logGroupName"]


def _leave_out_owned(aws: Aws, left: Left) -> None:
    ids = [stack["StackId"] for stack in left.stacks]
    owned = {resource.id for resource in resources(aws.cloudformation, ids)}
    left.log_groups -= owned
    left.repositories -= owned
    left.others = {arn for arn in left.others if not owned & {arn, *re.split("[:/]", arn)}}


def _note_arn(left: Left, *, arn: str) -> None:
    service, name = arn.split(":")[2], arn.split(":", 5)[5]
    if service == "logs":
        left.log_groups.add(name.removeprefix("log-group:").removesuffix(":*"))
    elif service == "ecr":
        left.repositories.add(name.removeprefix("repository/"))
    else:
        left.others.add(arn)


def _value(tags: list[Any]) -> str:
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == TAG), "")
