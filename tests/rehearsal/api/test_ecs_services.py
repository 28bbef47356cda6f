"""Services: what is asked of the API happens to the real thing."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, WaiterError

from rehearsal.declared import Declared
from tests.rehearsal.acting import steady, tick_until, until
from tests.rehearsal.api.conftest import Served

QUICK = {"Delay": 0, "MaxAttempts": 400}


def test_a_new_task_definition_rolls_out_and_the_waiter_sees_its_end(served: Served) -> None:
    ecs, before = served.ecs, served.tasks(serviceName=served.service)
    now = served.described()["taskDefinition"]
    definition = ecs.describe_task_definition(taskDefinition=now)["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    new = ecs.register_task_definition(
        family=definition["family"],
        networkMode=definition["networkMode"],
        containerDefinitions=[container | {"stopTimeout": 7}],
    )["taskDefinition"]["taskDefinitionArn"]
    assert new != now
    answer = ecs.update_service(cluster=served.cluster, service=served.service, taskDefinition=new)[
        "service"
    ]
    first, second = answer["deployments"]
    assert (first["status"], first["rolloutState"], first["taskDefinition"]) == (
        "PRIMARY", "IN_PROGRESS", new,
    )  # fmt: skip
    assert (second["status"], second["rolloutState"]) == ("ACTIVE", "COMPLETED")
    ecs.get_waiter("services_stable").wait(
        cluster=served.cluster, services=[served.service], WaiterConfig=QUICK
    )
    until(lambda: steady(served.world))
    (only,) = served.described()["deployments"]
    assert (only["rolloutState"], only["runningCount"]) == ("COMPLETED", 2)
    assert not set(before) & set(served.tasks(serviceName=served.service))


def test_a_desired_count_scales(served: Served) -> None:
    served.ecs.update_service(cluster=served.cluster, service=served.service, desiredCount=4)
    until(lambda: served.described()["runningCount"] == 4)
    served.ecs.update_service(cluster=served.cluster, service=served.service, desiredCount=2)
    until(lambda: served.described()["runningCount"] == 2)
    assert len(served.described()["deployments"]) == 1


def test_forcing_a_deployment_replaces_tasks_of_the_same_definition(served: Served) -> None:
    before = served.tasks(serviceName=served.service)
    served.ecs.update_service(
        cluster=served.cluster, service=served.service, forceNewDeployment=True
    )
    until(lambda: steady(served.world))
    assert not set(before) & set(served.tasks(serviceName=served.service))


def test_a_service_that_the_api_creates_runs_and_ends(served: Served) -> None:
    ecs, definition = served.ecs, served.register("made")
    created = ecs.create_service(
        cluster=served.cluster,
        serviceName="made",
        taskDefinition="made",
        desiredCount=2,
        tags=[{"key": "team", "value": "blue"}],
    )["service"]
    assert created["capacityProviderStrategy"]
    assert created["taskDefinition"] == definition
    ecs.get_waiter("services_stable").wait(
        cluster=served.cluster, services=["made"], WaiterConfig=QUICK
    )
    with pytest.raises(ClientError, match="cannot be stopped while it is scaled above 0"):
        ecs.delete_service(cluster=served.cluster, service="made")
    ended = ecs.delete_service(cluster=served.cluster, service="made", force=True)["service"]
    assert ended["status"] == "DRAINING"
    assert ended["serviceArn"] not in ecs.list_services(cluster=served.cluster)["serviceArns"]
    ecs.get_waiter("services_inactive").wait(
        cluster=served.cluster, services=["made"], WaiterConfig=QUICK
    )
    assert served.described("made")["deployments"] == []
    assert not served.tasks(serviceName="made")
    with pytest.raises(ClientError, match=r"ServiceNotActive.*Service was not ACTIVE\."):
        ecs.update_service(cluster=served.cluster, service="made", desiredCount=1)
    left = ecs.list_services(cluster=served.cluster)["serviceArns"]
    assert sorted(one.rpartition("/")[2] for one in left) == sorted(served.services)


def test_creating_the_same_service_again_gives_it_and_another_is_refused(served: Served) -> None:
    served.register("made")
    wanted = {
        "cluster": served.cluster,
        "serviceName": "made",
        "taskDefinition": "made",
        "desiredCount": 1,
    }
    first = served.ecs.create_service(**wanted)["service"]
    again = served.ecs.create_service(**wanted)["service"]
    assert first["createdAt"] == again["createdAt"]
    with pytest.raises(ClientError, match=r"Creation of service was not idempotent\."):
        served.ecs.create_service(**wanted | {"desiredCount": 2})


def test_a_client_token_makes_a_second_call_do_nothing(served: Served) -> None:
    served.register("made")
    wanted = {
        "cluster": served.cluster,
        "taskDefinition": "made",
        "clientToken": "once",
    }
    first = served.ecs.run_task(**wanted)["tasks"]
    assert served.ecs.run_task(**wanted)["tasks"][0]["taskArn"] == first[0]["taskArn"]
    assert len(served.tasks(family="made")) == 1
    with pytest.raises(ClientError, match="ConflictException"):
        served.ecs.run_task(**wanted, count=2)


def test_a_client_token_is_forgotten_after_a_day(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.register("made")
    wanted = {"cluster": served.cluster, "taskDefinition": "made", "clientToken": "once"}
    (first,) = served.ecs.run_task(**wanted)["tasks"]
    account = served.server.application.account
    monkeypatch.setattr(account, "now", lambda: served.world.clock.now() + 24 * 3600 + 1)
    (second,) = served.ecs.run_task(**wanted)["tasks"]
    assert second["taskArn"] != first["taskArn"]
    assert list(account.tokens) == [("RunTask", "once")]


def test_a_failing_deployment_is_told_and_rolled_back(served: Served) -> None:
    ecs, now = served.ecs, served.described()["taskDefinition"]
    definition = ecs.describe_task_definition(taskDefinition=now)["taskDefinition"]
    (container,) = definition["containerDefinitions"]
    broken = ecs.register_task_definition(
        family=definition["family"],
        networkMode=definition["networkMode"],
        containerDefinitions=[container | {"image": "broken:1"}],
    )["taskDefinition"]["taskDefinitionArn"]
    ecs.update_service(cluster=served.cluster, service=served.service, taskDefinition=broken)
    until(lambda: served.world.outcome(0) == "rolled-back")
    found = served.described()
    (primary,) = (one for one in found["deployments"] if one["status"] == "PRIMARY")
    assert (primary["taskDefinition"], found["taskDefinition"]) == (now, now)
    newest = max(
        ecs.list_service_deployments(cluster=served.cluster, service=served.service)[
            "serviceDeployments"
        ],
        key=lambda one: one["createdAt"],
    )
    assert newest["status"] == "ROLLBACK_SUCCESSFUL"
    (whole,) = ecs.describe_service_deployments(
        serviceDeploymentArns=[newest["serviceDeploymentArn"]]
    )["serviceDeployments"]
    assert whole["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    assert whole["rollback"]["serviceRevisionArn"]
    (revision,) = ecs.describe_service_revisions(
        serviceRevisionArns=[newest["targetServiceRevisionArn"]]
    )["serviceRevisions"]
    assert revision["taskDefinition"] == broken
    messages = [one["message"] for one in found["events"]]
    assert any("deployment failed: tasks failed to start." in one for one in messages)
    stopped = ecs.describe_tasks(
        cluster=served.cluster, tasks=served.tasks(desiredStatus="STOPPED")
    )["tasks"]
    assert "CannotPullContainerError: it is broken" in {one["stoppedReason"] for one in stopped}


def test_stopping_a_deployment_goes_back_to_the_last_that_completed(still: Served) -> None:
    ecs, now = still.ecs, still.described()["taskDefinition"]
    # Without a tick, the deployment stands where it began.
    service = ecs.update_service(
        cluster=still.cluster, service=still.service, forceNewDeployment=True
    )["service"]
    arn = service["currentServiceDeployment"]
    assert ecs.stop_service_deployment(serviceDeploymentArn=arn)["serviceDeploymentArn"] == arn
    tick_until(still.world, lambda: still.world.outcome(0) == "rolled-back")
    (whole,) = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"]
    assert whole["status"] == "ROLLBACK_SUCCESSFUL"
    assert still.described()["taskDefinition"] == now
    with pytest.raises(ClientError, match="ConflictException"):
        ecs.stop_service_deployment(serviceDeploymentArn=arn)
    with pytest.raises(ClientError, match="ServiceDeploymentNotFoundException"):
        ecs.stop_service_deployment(serviceDeploymentArn=arn + "x")


def test_events_are_the_newest_first_and_no_more_than_a_hundred(still: Served) -> None:
    service = still.world.state.services[still.service]
    for number in range(150):
        service.events.appendleft(type(service.events[0])(1000.0 + number, f"event {number}"))
    events = still.described()["events"]
    assert [one["message"] for one in events[:2]] == ["event 149", "event 148"]
    assert len(events) == 100
    assert len({one["id"] for one in events}) == 100


def test_more_than_ten_services_at_once_are_refused(served: Served) -> None:
    names = [f"service-{number}" for number in range(11)]
    with pytest.raises(ClientError, match=r"service names can have at most 10 items\."):
        served.ecs.describe_services(cluster=served.cluster, services=names)
    found = served.ecs.describe_services(cluster=served.cluster, services=names[:10])
    assert {one["reason"] for one in found["failures"]} == {"MISSING"}


def test_services_come_ten_a_page_and_each_once(still: Served) -> None:
    still.register("many")
    for number in range(23):
        still.ecs.create_service(
            cluster=still.cluster, serviceName=f"s{number}", taskDefinition="many", desiredCount=0
        )
    pages = list(still.ecs.get_paginator("list_services").paginate(cluster=still.cluster))
    assert [len(one["serviceArns"]) for one in pages] == [10, 10, 5]
    arns = [arn for one in pages for arn in one["serviceArns"]]
    assert len(set(arns)) == 25
    with pytest.raises(ClientError, match="maxResults must be between 1 and 100"):
        still.ecs.list_services(cluster=still.cluster, maxResults=101)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"service": "nobody"}, r"ServiceNotFoundException.*Service not found\."),
        ({"cluster": "other"}, r"ClusterNotFoundException.*Cluster not found\."),
        ({"taskDefinition": "nothing"}, r"ClientException.*TaskDefinition not found\."),
        ({"taskDefinition": "old"}, r"ClientException.*TaskDefinition is inactive"),
        ({"taskDefinition": "privileged"}, r"ClientException.*Privileged: refused"),
        ({"taskDefinition": "mounting"}, r"ClientException.*host's path '/etc'"),
        ({"capacityProviderStrategy": [{"capacityProvider": "no"}]}, "'no' was not found"),
        ({"desiredCount": -1}, "desiredCount must be"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "UnsupportedFeature.*others than ECS"),
        (
            {
                "serviceConnectConfiguration": {
                    "enabled": True,
                    "namespace": "n",
                    "services": [{"portName": "none"}],
                }
            },
            "expected the name of a port mapping, one of .*, got 'none'",
        ),
    ],
)
def test_what_cannot_be_updated_is_refused_in_words(
    served: Served, asked: dict[str, object], words: str
) -> None:
    old = served.register("old")
    served.ecs.deregister_task_definition(taskDefinition=old)
    web = {"name": "web", "portMappings": [{"containerPort": 8080}], "image": "a:1", "memory": 32}
    mount = {"mountPoints": [{"sourceVolume": "etc", "containerPath": "/etc"}]}
    served.ecs.register_task_definition(
        family="privileged", containerDefinitions=[web | {"privileged": True}]
    )
    served.ecs.register_task_definition(
        family="mounting",
        volumes=[{"name": "etc", "host": {"sourcePath": "/etc"}}],
        containerDefinitions=[web | mount],
    )
    if asked.get("taskDefinition") == "old":
        asked = {"taskDefinition": old}
    wanted = {"cluster": served.cluster, "service": served.service, **asked}
    with pytest.raises(ClientError, match=words):
        served.ecs.update_service(**wanted)
    assert len(served.described()["deployments"]) == 1


def test_a_waiter_fails_for_a_service_that_is_not_there(served: Served) -> None:
    with pytest.raises(WaiterError):
        served.ecs.get_waiter("services_stable").wait(
            cluster=served.cluster, services=["nobody"], WaiterConfig=QUICK
        )


def test_a_service_of_another_cluster_is_named_as_such(served: Served) -> None:
    arn = served.described()["serviceArn"].replace(served.cluster, "elsewhere")
    with pytest.raises(ClientError, match="Identifier is for cluster elsewhere"):
        served.ecs.describe_services(cluster=served.cluster, services=[arn])


def test_without_a_namespace_of_the_cluster_a_service_must_name_one(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"cluster": served.cluster, "service": served.service}
    served.ecs.update_service(**asked, serviceConnectConfiguration={"enabled": True})
    monkeypatch.setattr(Declared, "default_namespace", lambda _: "")
    with pytest.raises(ClientError, match="needs a namespace"):
        served.ecs.update_service(**asked, serviceConnectConfiguration={"enabled": True})


def test_a_service_offers_a_name_to_those_of_its_namespace(still: Served) -> None:
    ecs, world = still.ecs, still.world
    still.register(
        "offering", portMappings=[{"name": "http", "containerPort": 8080, "appProtocol": "http"}]
    )
    offered = {"portName": "http", "clientAliases": [{"port": 8081, "dnsName": "jokes"}]}
    connect = {"enabled": True, "namespace": "sandbox", "services": [offered]}
    (quotes,) = world.offered("sandbox")
    assert (quotes.name, quotes.port) == ("quotes", 8080)
    created = ecs.create_service(
        cluster=still.cluster, serviceName="server", taskDefinition="offering", desiredCount=1,
        serviceConnectConfiguration=connect,
    )["service"]  # fmt: skip
    (deployment,) = created["deployments"]
    assert deployment["serviceConnectConfiguration"] == connect
    tick_until(world, lambda: steady(world))
    (endpoint,) = (one for one in world.offered("sandbox") if one != quotes)
    assert (endpoint.name, endpoint.port) == ("jokes", 8081)
    ecs.create_service(
        cluster=still.cluster, serviceName="client", taskDefinition="offering", desiredCount=1,
        serviceConnectConfiguration={"enabled": True, "namespace": "sandbox"},
    )  # fmt: skip
    tick_until(world, lambda: steady(world))
    names = {
        str(world.tasks[one.id].group): one.options["main"]
        for one in still.agent.running.values()
        if "main" in one.options
    }
    both = ["--add-host=jokes:127.0.0.1", "--add-host=quotes:127.0.0.1"]
    assert names == {"service:server": both, "service:client": both}
    # Who was there before an endpoint does not know it; who is of another namespace never does.
    (web,) = {
        tuple(one.options["web"]) for one in still.agent.running.values() if "web" in one.options
    }
    assert web == ("--add-host=quotes:127.0.0.1",)
    listed = ecs.list_services_by_namespace(namespace="sandbox")["serviceArns"]
    assert sorted(one.rpartition("/")[2] for one in listed) == sorted(
        [*still.services, "client", "server"]
    )
    ecs.update_service(
        cluster=still.cluster, service="client",
        serviceConnectConfiguration={"enabled": False},
    )  # fmt: skip
    assert len(still.described("client")["deployments"]) == 2
    tick_until(world, lambda: steady(world))
    ecs.delete_service(cluster=still.cluster, service="server", force=True)
    assert world.offered("sandbox") == [quotes]
