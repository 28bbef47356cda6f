"""Tags in their spellings: of ECS, with members in lower case, and of the other APIs.

Those of a template are read by `rehearsal.world.tags_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rehearsal.api.errors import invalid

# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html
TAGS_A_RESOURCE = 50


def of_ecs(tags: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    """Read tags as ECS spells them; raise ApiError for an empty key, and for too many."""
    found = {one.get("key", ""): one.get("value", "") for one in tags or ()}
    if "" in found:
        raise invalid("Tag keys can not be empty.")
    check_number(found)
    return found


def check_number(tags: Mapping[str, str]) -> None:
    """Raise ApiError where a resource would have more tags than ECS lets it have."""
    if len(tags) > TAGS_A_RESOURCE:
        raise invalid(f"A resource can have at most {TAGS_A_RESOURCE} tags.")


def to_ecs(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Spell tags as ECS does."""
    return [{"key": key, "value": value} for key, value in tags.items()]


def to_others(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Spell tags as EC2, Elastic Load Balancing, ECR and CloudWatch do."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
