"""What learners left is found by tag and name, nobody else's is, and it goes only when asked.

moto's tagging API knows neither log groups nor repositories; the fixture answers for it with the
tags that moto's other services keep.
"""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ecs.models import ecs_backends

from ops import sweep
from ops.environment import TAG
from ops.sweep import Left
from tests.ops.world import CLUSTER, REGION, FakeClock, World, microservice

QUEUE = {"Queue": {"Type": "AWS::SQS::Queue"}}
CHANGES = ("Create", "Put", "Update", "Delete", "Stop", "Register", "Set")


def tags(tag: str) -> list[dict[str, str]]:
    return [{"Key": TAG, "Value": tag}]


def tagged(world: World) -> list[dict[str, Any]]:
    """List log groups, repositories and buckets with their tags, as the tagging API would."""
    logs: Any = world.session.client("logs")
    ecr: Any = world.session.client("ecr")
    s3: Any = world.session.client("s3")
    found = []
    for group in logs.describe_log_groups()["logGroups"]:
        arn = group["arn"].removesuffix(":*")
        own = logs.list_tags_for_resource(resourceArn=arn)["tags"]
        found.append((arn, [{"Key": key, "Value": value} for key, value in own.items()]))
    for repository in ecr.describe_repositories()["repositories"]:
        arn = repository["repositoryArn"]
        found.append((arn, ecr.list_tags_for_resource(resourceArn=arn)["tags"]))
    for bucket in s3.list_buckets()["Buckets"]:
        own = s3.get_bucket_tagging(Bucket=bucket["Name"])["TagSet"]
        found.append((f"arn:aws:s3:::{bucket['Name']}", own))
    return [
        {"ResourceARN": arn, "Tags": own}
        for arn, own in found
        if any(one["Key"] == TAG for one in own)
    ]


@pytest.fixture
def classroom(world: World) -> World:
    """Two learners' environments, an instructor's and production, and what one left without one."""
    world.make_stack("ana-Sandbox-Network", QUEUE, tag="ana-sandbox")
    world.make_stack("ana-Sandbox-Cluster", CLUSTER, tag="ana-sandbox")
    world.make_stack("ana-Sandbox-Web", microservice("web"), tag="ana-sandbox")
    world.make_stack("ben-Sandbox-Network", QUEUE, tag="ben-sandbox")
    world.make_stack("Sandbox-Network", QUEUE, tag="sandbox")
    world.make_stack("eva-Production-Network", QUEUE, tag="eva-production")
    world.make_stack("Payroll", QUEUE, tag="payroll")
    world.aws.logs.create_log_group(
        logGroupName="/aws/ecs/containerinsights/cleo-Sandbox-Cluster-X/performance"
    )
    world.aws.logs.create_log_group(logGroupName="/aws/lambda/Sandbox-Ingress-Custom")
    world.aws.logs.create_log_group(logGroupName="/aws/lambda/cleo-Payroll")
    world.aws.logs.create_log_group(logGroupName="cleo-web", tags={TAG: "cleo-sandbox"})
    client: Any = world.session.client("ecr")
    client.create_repository(repositoryName="cleo-sandbox-web", tags=tags("cleo-sandbox"))
    client.create_repository(repositoryName="sandbox-web", tags=tags("sandbox"))
    machines: Any = world.session.client("ec2")
    machines.create_volume(
        AvailabilityZone="us-east-1a", Size=30,
        TagSpecifications=[{"ResourceType": "volume", "Tags": tags("cleo-sandbox")}],
    )  # fmt: skip
    machines.create_volume(AvailabilityZone="us-east-1a", Size=30)
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": tagged(world)})
    world.calls.clear()
    return world


def found(world: World) -> dict[str, Left]:
    return {one.tag: one for one in sweep.find(world.aws, world.environment)}


def test_learners_environments_are_found_and_nobody_elses(classroom: World) -> None:
    left = found(classroom)
    assert list(left) == ["ana-sandbox", "ben-sandbox", "cleo-sandbox"]
    assert {stack["StackName"] for stack in left["ana-sandbox"].stacks} == {
        "ana-Sandbox-Network", "ana-Sandbox-Cluster", "ana-Sandbox-Web",
    }  # fmt: skip


