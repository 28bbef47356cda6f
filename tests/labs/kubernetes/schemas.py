"""What a cluster's API server would say: the official schemas, and what they leave to it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]

from labs.kubernetes.environment import KUBERNETES

Manifest = dict[str, Any]

LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
PORT = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
QUANTITY = re.compile(r"\d+(m|Mi)")


def accepted(manifests: Iterable[Manifest]) -> None:
    """Fail where a manifest is not one of the API's, in the newest and the oldest release named."""
    found = list(manifests)
    assert found
    for manifest in found:
        for version in KUBERNETES:
            assert kubernetes_validate.validate(manifest, version, strict=True) == version
        metadata = manifest["metadata"]
        assert LABEL.fullmatch(metadata["name"]), metadata["name"]
        for value in (metadata.get("labels") or {}).values():
            assert VALUE.fullmatch(value), value
    for deployment in (one for one in found if one["kind"] == "Deployment"):
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        rolling = deployment["spec"]["strategy"]["rollingUpdate"]
        assert rolling["maxSurge"] or rolling["maxUnavailable"]
        deadline = deployment["spec"].get("progressDeadlineSeconds", 600)
        assert deadline > deployment["spec"].get("minReadySeconds", 0)
        runs(template["spec"])
        _reached(found, deployment, labels)


def runs(spec: Manifest) -> None:
    """Fail where a Pod's specification contradicts itself."""
    volumes = [one["name"] for one in spec.get("volumes", [])]
    assert len(volumes) == len(set(volumes))
    assert all(LABEL.fullmatch(name) for name in volumes)
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    ports = [(one["name"], one["containerPort"]) for each in containers for one in _ports(each)]
    assert len({name for name, _ in ports}) == len(ports)
    assert all(PORT.fullmatch(name) and len(name) <= 15 for name, _ in ports), ports
    for container in containers:
        assert LABEL.fullmatch(container["name"])
        assert "${" not in container["image"]
        for mount in container.get("volumeMounts", []):
            assert mount["name"] in volumes
        for amounts in container.get("resources", {}).values():
            assert all(QUANTITY.fullmatch(amount) for amount in amounts.values()), amounts
        for probe in ("livenessProbe", "startupProbe"):
            assert container.get(probe, {}).get("successThreshold", 1) == 1
        get = container.get("readinessProbe", {}).get("httpGet")
        if get and isinstance(get["port"], str):
            assert get["port"] in {one["name"] for one in _ports(container)}
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert sleep < spec["terminationGracePeriodSeconds"]


def _reached(found: list[Manifest], deployment: Manifest, labels: Manifest) -> None:
    spec = deployment["spec"]["template"]["spec"]
    named = {one["name"] for each in spec["containers"] for one in _ports(each)}
    services = {one["metadata"]["name"]: one for one in found if one["kind"] == "Service"}
    for service in services.values():
        assert service["spec"]["selector"].items() <= labels.items()
        assert all(one["targetPort"] in named for one in service["spec"]["ports"])
    for manifest in found:
        if manifest["kind"] == "HorizontalPodAutoscaler":
            assert manifest["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
            assert "replicas" not in deployment["spec"]
        if manifest["kind"] == "PodDisruptionBudget":
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if manifest["kind"] == "ServiceAccount":
            assert manifest["metadata"]["name"] == spec["serviceAccountName"]
        if manifest["kind"] == "Ingress":
            for rule in manifest["spec"]["rules"]:
                for path in rule["http"]["paths"]:
                    backend = path["backend"]["service"]
                    ports = services[backend["name"]]["spec"]["ports"]
                    assert backend["port"]["number"] in {one["port"] for one in ports}


def _ports(container: Manifest) -> list[Manifest]:
    found: list[Manifest] = container.get("ports", [])
    return found
