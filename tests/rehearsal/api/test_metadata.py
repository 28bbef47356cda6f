"""What a container learns of itself, from the endpoint and from the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dock import identity

from rehearsal.api import metadata_file
from tests.rehearsal.api.conftest import Served
from tests.rehearsal.api.test_application import ask

Values = dict[str, Any]


def document(served: Served, path: str) -> tuple[int, Values]:
    status, _, body = ask(served.server.port, {}, method="GET", path=path, body=b"")
    return status, json.loads(body)


def a_task(served: Served) -> str:
    return served.tasks(serviceName=served.service)[0].rpartition("/")[2]


def test_a_container_learns_what_it_is(served: Served) -> None:
    task = a_task(served)
    status, found = document(served, f"/v4/{task}-web")
    assert status == 200
    record = served.world.tasks[task]
    assert found["DockerId"] == record.containers["web"].runtime_id
    assert (found["Name"], found["KnownStatus"]) == ("web", "RUNNING")
    assert found["Labels"]["com.amazonaws.ecs.task-arn"] == record.arn
    assert found["Limits"] == {"CPU": 256, "Memory": 128}
    (port,) = record.host_ports.values()
    first, last = served.agent.settings.host_ports
    assert first <= port <= last
    assert found["Ports"] == [
        {"ContainerPort": 8080, "Protocol": "tcp", "HostPort": port, "HostIp": "0.0.0.0"}
    ]
    assert found["Networks"] == [{"NetworkMode": "bridge", "IPv4Addresses": [record.address]}]
    assert found["LogOptions"]["awslogs-group"].startswith("Sandbox-Web-Logs")
    assert found["StartedAt"].endswith("Z")


def test_a_task_learns_its_service_zone_and_containers(served: Served) -> None:
    task = a_task(served)
    _, found = document(served, f"/v4/{task}-web/task")
    record = served.world.tasks[task]
    assert found["TaskARN"] == record.arn
    assert (found["ServiceName"], found["AvailabilityZone"]) == (served.service, record.zone)
    assert (found["Family"], found["Revision"]) == (record.definition.family, "1")
    # Of the task as a whole: half a CPU, and what the proxy takes on top.
    assert found["Limits"] == {"CPU": 0.5, "Memory": 192}
    assert (found["LaunchType"], found["Cluster"]) == ("EC2", served.described()["clusterArn"])
    assert [one["Name"] for one in found["Containers"]] == ["web"]
    served.ecs.tag_resource(resourceArn=record.arn, tags=[{"key": "a", "value": "b"}])
    _, tagged = document(served, f"/v4/{task}-web/taskWithTags")
    assert (tagged["TaskTags"], tagged["ContainerInstanceTags"]) == ({"a": "b"}, {})


def test_a_container_learns_what_it_uses(served: Served) -> None:
    task = a_task(served)
    _, found = document(served, f"/v4/{task}-web/stats")
    assert found["memory_stats"]["usage"] == 48 << 20
    assert found["pids_stats"]["current"] == 3
    _, every = document(served, f"/v4/{task}-web/task/stats")
    assert list(every) == [found["id"]]
    # Docker's clients work the per cents out of two readings.
    cpu, before = found["cpu_stats"], found["precpu_stats"]
    used = cpu["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = cpu["system_cpu_usage"] - before["system_cpu_usage"]
    assert round(100 * used / passed * cpu["online_cpus"], 3) == 12.5


def test_nobody_else_s_container_and_no_other_document_is_there(served: Served) -> None:
    task = a_task(served)
    for path in (f"/v4/{task}-other", f"/v4/{'0' * 32}-web", f"/v4/{task}-web/nothing", "/v4/",
                 f"/v4/{task}-web/task/"):  # fmt: skip
        assert document(served, path)[0] == 404
    assert ask(served.server.port, {}, method="POST", path=f"/v4/{task}-web")[0] == 405
    other = {"Host": f"evil.example:{served.server.port}"}
    assert ask(served.server.port, other, method="GET", path=f"/v4/{task}-web")[0] == 403


def test_the_project_s_own_service_reads_all_of_it(served: Served, tmp_path: Path) -> None:
    task = a_task(served)
    record = served.world.tasks[task]
    file = tmp_path / "ecs-container-metadata.json"
    file.write_text(json.dumps(metadata_file(served.world, record, "web")))
    who, complete = identity.look(f"{served.endpoint}/v4/{task}-web", str(file))
    assert complete
    assert identity.UNKNOWN not in vars(who).values()
    assert (who.task_id, who.service, who.availability_zone) == (task, served.service, record.zone)
    assert (
        who.container_instance
        == served.ecs.describe_tasks(cluster=served.cluster, tasks=[task])["tasks"][0][
            "containerInstanceArn"
        ]
    )


def test_the_file_has_the_agent_s_keys_and_says_that_it_is_whole(served: Served) -> None:
    record = served.world.tasks[a_task(served)]
    found = metadata_file(served.world, record, "web")
    # Source: agent/containermetadata/types.go of github.com/aws/amazon-ecs-agent.
    assert set(found) == {
        "Cluster", "ContainerInstanceARN", "TaskARN", "TaskDefinitionFamily",
        "TaskDefinitionRevision", "ContainerID", "ContainerName", "DockerContainerName",
        "ImageID", "ImageName", "PortMappings", "Networks", "MetadataFileStatus",
        "AvailabilityZone", "HostPrivateIPv4Address",
    }  # fmt: skip
    assert found["MetadataFileStatus"] == "READY"
    (port,) = record.host_ports.values()
    assert found["PortMappings"] == [
        {"ContainerPort": 8080, "HostPort": port, "BindIp": "0.0.0.0", "Protocol": "tcp"}
    ]