def test_what_is_left_without_a_stack_is_found_by_tag_and_by_name(classroom: World) -> None:
    cleo = found(classroom)["cleo-sandbox"]
    assert cleo.stacks == []
    assert cleo.log_groups == {
        "/aws/ecs/containerinsights/cleo-Sandbox-Cluster-X/performance", "cleo-web",
    }  # fmt: skip
    assert cleo.repositories == {"cleo-sandbox-web"}
    assert len(cleo.volumes) == 1


def test_an_instructor_with_a_prefix_is_no_learner(classroom: World) -> None:
    settings = classroom.environment.settings.model_copy(update={"prefix": "ana"})
    classroom.environment = type(classroom.environment)("sandbox", settings)
    assert list(found(classroom)) == ["ben-sandbox", "cleo-sandbox"]


def test_to_look_changes_nothing(classroom: World) -> None:
    written: list[str] = []
    left = sweep.find(classroom.aws, classroom.environment)
    sweep.report(left, classroom.environment, write=written.append, say=classroom.say)
    assert not [call for call in classroom.calls if call.startswith(CHANGES)]
    assert "  stack ben-Sandbox-Network (CREATE_COMPLETE)\n" in written
    assert "  repository cleo-sandbox-web\n" in written
    assert "3 learners left something" in classroom.text()


def test_what_a_stack_owns_goes_with_it_and_is_named_once(classroom: World) -> None:
    group = {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {"LogGroupName": "/aws/lambda/ben-Sandbox-Web-X"},
    }
    classroom.make_stack("ben-Sandbox-Web", {"Logs": group}, tag="ben-sandbox")
    made = classroom.aws.logs.describe_log_groups(logGroupNamePrefix="/aws/lambda/ben-")
    assert len(made["logGroups"]) == 1
    assert found(classroom)["ben-sandbox"].log_groups == set()


def run(world: World, clock: FakeClock | None = None) -> int:
    left = sweep.find(world.aws, world.environment)
    world.calls.clear()
    return sweep.delete(
        world.aws, left, world.environment, clock=clock or FakeClock(), say=world.say
    )


def end_tasks() -> None:
    for service in ecs_backends[DEFAULT_ACCOUNT_ID][REGION].services.values():
        service.running_count = 0


def end_instances(world: World) -> None:
    client: Any = world.session.client("autoscaling")
    for group in client.describe_auto_scaling_groups()["AutoScalingGroups"]:
        for instance in group["Instances"]:
            client.terminate_instance_in_auto_scaling_group(
                InstanceId=instance["InstanceId"], ShouldDecrementDesiredCapacity=False
            )


def test_a_sweep_deletes_what_learners_left_and_nothing_else(classroom: World) -> None:
    assert run(classroom) == 0, classroom.text()
    assert found(classroom) == {}
    pages = classroom.aws.cloudformation.describe_stacks()["Stacks"]
    assert {stack["StackName"] for stack in pages} == {
        "Sandbox-Network", "eva-Production-Network", "Payroll",
    }  # fmt: skip
    groups = classroom.aws.logs.describe_log_groups()["logGroups"]
    assert {one["logGroupName"] for one in groups} == {
        "/aws/lambda/Sandbox-Ingress-Custom", "/aws/lambda/cleo-Payroll",
    }  # fmt: skip
    client: Any = classroom.session.client("ecr")
    names = [one["repositoryName"] for one in client.describe_repositories()["repositories"]]
    assert names == ["sandbox-web"]
    volumes: Any = classroom.session.client("ec2")
    kept = volumes.describe_volumes(Filters=[{"Name": "status", "Values": ["available"]}])
    assert len(kept["Volumes"]) == 1


def test_services_stop_before_stacks_go_and_the_network_goes_last(classroom: World) -> None:
    run(classroom)
    text = classroom.text()
    order = [
        text.index(line)
        for line in (
            "web: from 2 tasks to none",
            "instances to none",
            "ana-Sandbox-Web: deleting",
            "ana-Sandbox-Cluster: deleting",
            "ana-Sandbox-Network: deleting",
        )
    ]
    assert order == sorted(order)


