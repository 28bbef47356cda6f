"""python -m ops destroy: the teardown that ends, in moto."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops.destroy import destroy
from ops.environment import Failed
from tests.ops.world import FakeClock, World, microservice

CHANGES = (
    "RegisterScalableTarget",
    "UpdateService",
    "StopTask",
    "UpdateAutoScalingGroup",
    "SetInstanceProtection",
    "cdk destroy Sandbox/* --force",
)
IN_ORDER = [
    "RegisterScalableTarget",
    "UpdateService",
    "UpdateAutoScalingGroup",
    "SetInstanceProtection",
    "UpdateAutoScalingGroup",
    "cdk destroy Sandbox/* --force",
]


def changes(world: World) -> list[str]:
    """Name what was changed, in order."""
    return [call for call in world.calls if call in CHANGES]


def run(world: World, clock: FakeClock | None = None) -> int:
    return destroy(world.cleared, cdk=world.cdk, clock=clock or FakeClock(), say=world.say)


def interrupt_at(world: World, number: int) -> None:
    """Press Ctrl-C in the middle of that change, once: AWS has done it, we did not hear."""
    pressed: list[int] = []

    def press() -> None:
        if len(changes(world)) == number + 1 and not pressed:
            pressed.append(number)
            raise KeyboardInterrupt

    world.after("*", press)


def resources_are(world: World, kind: str, name: str, status: str) -> None:
    """Have CloudFormation say, once the CLI ran, what became of one resource; moto never does."""

    def after_the_cli(_: Any) -> Any:  # noqa: ANN401 - an answer as botocore parses it
        summary = {
            "ResourceType": kind,
            "PhysicalResourceId": name,
            "ResourceStatus": status,
            "ResourceStatusReason": "because",
        }
        return {"StackResourceSummaries": [summary]} if world.cdk_calls else None

    world.answer("ListStackResources", after_the_cli)


def test_everything_is_scaled_to_nothing_before_the_stacks_go(world: World) -> None:
    world.make_environment()
    assert run(world) == 0
    assert changes(world) == IN_ORDER
    assert world.cdk_calls == [["destroy", "Sandbox/*", "--force"]]
    assert world.said[-1] == "Nothing of sandbox is left."


def test_every_service_is_scaled_to_nothing(world: World) -> None:
    world.make_environment()
    world.make_stack("Sandbox-Quotes", microservice("quotes"))
    asked: list[str] = []
    world.answer("UpdateService", lambda given: asked.append(given["service"]))
    world.cdk_codes = [1]
    run(world)
    assert sorted(one.rpartition("/")[2] for one in asked) == ["quotes", "web"]


def test_neither_metrics_nor_a_schedule_bring_the_tasks_back(world: World) -> None:
    world.make_environment()
    scaling_id = world.scaling_id
    world.cdk_codes = [1, 1]  # so that what was set can still be read
    run(world)
    (target,) = world.aws.scalable_targets.describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[scaling_id]
    )["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 0)
    assert target["SuspendedState"] == {
        "DynamicScalingInSuspended": True,
        "DynamicScalingOutSuspended": True,
        "ScheduledScalingSuspended": True,
    }


def test_no_instance_keeps_the_protection_that_ecs_gave_it(world: World) -> None:
    world.make_environment()
    assert all(instance["ProtectedFromScaleIn"] for instance in world.group()["Instances"])
    world.cdk_codes = [1, 1]
    run(world)
    group = world.group()
    assert not group["NewInstancesProtectedFromScaleIn"]
    assert group["Instances"] == []
    assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (0, 0, 0)


def test_protection_that_comes_back_is_taken_again(world: World) -> None:
    world.make_environment()
    group = world.group()
    name = group["AutoScalingGroupName"]
    ids = [instance["InstanceId"] for instance in group["Instances"]]
    taken: list[object] = []

    def protect_once() -> None:
        taken.append(None)
        if len(taken) == 1:
            world.aws.autoscaling.set_instance_protection(
                AutoScalingGroupName=name, InstanceIds=ids, ProtectedFromScaleIn=True
            )

    world.after("SetInstanceProtection", protect_once)
    assert run(world, FakeClock()) == 0
    assert "2 instances (InService)" in world.text()
    assert world.cdk_calls


def test_the_instances_stay_until_the_last_task_has_ended(world: World) -> None:
    world.make_environment()
    world.after("UpdateService", lambda: world.linger(2))
    sizes: list[int] = []

    def still_there() -> None:
        sizes.append(world.group()["DesiredCapacity"])

    def ended() -> None:
        still_there()
        world.linger(0)

    assert run(world, FakeClock(still_there, ended)) == 0
    assert sizes == [2, 2]
    assert changes(world) == IN_ORDER


def test_tasks_that_do_not_end_stop_the_teardown_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.destroy.TASKS_SECONDS", 60)
    world.make_environment()
    world.after("UpdateService", lambda: world.linger(1))
    clock = FakeClock()
    with pytest.raises(Failed, match=r"web has 1 tasks; run this again"):
        run(world, clock)
    assert clock.seconds == 60
    assert world.cdk_calls == []


def test_instances_that_do_not_end_stop_the_teardown_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.destroy.INSTANCES_SECONDS", 60)
    world.make_environment()
    # Moto ends every unprotected instance; this stands for one that a lifecycle hook holds.
    world.answer("SetInstanceProtection", lambda _: {})
    clock = FakeClock()
    with pytest.raises(Failed, match=r"2 instances .*run this again"):
        run(world, clock)
    assert clock.seconds == 60
    assert world.cdk_calls == []


def test_an_instance_that_just_left_is_asked_about_again(world: World) -> None:
    world.make_environment()
    answers = [True, False]

    def refuse_once(_: Any) -> None:  # noqa: ANN401 - the call's parameters
        if answers.pop(0) if answers else False:
            raise ClientError(
                {"Error": {"Code": "ValidationError", "Message": "is not in InService"}},
                "SetInstanceProtection",
            )

    world.answer("SetInstanceProtection", refuse_once)
    assert run(world) == 0
    assert answers == []


def test_tasks_that_people_started_are_stopped_too(world: World) -> None:
    world.make_environment()
    # Moto runs a task only on an instance that registered; the two calls stand for one that did.
    running = ["arn:aws:ecs:us-east-1:123456789012:task/boats/by-hand"]
    world.answer("ListTasks", lambda _: {"taskArns": list(running)})

    def stop(_: Any) -> dict[str, Any]:  # noqa: ANN401 - the call's parameters
        running.clear()
        return {"task": {}}

    world.answer("StopTask", stop)
    assert run(world) == 0
    assert "by-hand: stopping; it belongs to no service" in world.said
    assert changes(world).index("StopTask") < changes(world).index("UpdateAutoScalingGroup")


@pytest.mark.parametrize("number", range(len(IN_ORDER) - 1))
def test_an_interrupted_destroy_run_again_finishes(world: World, number: int) -> None:
    world.make_environment()
    interrupt_at(world, number)
    with pytest.raises(KeyboardInterrupt):
        run(world)
    assert world.cdk_calls == []
    assert run(world) == 0
    assert len(world.cdk_calls) == 1
    assert world.aws.cloudformation.describe_stacks()["Stacks"] == []


def test_a_destroy_interrupted_among_the_stacks_finishes(world: World) -> None:
    world.make_environment()
    world.cdk_codes = [1, 1]
    assert run(world) == 1
    world.aws.cloudformation.delete_stack(StackName="Sandbox-Web")
    world.calls.clear()
    assert run(world) == 0
    # All that was done is done, and is not done again.
    assert changes(world) == ["cdk destroy Sandbox/* --force"]


def test_an_environment_that_is_gone_is_no_error(world: World) -> None:
    assert run(world) == 0
    assert world.cdk_calls == []
    assert world.said == [
        "sandbox has no stacks; looking for what they may have left.",
        "Nothing of sandbox is left.",
    ]


def test_a_service_that_is_already_deleted_is_left_alone(world: World) -> None:
    world.make_environment()
    world.aws.ecs.delete_service(cluster="boats", service=world.service, force=True)
    world.linger(2)  # what ends of a deleted service is ECS's business
    assert run(world) == 0
    assert "UpdateService" not in world.calls


def test_late_balancer_logs_do_not_keep_the_bucket(world: World) -> None:
    world.make_stack("Sandbox-Ingress", {"Nothing": {"Type": "AWS::SQS::Queue"}})
    s3 = world.session.client("s3")
    s3.create_bucket(Bucket="late-logs")
    s3.put_bucket_versioning(Bucket="late-logs", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="late-logs", Key="late", Body=b"1")
    s3.put_object(Bucket="late-logs", Key="late", Body=b"2")
    s3.delete_object(Bucket="late-logs", Key="late")
    resources_are(world, "AWS::S3::Bucket", "late-logs", "DELETE_FAILED")
    world.cdk_codes = [1, 0]
    assert run(world) == 0
    assert len(world.cdk_calls) == 2
    assert "late-logs was not deleted: because" in world.said
    assert "Versions" not in s3.list_object_versions(Bucket="late-logs")
    assert "DeleteMarkers" not in s3.list_object_versions(Bucket="late-logs")


def test_a_cli_that_fails_twice_passes_its_code_on(world: World) -> None:
    world.make_environment()
    world.cdk_codes = [1, 7]
    assert run(world) == 7
    assert len(world.cdk_calls) == 2
    assert world.said[-1].endswith("go on with: make destroy ENV=sandbox")


def test_what_the_stacks_retained_is_named(world: World) -> None:
    world.make_environment()
    resources_are(world, "AWS::Logs::LogGroup", "kept-by-policy", "DELETE_SKIPPED")
    assert run(world) == 0
    assert "  AWS::Logs::LogGroup kept-by-policy" in world.said
    assert "Nothing of sandbox is left." not in world.said


def test_what_carries_the_tag_is_named_and_others_are_not(world: World) -> None:
    # Of the kinds that are asked for, moto's tagging API knows keys and buckets.
    kms = world.session.client("kms")
    made = {
        name: kms.create_key(Tags=[{"TagKey": "drydock:environment", "TagValue": name}])
        for name in ("sandbox", "production")
    }
    assert run(world) == 0
    assert [line for line in world.said if line.startswith("  ")] == [
        f"  {made['sandbox']['KeyMetadata']['Arn']}"
    ]


SELF_MADE = [
    "/aws/ecs/containerinsights/Sandbox-Cluster-Cluster1/performance",
    "/aws/lambda/Sandbox-Ingress-CustomS3AutoDelete",
]
OTHERS = "/aws/lambda/Sandboxes-Other"


def log_groups(world: World) -> list[str]:
    for name in [*SELF_MADE, OTHERS]:
        world.aws.logs.create_log_group(logGroupName=name)
    assert run(world) == 0
    found = world.aws.logs.describe_log_groups()["logGroups"]
    return [group["logGroupName"] for group in found]


def test_a_sandbox_takes_along_the_log_groups_that_services_made_outside_its_stacks(
    world: World,
) -> None:
    assert log_groups(world) == [OTHERS]
    assert "Nothing of sandbox is left." in world.said


def test_where_data_is_retained_those_log_groups_are_kept_and_named(world: World) -> None:
    retaining = world.environment.settings.model_copy(update={"retain_data": True})
    world.environment = dataclasses.replace(world.environment, settings=retaining)
    assert log_groups(world) == [*SELF_MADE, OTHERS]
    assert [line for line in world.said if line.startswith("  ")] == [
        f"  log group {name}" for name in SELF_MADE
    ]


def test_a_key_in_its_waiting_period_is_not_left(world: World) -> None:
    kms = world.session.client("kms")
    tags = [{"TagKey": "drydock:environment", "TagValue": "sandbox"}]
    kept, going = (kms.create_key(Tags=tags)["KeyMetadata"]["Arn"] for _ in range(2))
    kms.schedule_key_deletion(KeyId=going.rsplit("/", 1)[1])
    assert run(world) == 0
    assert [line for line in world.said if line.startswith("  ")] == [f"  {kept}"]
