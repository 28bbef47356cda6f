"""What moto keeps: it knows the log groups, images and alarms, and the containers' lines."""

from __future__ import annotations

import json
import time
from queue import SimpleQueue
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.awslambda.utils import get_backend as awslambda
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.batch.responses import BatchResponse
from moto.batch_simple.models import BatchSimpleBackend
from moto.logs.models import logs_backends

from rehearsal.api import LogShipper
from rehearsal.api.logs import KEPT, STREAMS
from rehearsal.stacks import ACCOUNT
from rehearsal.tasks import LogLine
from tests.rehearsal.acting import until
from tests.rehearsal.api.conftest import REGION, Served

Values = dict[str, Any]


def a_log(served: Served) -> tuple[str, str, str]:
    """Give the group, the stream and the task of a line that a container wrote."""
    (arn, *_) = served.tasks(serviceName=served.service)
    task = arn.rpartition("/")[2]
    ran = served.agent.running[task]
    (container,) = ran.definition["ContainerDefinitions"]
    options = container["LogConfiguration"]["Options"]
    stream = f"{options['awslogs-stream-prefix']}/web/{task}"
    return options["awslogs-group"], stream, task


def test_a_container_s_lines_stand_in_its_group_and_stream(served: Served) -> None:
    logs, (group, stream, task) = served.client("logs"), a_log(served)
    named = {"logGroupName": group, "logStreamName": stream}
    until(lambda: stream in _streams(served, group))
    served.agent.write(task, "web", "one more: ünïcode")

    def messages() -> list[str]:
        found = logs.get_log_events(**named, startFromHead=True)["events"]
        return [one["message"] for one in found]

    until(lambda: messages() == ["web serves", "one more: ünïcode"])
    found = logs.filter_log_events(logGroupName=group, filterPattern='"one more"')["events"]
    assert [(one["logStreamName"], one["message"]) for one in found] == [
        (stream, "one more: ünïcode")
    ]
    assert abs(found[0]["timestamp"] / 1000 - time.time()) < 60


def _streams(served: Served, group: str) -> list[str]:
    pages = served.client("logs").get_paginator("describe_log_streams").paginate(logGroupName=group)
    return [one["logStreamName"] for page in pages for one in page["logStreams"]]


def test_the_template_s_log_groups_are_there_with_their_retention(served: Served) -> None:
    pages = served.client("logs").get_paginator("describe_log_groups").paginate()
    groups = {one["logGroupName"]: one for page in pages for one in page["logGroups"]}
    (web,) = (one for name, one in groups.items() if name.startswith("Sandbox-Web-LogsContainers"))
    assert web["retentionInDays"] == 7


def test_lines_of_groups_that_nobody_made_are_kept_and_the_last_ones_are_shipped() -> None:
    lines: SimpleQueue[LogLine] = SimpleQueue()
    shipper = LogShipper(lines, region=REGION)
    shipper.start()
    now = round(time.time() * 1000)
    # Out of order, as lines of two streams may come.
    lines.put(LogLine("t", "c", "unmade", "p/c/t", now + 1, "second"))
    lines.put(LogLine("t", "c", "unmade", "p/c/t", now, "first"))
    shipper.close()
    stream = logs_backends[ACCOUNT][REGION].groups["unmade"].streams["p/c/t"]
    assert [one.message for one in stream.events] == ["first", "second"]


def test_a_long_rehearsal_keeps_the_newest_lines_and_streams_only() -> None:
    lines: SimpleQueue[LogLine] = SimpleQueue()
    shipper = LogShipper(lines, region=REGION)
    now = round(time.time() * 1000)
    for number in range(KEPT + 5):
        lines.put(LogLine("t", "c", "long", "one", now + number, str(number)))
    for number in range(STREAMS + 5):
        lines.put(LogLine("t", "c", "many", f"s{number}", now, "x"))
    assert shipper.ship() == KEPT + STREAMS + 10
    groups = logs_backends[ACCOUNT][REGION].groups
    (stream,) = groups["long"].streams.values()
    assert (len(stream.events), stream.events[0].message) == (KEPT, "5")
    assert next(iter(groups["many"].streams)) == "s5"
    assert len(groups["many"].streams) == STREAMS


