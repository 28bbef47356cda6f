"""A task definition becomes a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from labs.kubernetes.environment import Service
from labs.kubernetes.pods import cpu, escaped
from templates import TemplateError
from tests.labs.conftest import Edited, container_of, pod_of, said, service_of, task_of
from tests.labs.kubernetes.schemas import accepted

Values = dict[str, Any]


def container(service: Service) -> Values:
    (found,) = pod_of(service)["containers"]
    value: Values = found
    return value


def test_the_image_is_the_one_that_is_built_here(web: Service) -> None:
    repository, _, tag = container(web)["image"].partition(":")
    assert (repository, len(tag)) == ("sandbox-web", 64)
    assert "registry" in said(web, "web.Image")


def test_a_name_that_only_a_deployment_knows_is_no_image(edited: Edited) -> None:
    def change(resources: Values) -> None:
        container_of(resources)["Image"] = {"Ref": "AWS::StackId"}

    with pytest.raises(TemplateError, match=r"web\.Image: expected a name known before"):
        edited(change)


@pytest.mark.parametrize(("units", "expected"), [(256, "250m"), (1024, "1000m"), (1, "1m")])
def test_cpu_units_are_thousandths_of_a_cpu(units: int, expected: str) -> None:
    assert cpu(units) == expected


def test_cpu_is_asked_for_and_not_limited_and_memory_is_both(edited: Edited) -> None:
    def change(resources: Values) -> None:
        for name in ("Cpu", "Memory"):
            del task_of(resources)[name]

    assert container(edited(change))["resources"] == {
        "requests": {"cpu": "250m", "memory": "96Mi"},
        "limits": {"memory": "128Mi"},
    }


def test_a_task_of_a_size_is_limited_to_it(web: Service) -> None:
    limits = container(web)["resources"]["limits"]
    assert limits == {"cpu": "500m", "memory": "128Mi"}


def test_privileges_are_those_of_the_task_definition(web: Service) -> None:
    assert container(web)["securityContext"] == {
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "runAsNonRoot": True,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = pod_of(web)
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_privileges_that_are_asked_for_are_carried_over_too(edited: Edited) -> None:
    def change(resources: Values) -> None:
        container_of(resources).update({"Privileged": True, "User": "node"})
        container_of(resources)["LinuxParameters"]["Capabilities"]["Add"] = ["NET_ADMIN"]

    service = edited(change)
    found = container(service)["securityContext"]
    assert found["privileged"] is True
    assert found["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert "runAsUser" not in found
    assert "securityContext" not in pod_of(service)
    assert "no counterpart: web.web.User" in said(service, "web.User")


def test_a_tmpfs_is_memory_of_the_same_size(web: Service) -> None:
    (volume,) = pod_of(web)["volumes"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "64Mi"}
    assert container(web)["volumeMounts"] == [{"name": volume["name"], "mountPath": "/tmp"}]
    assert "noexec" in said(web, "web.LinuxParameters.Tmpfs")


def test_volumes_of_the_task_are_the_pods_and_others_are_left_out_and_said(edited: Edited) -> None:
    def change(resources: Values) -> None:
        task_of(resources)["Volumes"] = [
            {"Name": "scratch", "DockerVolumeConfiguration": {"Scope": "task"}},
            {"Name": "host", "Host": {"SourcePath": "/var/cache"}},
            {"Name": "files", "EFSVolumeConfiguration": {"FilesystemId": "fs-1"}},
        ]
        container_of(resources)["MountPoints"] = [
            {"SourceVolume": "scratch", "ContainerPath": "/scratch"},
            {"SourceVolume": "host", "ContainerPath": "/host", "ReadOnly": True},
            {"SourceVolume": "files", "ContainerPath": "/files"},
        ]

    service = edited(change)
    accepted(service.manifests)
    assert pod_of(service)["volumes"][1:] == [
        {"name": "scratch", "emptyDir": {}},
        {"name": "host", "hostPath": {"path": "/var/cache"}},
    ]
    assert container(service)["volumeMounts"][1:] == [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "host", "mountPath": "/host", "readOnly": True},
    ]
    assert "PersistentVolumeClaim" in said(service, "Volumes.files")


def test_commands_and_variables_are_not_expanded(edited: Edited) -> None:
    def change(resources: Values) -> None:
        said = {"EntryPoint": ["sh", "-c"], "Command": ["echo $(PORT) $HOME"]}
        container_of(resources).update(said)
        container_of(resources)["Environment"] = [{"Name": "SAID", "Value": "$(PORT)"}]

    found = container(edited(change))
    assert (found["command"], found["args"]) == (["sh", "-c"], ["echo $$(PORT) $HOME"])
    assert found["env"] == [{"name": "SAID", "value": "$$(PORT)"}]
    assert escaped("plain $ and $$") == "plain $ and $$"


def test_secrets_and_values_of_a_deployment_are_references_to_what_you_must_create(
    edited: Edited,
) -> None:
    def change(resources: Values) -> None:
        container_of(resources)["Secrets"] = [{"Name": "KEY", "ValueFrom": "arn:aws:x:quotes-key"}]
        container_of(resources)["Environment"] = [
            {"Name": "STACK", "Value": {"Ref": "AWS::StackId"}}
        ]

    service = edited(change)
    assert container(service)["env"] == [
        {"name": "STACK", "valueFrom": {"configMapKeyRef": {"name": "web", "key": "STACK"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "web", "key": "KEY"}}},
    ]
    assert said(service, "web.Secrets.KEY").startswith("yours to create")
    assert "quotes-key" in said(service, "web.Secrets.KEY")
    assert said(service, "web.Environment.STACK").startswith("yours to create")


def test_the_health_check_is_the_liveness_probe_and_its_start_period_a_startup_probe(
    web: Service,
) -> None:
    asked = {
        "exec": {"command": ["python", "-m", "dock.probe"]},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
    }
    assert container(web)["livenessProbe"] == {**asked, "failureThreshold": 3}
    # 10 s of grace are one check, and then three may fail as ever.
    assert container(web)["startupProbe"] == {**asked, "failureThreshold": 4}
    assert "restarts" in said(web, "web.HealthCheck")


def test_a_health_check_with_a_shell_has_a_shell_and_one_that_is_none_has_no_probe(
    edited: Edited,
) -> None:
    def shell(resources: Values) -> None:
        container_of(resources)["HealthCheck"] = {"Command": ["CMD-SHELL", "exit 0"]}

    def none(resources: Values) -> None:
        container_of(resources)["HealthCheck"] = {"Command": ["NONE"]}

    probe = container(edited(shell))["livenessProbe"]
    assert probe == {
        "exec": {"command": ["/bin/sh", "-c", "exit 0"]},
        "periodSeconds": 30,
        "timeoutSeconds": 5,
        "failureThreshold": 3,
    }
    assert "livenessProbe" not in container(edited(none))


def test_the_balancers_health_check_is_the_readiness_probe(web: Service) -> None:
    assert container(web)["readinessProbe"] == {
        "httpGet": {"path": "/health/ready", "port": "http"},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
        "successThreshold": 2,
        "failureThreshold": 3,
    }
    assert "200 to 399" in said(web, "TargetsPrimary")


def test_a_pod_serves_through_the_deregistration_delay_and_then_has_its_stop_timeout(
    web: Service,
) -> None:
    assert container(web)["lifecycle"] == {"preStop": {"sleep": {"seconds": 30}}}
    assert pod_of(web)["terminationGracePeriodSeconds"] == 30 + 30


def test_the_architecture_selects_the_nodes(web: Service, edited: Edited) -> None:
    assert pod_of(web)["nodeSelector"] == {"kubernetes.io/arch": "amd64"}

    def change(resources: Values) -> None:
        task_of(resources)["PlacementConstraints"] = [
            {"Type": "memberOf", "Expression": "attribute:rack == a"}
        ]

    service = edited(change)
    assert "nodeSelector" not in pod_of(service)
    assert "rack" in said(service, "PlacementConstraints")


def test_containers_that_others_wait_for_start_before_them(edited: Edited) -> None:
    def change(resources: Values) -> None:
        image = container_of(resources)["Image"]
        check = {"Command": ["CMD", "true"], "StartPeriod": 5}
        container_of(resources)["DependsOn"] = [
            {"ContainerName": "proxy", "Condition": "HEALTHY"},
            {"ContainerName": "migrate", "Condition": "SUCCESS"},
        ]
        task_of(resources)["ContainerDefinitions"] += [
            {"Name": "migrate", "Image": image, "Essential": False,
             "DependsOn": [{"ContainerName": "proxy", "Condition": "START"}]},
            {"Name": "proxy", "Image": image, "HealthCheck": check, "StopTimeout": 7},
        ]  # fmt: skip

    service = edited(change)
    accepted(service.manifests)
    pod = pod_of(service)
    proxy, migrate = pod["initContainers"]
    assert (proxy["name"], proxy["restartPolicy"]) == ("proxy", "Always")
    assert proxy["startupProbe"]["exec"] == {"command": ["true"]}
    assert "lifecycle" not in proxy
    assert (migrate["name"], migrate.get("restartPolicy")) == ("migrate", None)
    assert [one["name"] for one in pod["containers"]] == ["web"]
    assert pod["terminationGracePeriodSeconds"] == 30 + 30 + 7
    assert "no counterpart: web.ScalingPolicy" in said(service, "ScalingPolicy")


@pytest.mark.parametrize(
    ("depends", "expected"),
    [
        ({"ContainerName": "nobody", "Condition": "START"}, "ContainerName: .* got 'nobody'"),
        ({"ContainerName": "web", "Condition": "SOON"}, "Condition: expected START, HEALTHY"),
        ({"ContainerName": "web", "Condition": "START"}, "expected an order of starting"),
    ],
)
def test_an_order_that_cannot_be_is_refused(edited: Edited, depends: Values, expected: str) -> None:
    def change(resources: Values) -> None:
        container_of(resources)["DependsOn"] = [depends]

    with pytest.raises(TemplateError, match=expected):
        edited(change)


def test_two_containers_of_a_pod_cannot_have_the_same_port(edited: Edited) -> None:
    def change(resources: Values) -> None:
        other = {"Name": "other", "Image": "other", "PortMappings": [{"ContainerPort": 8080}]}
        task_of(resources)["ContainerDefinitions"].append(other)

    with pytest.raises(TemplateError, match="got 8080, which web has too"):
        edited(change)


def test_a_port_of_the_host_is_kept_only_where_it_is_one(edited: Edited) -> None:
    def change(resources: Values) -> None:
        container_of(resources)["PortMappings"][0] |= {"HostPort": 80, "Name": "a_name_too_long"}

    (port,) = container(edited(change))["ports"]
    assert port == {"name": "http", "containerPort": 8080, "protocol": "TCP", "hostPort": 80}


@pytest.mark.parametrize(
    "place",
    [
        "web.LinuxParameters.InitProcessEnabled", "web.Ulimits", "web.LogConfiguration",
        "ExecutionRoleArn", "TaskRoleArn", "NetworkMode", "web.Essential", "web.MemoryReservation",
    ],
)  # fmt: skip
def test_what_the_pod_cannot_say_is_said_beside_it(web: Service, place: str) -> None:
    assert said(web, place)


def test_without_a_port_that_the_balancer_asks_there_is_no_pod(edited: Edited) -> None:
    def change(resources: Values) -> None:
        service_of(resources)["LoadBalancers"][0]["ContainerPort"] = 9

    with pytest.raises(TemplateError, match=r"PortMappings: .* \(web 8080\), got web 9"):
        edited(change)
