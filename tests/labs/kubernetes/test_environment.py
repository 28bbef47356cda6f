"""An environment becomes manifests, all of which a cluster would take."""

from __future__ import annotations

from typing import Any

import pytest

import templates
from labs.kubernetes.environment import Service, translate
from labs.kubernetes.notes import NO_COUNTERPART
from tests.conftest import Assembly
from tests.labs.conftest import Edited, changed, container_of, pod_of, service_of, task_of
from tests.labs.kubernetes.schemas import accepted

KINDS = [
    "ServiceAccount", "Service", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget",
    "Ingress",
]  # fmt: skip


@pytest.mark.parametrize("name", ["sandbox", "production"])
def test_every_manifest_of_an_environment_is_one_that_the_schemas_take(
    graph: templates.Graph, name: str
) -> None:
    environment = translate(graph, name)
    for service in environment.services:
        accepted(service.manifests)
    assert [one["kind"] for one in environment.service("web").manifests] == KINDS


@pytest.mark.parametrize("name", ["bluegreen", "canary", "linear", "prefixed"])
def test_so_is_every_manifest_of_every_other_value_of_the_settings(
    variants: Assembly, name: str
) -> None:
    for service in translate(templates.read(variants.directory), name).services:
        accepted(service.manifests)


def test_each_service_of_an_environment_has_its_own(added: Assembly) -> None:
    environment = translate(templates.read(added.directory), "sandbox")
    assert [one.name for one in environment.services] == ["quotes", "monolith", "web"]
    for service in environment.services:
        accepted(service.manifests)
    # Nobody outside reaches quotes, but the others do by its name.
    assert "Ingress" not in [one["kind"] for one in environment.service("quotes").manifests]
    assert environment.service("quotes").manifest("Service")["metadata"]["name"] == "quotes"
    web, monolith = (environment.service(one).manifest("Ingress") for one in ("web", "monolith"))
    order = "alb.ingress.kubernetes.io/group.order"
    assert int(web["metadata"]["annotations"][order]) < int(
        monolith["metadata"]["annotations"][order]
    )
    group = "alb.ingress.kubernetes.io/group.name"
    assert monolith["metadata"]["annotations"][group] == web["metadata"]["annotations"][group]
    found = [one.manifest("Deployment")["spec"]["selector"] for one in environment.services]
    assert all(one not in found[:place] for place, one in enumerate(found))


def test_a_service_without_a_load_balancer_answers_under_its_service_connect_name(
    edited: Edited,
) -> None:
    service = edited(without_balancer)
    accepted(service.manifests)
    assert [one["kind"] for one in service.manifests] == KINDS[:-1]
    ports = service.manifest("Service")["spec"]["ports"]
    assert ports == [{"name": "api", "port": 9000, "targetPort": "api", "protocol": "TCP"}]
    assert service.manifest("Service")["metadata"]["name"] == "quotes"
    assert pod_of(service)["containers"][0]["readinessProbe"]["exec"]
    assert "lifecycle" not in pod_of(service)["containers"][0]
    assert pod_of(service)["terminationGracePeriodSeconds"] == 30


def without_balancer(resources: dict[str, Any]) -> None:
    container_of(resources)["PortMappings"][0]["Name"] = "api"
    service = service_of(resources)
    del service["LoadBalancers"]
    service["ServiceConnectConfiguration"] = {
        "Enabled": True,
        "Namespace": "sandbox",
        "Services": [{"PortName": "api", "ClientAliases": [{"DnsName": "quotes", "Port": 9000}]}],
    }


def test_what_the_manifests_select_never_changes_with_the_image(web: Service) -> None:
    deployment = web.manifest("Deployment")
    assert deployment["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "web",
        "app.kubernetes.io/instance": "sandbox-web",
    }
    shown = deployment["spec"]["template"]["metadata"]["labels"]
    image = pod_of(web)["containers"][0]["image"]
    assert image.rpartition(":")[2].startswith(shown["app.kubernetes.io/version"])


def test_what_the_services_share_is_said_once(graph: templates.Graph) -> None:
    environment = translate(graph, "sandbox")
    notes = {one.place: one for one in environment.notes}
    assert notes["sandbox.ECS_TASK_PIDS_LIMIT"].kind == NO_COUNTERPART
    assert "128" in str(notes["sandbox.ECS_TASK_PIDS_LIMIT"])
    assert "sandbox.CapacityProvider" in notes


def test_an_environment_or_a_service_that_is_not_there_is_refused_by_name(
    graph: templates.Graph,
) -> None:
    with pytest.raises(templates.TemplateError, match=r"nowhere: expected .* production, sandbox"):
        translate(graph, "nowhere")
    with pytest.raises(
        templates.TemplateError, match=r"jokes: expected a service of sandbox.* quotes, web"
    ):
        translate(graph, "sandbox").service("jokes")


def test_two_services_of_one_name_are_refused(added: Assembly) -> None:
    def change(resources: dict[str, Any]) -> None:
        container_of(resources)["Name"] = "web"
        service_of(resources)["LoadBalancers"][0]["ContainerName"] = "web"

    graph = changed(templates.read(added.directory), "Sandbox/Monolith", change)
    # Of the two it is the one that is read later.
    with pytest.raises(templates.TemplateError, match=r"Web.*which another service has too"):
        translate(graph, "sandbox")


def test_what_the_scheduler_cannot_read_is_an_error_of_the_template(edited: Edited) -> None:
    def change(resources: dict[str, Any]) -> None:
        task_of(resources)["Cpu"] = "half"

    with pytest.raises(templates.TemplateError, match=r"sandbox: expected what ECS takes.*half"):
        edited(change)


def test_every_property_of_a_task_definition_is_translated_or_spoken_of(edited: Edited) -> None:
    def change(resources: dict[str, Any]) -> None:
        container_of(resources)["NeverHeardOf"] = {"a": 1}
        task_of(resources)["NorOfThis"] = "b"
        service_of(resources)["NorThis"] = "c"

    places = {one.place for one in edited(change).notes if one.kind == NO_COUNTERPART}
    assert {"web.web.NeverHeardOf", "web.NorOfThis", "web.NorThis"} <= places
