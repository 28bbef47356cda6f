"""Makes a Pod of a service for `podman kube play`, with a sidecar that shares network and files.

On Kubernetes no ECS agent tells a container which task it is. The sidecar does, in the file that
the service reads on ECS (identify.py); it is a second container of the same image, which must have
Python. What Podman makes of the manifest was seen with Podman 4.3.1 on 2026-11-25.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from labs.kubernetes.environment import Service
from labs.kubernetes.notes import Note, Notes
from templates import TemplateError

Manifest = dict[str, Any]

SCRIPT = Path(__file__).parent / "identify.py"
NAME = "identify"
DIRECTORY = "/identity"
FILE = f"{DIRECTORY}/metadata.json"
# As much as an idle Python takes, and half as much again.
MEMORY_MIB = 32


def pod_of(service: Service, *, name: str, port: int) -> tuple[Manifest, tuple[Note, ...]]:
    """Give the Pod of a service's Deployment with the sidecar, and what Podman makes of it.

    `name` is the Pod's, and stands before its volumes' names, which Podman gives to all of the
    machine; `port` is published on 127.0.0.1. Raises TemplateError for a service that no balancer
    asks, since nobody could say where it answers.
    """
    target = service.target
    if target is None or target.check_protocol != "HTTP":
        raise TemplateError(
            f"{service.name}: expected a service with a load balancer that checks it by HTTP, "
            "which the sidecar then asks too"
        )
    template = copy.deepcopy(service.manifest("Deployment")["spec"]["template"])
    spec = template["spec"]
    main = _container(spec, target.container)
    (published,) = [one for one in main["ports"] if one["containerPort"] == target.container_port]
    published |= {"hostIP": "127.0.0.1", "hostPort": port}
    main.setdefault("env", []).append({"name": "ECS_CONTAINER_METADATA_FILE", "value": FILE})
    main.setdefault("volumeMounts", []).append(
        {"name": NAME, "mountPath": DIRECTORY, "readOnly": True}
    )
    sidecar: Manifest = {
        "name": NAME,
        "image": main["image"],
        "imagePullPolicy": main["imagePullPolicy"],
        "command": ["python", "-c"],
        "args": [SCRIPT.read_text(encoding="utf-8")],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "SERVICE_NAME", "value": main["name"]},
            {"name": "SERVICE_IMAGE", "value": main["image"]},
            {"name": "SERVICE_PORT", "value": str(target.check_port or target.container_port)},
            {"name": "SERVICE_PATH", "value": target.path},
            {"name": "METADATA_FILE", "value": FILE},
        ],
        "resources": {
            "requests": {"cpu": "10m", "memory": f"{MEMORY_MIB}Mi"},
            "limits": {"memory": f"{MEMORY_MIB}Mi"},
        },
        "securityContext": copy.deepcopy(main.get("securityContext", {})),
        "volumeMounts": [{"name": NAME, "mountPath": DIRECTORY}],
    }
    # Not among the initContainers as sidecars are since Kubernetes 1.29: Podman 4.3 waits for the
    # end of each of those.
    spec["containers"].append(sidecar)
    spec.setdefault("volumes", []).append({"name": NAME, "emptyDir": {"sizeLimit": "1Mi"}})
    _prefix_volumes(spec, name)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": template["metadata"]["labels"]},
        "spec": spec,
    }
    return pod, _podman(name, spec)


def _container(spec: Manifest, name: str) -> Manifest:
    for one in spec["containers"]:
        if one["name"] == name.lower().replace("_", "-"):
            found: Manifest = one
            return found
    raise TemplateError(f"{name}: expected a container that no other waits for")


def _prefix_volumes(spec: Manifest, name: str) -> None:
    for volume in spec["volumes"]:
        volume["name"] = f"{name}-{volume['name']}"
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for mount in container.get("volumeMounts", []):
            mount["name"] = f"{name}-{mount['name']}"


def _podman(name: str, spec: Manifest) -> tuple[Note, ...]:
    """Say what Podman 4.3 does otherwise; each was seen, in `podman inspect` or by the clock."""
    notes = Notes("podman")
    grace = spec["terminationGracePeriodSeconds"]
    notes.none(
        "preStop, terminationGracePeriodSeconds",
        f"it runs no preStop and kills after 10 s, kube down at once; first stop the Pod with: "
        f"podman pod stop --time {grace} {name}",
    )
    notes.none("startupProbe, readinessProbe", "not asked; the published port always leads there")
    notes.differs("livenessProbe", "a health check, which needs systemd to be run by itself")
    notes.none("requests.cpu", "no CPU shares are set")
    notes.differs("limits.memory", "memory as it says, and as much swap as the machine has")
    notes.differs("emptyDir", "a named volume on disk, without medium and sizeLimit")
    notes.none(
        "topologySpreadConstraints, nodeSelector, serviceAccountName", "there is one node, this one"
    )
    return tuple(notes.found)
