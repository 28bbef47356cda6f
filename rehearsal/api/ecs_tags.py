"""ECS: the tags of everything that has an ARN."""

from __future__ import annotations

from collections.abc import Mapping

from rehearsal.api import ecs_clusters, tags
from rehearsal.api.account import Account, Asked, Operation
from rehearsal.api.errors import ApiError, invalid
from rehearsal.api.wire import Answer


def tag_resource(account: Account, asked: Asked) -> Answer:
    """Add tags, or give those that there are other values."""
    there, new = _tags(account, asked["resourceArn"]), tags.of_ecs(asked["tags"])
    tags.check_number(there | new)
    there |= new
    return {}


def untag_resource(account: Account, asked: Asked) -> Answer:
    """Take tags away."""
    there = _tags(account, asked["resourceArn"])
    for key in asked["tagKeys"]:
        there.pop(key, None)
    return {}


def list_tags_for_resource(account: Account, asked: Asked) -> Answer:
    """Give the tags of one resource."""
    return {"tags": tags.to_ecs(_tags(account, asked["resourceArn"]))}


def _tags(account: Account, arn: str) -> dict[str, str]:
    """Give a resource's own mapping of tags; raise ApiError where there is no such resource."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn" or parts[2] != "ecs":
        raise invalid("Invalid identifier: expected the ARN of a resource of ECS.")
    found: dict[str, str] | None = None
    match parts[5].partition("/")[0]:
        case "cluster":
            account.check_cluster_name(arn)
            found = ecs_clusters.cluster_tags(account)
        case "capacity-provider":
            found = ecs_clusters.provider_tags(account, arn)
        case "service":
            service = account.service(arn)
            found = service.tags if service else None
        case "task":
            task = account.task(arn)
            found = task.tags if task else None
        case "container-instance":
            instance = account.instance(arn)
            found = account.host(instance).tags if instance else None
        case "task-definition":
            definition = account.definition(arn)
            found = definition.tags if definition else None
        case other:
            raise invalid(f"The rehearsal keeps no tags of a {other:.100}.")
    if found is None:
        raise ApiError("ResourceNotFoundException", "The specified resource was not found.")
    return found


OPERATIONS: Mapping[str, Operation] = {
    "ListTagsForResource": list_tags_for_resource,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