def test_a_protected_stack_is_left_alone_and_the_others_go(classroom: World) -> None:
    left = sweep.find(classroom.aws, classroom.environment)
    # moto cannot put a stack under protection.
    (network,) = [one for one in left[0].stacks if one["StackName"] == "ana-Sandbox-Network"]
    network["EnableTerminationProtection"] = True
    code = sweep.delete(
        classroom.aws, left, classroom.environment, clock=FakeClock(), say=classroom.say
    )
    assert code == 1
    assert "ana-Sandbox-Network has termination protection" in classroom.text()
    assert list(found(classroom)) == ["ana-sandbox"]
    assert len(found(classroom)["ana-sandbox"].stacks) == 3


def hold(world: World, stack: str, *, until_gone: str = "") -> None:
    """Have CloudFormation refuse to delete a stack, as long as another is there that imports."""

    def refused(given: dict[str, Any]) -> dict[str, Any] | None:
        listed = world.aws.cloudformation.describe_stacks()["Stacks"]
        there = {one["StackName"] for one in listed}
        held = f":stack/{stack}/" in given["StackName"]
        return {} if held and (not until_gone or until_gone in there) else None

    world.answer("DeleteStack", refused)


def deleted(world: World) -> list[str]:
    return [line.removesuffix(": deleting") for line in world.said if line.endswith(": deleting")]


def test_a_stack_that_cannot_be_deleted_is_said_and_the_others_go(classroom: World) -> None:
    hold(classroom, "ben-Sandbox-Network")
    assert run(classroom) == 1
    assert "ben-sandbox: ben-Sandbox-Network was not deleted: it is" in classroom.text()
    assert "sweep once more" in classroom.text()
    assert list(found(classroom)) == ["ben-sandbox"]


def test_a_stack_that_takes_too_long_is_said_and_the_others_go(classroom: World) -> None:
    def lasting(given: dict[str, Any]) -> dict[str, Any] | None:
        if "ben-Sandbox" not in given.get("StackName", ""):
            return None
        return {"Stacks": [{"StackName": "x", "StackStatus": "DELETE_IN_PROGRESS"}]}

    hold(classroom, "ben-Sandbox-Network")
    classroom.answer("DescribeStacks", lasting)
    clock = FakeClock()
    assert run(classroom, clock) == 1
    assert "ben-sandbox: still there after 1800 seconds: ben-Sandbox-Network" in classroom.text()
    assert clock.seconds <= sweep.STACK_SECONDS
    assert list(found(classroom)) == ["ben-sandbox"]


@pytest.mark.parametrize("made", [("Quotes", "Web"), ("Web", "Quotes")])
def test_a_service_goes_before_those_that_it_calls(world: World, made: tuple[str, str]) -> None:
    for service in made:
        world.make_stack(f"dan-Sandbox-{service}", QUEUE, tag="dan-sandbox")
    world.make_stack("dan-Sandbox-Registry", QUEUE, tag="dan-sandbox")
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": []})
    # Web imports Quotes' security group where its tasks have interfaces of their own.
    hold(world, "dan-Sandbox-Quotes", until_gone="dan-Sandbox-Web")
    assert run(world) == 0, world.text()
    assert deleted(world) == ["dan-Sandbox-Web", "dan-Sandbox-Quotes", "dan-Sandbox-Registry"]


def test_services_of_other_settings_are_tried_again_while_something_goes(world: World) -> None:
    for service in ("Pier", "Boats"):
        world.make_stack(f"dan-Sandbox-{service}", QUEUE, tag="dan-sandbox")
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": []})
    hold(world, "dan-Sandbox-Pier", until_gone="dan-Sandbox-Boats")
    assert run(world) == 0, world.text()
    assert deleted(world) == ["dan-Sandbox-Pier", "dan-Sandbox-Boats", "dan-Sandbox-Pier"]
    assert "dan-Sandbox-Pier was not deleted" in world.text()


