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
    delete_log_group,
    empty_group,
    empty_undeleted,
    is_going,
    stop_other_tasks,
    stop_services,
    undeleted,
    unless_gone,
)
from ops.environment import (
    CLUSTER,
    GROUP,
    SERVICE,
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


def delete(aws: Aws, left: list[Left], environment: Environment, *, clock: Clock, say: Say) -> int:
    """Delete what was found, one learner after the other; 0 if nothing remains, else 1.

    What stops one learner's does not stop the others'. Stacks under termination protection are
    somebody's wish, and are left alone with all that is theirs.
    """
    code = 0
    for one in left:
        try:
            _delete_one(aws, one, environment, clock, say)
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


def _delete_one(aws: Aws, one: Left, environment: Environment, clock: Clock, say: Say) -> None:
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
    _delete_stacks(aws, _callers_first(one.stacks, environment), clock, say)
    # What the tagging API names may be gone, today or since it was found.
    for name in sorted(one.log_groups):
        delete_log_group(aws, name, say)
    for name in sorted(one.repositories):
        say(f"repository {name}: deleting, with its images")
        with unless_gone(f"repository {name}", say):
            aws.ecr.delete_repository(repositoryName=name, force=True)
    for volume in sorted(one.volumes):
        say(f"volume {volume}: deleting")
        with unless_gone(f"volume {volume}", say):
            aws.ec2.delete_volume(VolumeId=volume)


def _delete_stacks(aws: Aws, stacks: list[StackTypeDef], clock: Clock, say: Say) -> None:
    """Delete stacks one after the other, and once more what was refused, while something goes.

    A learner's services may call each other otherwise than our settings say. Raises Failed with a
    line for each stack that stays.
    """
    while stacks:
        # Where an earlier attempt failed, most often for a balancer's late log.
        empty_undeleted(aws, [stack["StackId"] for stack in stacks], say)
        refused = [
            (stack, why) for stack in stacks if (why := _delete_stack(aws, stack, clock, say))
        ]
        if len(refused) == len(stacks):
            raise Failed(*(f"{why}; sweep once more" for _, why in refused))
        for _, why in refused:
            say(f"{why}; trying once more, since others went")
        stacks = [stack for stack, _ in refused]


def _delete_stack(aws: Aws, stack: StackTypeDef, clock: Clock, say: Say) -> str:
    """Delete a stack and wait for its end; give why CloudFormation did not, or nothing.

    Raises Failed when that takes longer than STACK_SECONDS.
    """
    name, rests, refusal = stack["StackName"], 0, ""

    def look() -> str:
        nonlocal rests, refusal
        (now,) = aws.cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"]
        status = now["StackStatus"]
        if status == "DELETE_COMPLETE":
            return ""
        # DELETE_FAILED or, where another stack imports from it, the status that it had before
        # (aws-cdk #604). A first look may come before the deletion begins.
        rests += not status.endswith("_IN_PROGRESS")
        if rests > 1:
            refusal = f"{name} was not deleted: {_reasons(aws, now)}"
            return ""
        return f"{name} is {status}"

    say(f"{name}: deleting")
    aws.cloudformation.delete_stack(StackName=stack["StackId"])
    missing = wait(look, clock=clock, seconds=STACK_SECONDS, every=EVERY_SECONDS, say=say)
    if missing:
        raise Failed(f"still there after {STACK_SECONDS} seconds: {missing}; sweep once more")
    return refusal


def _reasons(aws: Aws, stack: StackTypeDef) -> str:
    kept = undeleted(aws.cloudformation, [stack["StackId"]])
    reasons = [f"{one.id}: {one.reason or 'no reason given'}" for one in kept]
    whole = stack.get("StackStatusReason") or f"it is {stack['StackStatus']}, no reason given"
    return "; ".join(reasons) or whole


def _callers_first(stacks: list[StackTypeDef], environment: Environment) -> list[StackTypeDef]:
    """Order stacks against their deployment: what imports goes before what it imports from.

    Services that our settings do not have go first.
    """
    deployed = [name.rpartition("-")[2] for name in environment.stacks]

    def place(stack: StackTypeDef) -> int:
        own = stack["StackName"].rpartition("-")[2]
        return deployed.index(own) if own in deployed else len(deployed)

    return sorted(stacks, key=place, reverse=True)


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
    left.others = {
        arn
        for arn in left.others
        if not owned & {arn, *re.split("[:/]", arn)} and not is_going(aws.keys, arn)
    }


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