def test_the_repository_has_the_image_under_the_hash_of_its_source(served: Served) -> None:
    ecr = served.client("ecr")
    repositories = ecr.describe_repositories()["repositories"]
    names = sorted(one["repositoryName"] for one in repositories)
    assert names == ["sandbox-quotes", "sandbox-web"]
    (repository,) = (one for one in repositories if one["repositoryName"] == "sandbox-web")
    assert repository["imageTagMutability"] == "IMMUTABLE"
    (image,) = ecr.describe_images(repositoryName=repository["repositoryName"])["imageDetails"]
    (tag,) = image["imageTags"]
    now = served.described()["taskDefinition"]
    definition = served.ecs.describe_task_definition(taskDefinition=now)["taskDefinition"]
    assert definition["containerDefinitions"][0]["image"].endswith(
        f"/{repository['repositoryName']}:{tag}"
    )
    found = ecr.describe_images(
        repositoryName=repository["repositoryName"], imageIds=[{"imageTag": tag}]
    )["imageDetails"]
    assert found == [image]
    text = ecr.get_lifecycle_policy(repositoryName="sandbox-web")["lifecyclePolicyText"]
    assert {one["selection"]["tagStatus"] for one in json.loads(text)["rules"]} == {"untagged"}


def test_an_operation_that_moto_leaves_out_is_refused_by_its_name(served: Served) -> None:
    ecr = served.client("ecr")
    with pytest.raises(ClientError, match=r"NotImplemented.*start_lifecycle_policy_preview"):
        ecr.start_lifecycle_policy_preview(repositoryName="sandbox-web")
    with pytest.raises(ClientError, match=r"NotImplemented.*get_download_url_for_layer"):
        ecr.get_download_url_for_layer(
            repositoryName="sandbox-web", layerDigest=f"sha256:{'0' * 64}"
        )


def test_alarms_are_those_of_the_templates_in_the_states_of_the_world(still: Served) -> None:
    cloudwatch = still.client("cloudwatch")

    def alarms() -> dict[str, Values]:
        pages = cloudwatch.get_paginator("describe_alarms").paginate()
        return {one["AlarmName"]: one for page in pages for one in page["MetricAlarms"]}

    found = alarms()
    assert set(found) == {
        still.world.stacks.physical(one)
        for one in still.world.stacks.of_type("AWS::CloudWatch::Alarm")
    }
    assert {one["StateValue"] for one in found.values()} == {"OK"}
    (errors,) = (name for name in found if name.startswith("Sandbox-Web-Errors"))
    still.world.state.alarms = {errors}
    assert alarms()[errors]["StateValue"] == "ALARM"
    still.world.state.alarms = set()
    assert alarms()[errors]["StateValue"] == "OK"
    (math,) = (one for name, one in found.items() if "InstancesMissing" in name)
    assert math["Metrics"]


def test_moto_answers_for_what_nobody_plays(served: Served) -> None:
    assert served.client("sts").get_caller_identity()["Account"] == ACCOUNT
    served.client("s3").create_bucket(Bucket="mine")
    assert [one["Name"] for one in served.client("s3").list_buckets()["Buckets"]] == ["mine"]
    assert served.client("kms").list_keys()["Keys"] == []
    tagged = served.client("resourcegroupstaggingapi").get_resources()["ResourceTagMappingList"]
    assert any(":log-group:Sandbox-Web" in one["ResourceARN"] for one in tagged)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("batch", "describe_job_queues"),
        ("dynamodb", "list_tables"),
        ("events", "list_rules"),
        ("iam", "list_roles"),
        ("lambda", "list_functions"),
        ("route53", "list_hosted_zones"),
        ("sns", "list_topics"),
    ],
)
def test_a_service_that_nobody_needs_is_refused_by_its_name(
    served: Served, service: str, operation: str
) -> None:
    words = rf"NotImplemented.*does not play the service {service}; it answers for .*, ecs,"
    with pytest.raises(ClientError, match=words):
        getattr(served.client(service), operation)()


@pytest.mark.usefixtures("idle")
def test_moto_would_start_no_container_if_it_were_asked() -> None:
    assert isinstance(awslambda(ACCOUNT, REGION), LambdaSimpleBackend)
    batch = BatchResponse()
    batch.region, batch.current_account = REGION, ACCOUNT
    assert isinstance(batch.batch_backend, BatchSimpleBackend)


def test_a_new_assembly_s_log_groups_are_there_when_it_is_applied(served: Served) -> None:
    backend = logs_backends[ACCOUNT][REGION]
    backend.groups.clear()
    with served.world.lock:
        graph = served.world.graph
        served.world.apply(type(graph)(graph.stacks))
    assert served.client("logs").describe_log_groups()["logGroups"]