def test_a_failed_deletion_is_tried_again_with_an_empty_bucket(world: World) -> None:
    """The balancer's late log: the first attempt leaves a bucket that is not empty."""
    for stack in ("Ingress", "Network"):
        world.make_stack(f"dan-Sandbox-{stack}", QUEUE, tag="dan-sandbox")
    client: Any = world.session.client("s3")
    client.create_bucket(Bucket="dan-logs")
    client.put_object(Bucket="dan-logs", Key="late", Body=b"")
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": []})

    def filled() -> bool:
        return "Contents" in client.list_objects_v2(Bucket="dan-logs")

    def summaries(given: dict[str, Any]) -> dict[str, Any] | None:
        if "Ingress" not in given["StackName"] or not tried or not filled():
            return None
        one = {
            "ResourceType": "AWS::S3::Bucket", "PhysicalResourceId": "dan-logs",
            "ResourceStatus": "DELETE_FAILED", "ResourceStatusReason": "not empty",
        }  # fmt: skip
        return {"StackResourceSummaries": [one]}

    tried: list[str] = []

    def refused(given: dict[str, Any]) -> dict[str, Any] | None:
        tried.append(given["StackName"])
        return {} if "Ingress" in given["StackName"] and filled() else None

    world.answer("DeleteStack", refused)
    world.answer("ListStackResources", summaries)
    assert run(world) == 0, world.text()
    assert "dan-logs: not empty" in world.text()
    assert not filled()


def test_what_is_gone_already_stops_nothing(classroom: World) -> None:
    """The tagging API goes on naming for a while what is gone; a volume may go meanwhile."""
    region = f"{REGION}:{DEFAULT_ACCOUNT_ID}"
    stale = [
        {"ResourceARN": arn, "Tags": tags("cleo-sandbox")}
        for arn in (
            f"arn:aws:logs:{region}:log-group:cleo-aaa",
            f"arn:aws:ecr:{region}:repository/cleo-aaa",
        )
    ]
    answer = {"ResourceTagMappingList": [*stale, *tagged(classroom)]}
    classroom.answer("GetResources", lambda _: answer)
    left = found(classroom)
    left["cleo-sandbox"].volumes.add("vol-00000000000000000")
    code = sweep.delete(
        classroom.aws, [left["cleo-sandbox"]], classroom.environment,
        clock=FakeClock(), say=classroom.say,
    )  # fmt: skip
    assert code == 0, classroom.text()
    for gone in ("log group cleo-aaa", "repository cleo-aaa", "volume vol-00000000000000000"):
        assert f"{gone}: was gone already" in classroom.said
    client: Any = classroom.session.client("ecr")
    names = [one["repositoryName"] for one in client.describe_repositories()["repositories"]]
    assert names == ["sandbox-web"]


def test_another_error_is_no_absence(classroom: World) -> None:
    def refuse(_: dict[str, Any]) -> dict[str, Any]:
        said: Any = {"Code": "AccessDeniedException", "Message": "not yours"}
        raise ClientError({"Error": said}, "DeleteRepository")

    classroom.answer("DeleteRepository", refuse)
    assert run(classroom) == 1
    assert "cleo-sandbox: AWS refused" in classroom.text()


def test_a_key_that_waits_for_its_deletion_is_nothing_left(world: World) -> None:
    client: Any = world.session.client("kms")
    ids = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    arns = [f"arn:aws:kms:{REGION}:{DEFAULT_ACCOUNT_ID}:key/{one}" for one in ids]
    client.schedule_key_deletion(KeyId=ids[0])
    arns.append(f"{arns[0].rpartition('/')[0]}/0a1b2c3d-0000-4000-8000-000000000000")
    named = [{"ResourceARN": arn, "Tags": tags("dora-sandbox")} for arn in arns]
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": named})
    assert found(world)["dora-sandbox"].others == {arns[1]}
    client.schedule_key_deletion(KeyId=ids[1])
    assert found(world) == {}
    assert run(world) == 0


def test_buckets_and_keys_are_named_and_stay(classroom: World) -> None:
    client: Any = classroom.session.client("s3")
    client.create_bucket(Bucket="dora-logs")
    client.put_bucket_tagging(Bucket="dora-logs", Tagging={"TagSet": tags("dora-sandbox")})
    assert found(classroom)["dora-sandbox"].others == {"arn:aws:s3:::dora-logs"}
    assert run(classroom) == 1
    assert "arn:aws:s3:::dora-logs stays" in classroom.text()
    assert client.list_buckets()["Buckets"]
