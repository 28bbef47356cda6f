"""A service's past is read whole, and a task's end from the container that is its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from labs import services
from labs.place import Place
from tests.ops.world import World

if TYPE_CHECKING:
    from types_boto3_ecs.type_defs import TaskTypeDef

BEGAN = datetime(2026, 11, 29, tzinfo=UTC)


def test_every_rollout_is_read_over_pages_and_in_twenties(world: World, boats: Place) -> None:
    arns = [f"rollout-{number:02}" for number in range(50)]

    def listed(given: dict[str, Any]) -> dict[str, Any]:
        first = int(given.get("nextToken", 0))
        some = [{"serviceDeploymentArn": arn} for arn in arns[first : first + 20]]
        more = {"nextToken": str(first + 20)} if first + 20 < len(arns) else {}
        return {"serviceDeployments": some, **more}

    def described(given: dict[str, Any]) -> dict[str, Any]:
        named = given["serviceDeploymentArns"]
        assert 0 < len(named) <= 20
        found = [
            {"serviceDeploymentArn": arn, "createdAt": BEGAN + timedelta(hours=arns.index(arn))}
            for arn in named
        ]
        return {"serviceDeployments": found}

    world.answer("ListServiceDeployments", listed)
    world.answer("DescribeServiceDeployments", described)
    assert services.rollouts(boats) == arns
    new = services.new_rollouts(boats, arns[:5])
    assert [one["serviceDeploymentArn"] for one in new] == arns[:4:-1]
    assert services.new_rollouts(boats, arns) == []


def test_the_exit_code_is_not_that_of_the_proxy_beside_it() -> None:
    task: TaskTypeDef = {
        "containers": [
            {"name": "ecs-service-connect-0a1b2", "exitCode": 0},
            {"name": "web", "exitCode": 137},
        ]
    }
    assert services.exit_code(task, "web") == 137
    assert services.exit_code({"containers": [{"name": "web"}]}, "web") is None


def test_its_own_container_is_the_task_definition_s(boats: Place) -> None:
    assert boats.container == "web"
