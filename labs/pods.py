"""Lab 10: a service's manifests are those of its template, and its Pod shares network and files."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import templates
from labs.kubernetes.command import document
from labs.kubernetes.environment import Environment, translate
from labs.kubernetes.sidecar import DIRECTORY, NAME, pod_of
from labs.lab import Item, Lab, Remembered
from labs.place import Place

# From the project's folder, where the page's commands are run.
ASSEMBLY = Path("cdk.out")
FOLDER = Path(".build") / "kubernetes"
SERVICE = "web"
POD_FILE = f"{SERVICE}-pod"
# What Podman makes of a Deployment's Pod: Podman 4.3, and a newer one (unverified).
OTHERS = (f"{SERVICE}-pod-0", f"{SERVICE}-pod")
ENGINE_SECONDS = 90
# Podman 4.3 kills after 10 s, and fails then to remove what it has just killed.
REMOVE = ("pod", "rm", "--force", "--time", "60")
ANSWER_SECONDS = 5

# What `podman inspect` gives of one Pod or container.
Inspected = Mapping[str, Any]


def begin(place: Place) -> Remembered:
    """Remember the manifests and the Pod that are there already; they prove nothing."""
    pod = _inspect("pod", _pod_name(place))
    files = sorted(FOLDER.glob("*.yaml"))
    return {
        "files": {path.name: path.stat().st_mtime_ns for path in files},
        "pod": pod["Id"] if pod else None,
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Hold the manifests against the templates, and what Podman runs against the manifests."""
    try:
        environment = translate(templates.read(ASSEMBLY), place.environment.name)
    except templates.TemplateError as error:
        yield Item(False, f"{error}; write the templates with: make synth")
        return
    wanted = {service.name: document(service.manifests) for service in environment.services}
    for name, text in wanted.items():
        yield _written(place, name, text, remembered)
    port = _port()
    pod, _ = pod_of(environment.service(SERVICE), name=_pod_name(place), port=port or 1)
    yield _written(place, POD_FILE, document([pod]), remembered)
    yield from _played(place, pod, remembered)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Remove the Pod with its volumes, and the manifests; those from before the start stay."""
    name = _pod_name(place)
    pod = _inspect("pod", name)
    if pod and pod["Id"] != remembered["pod"] and _podman(*REMOVE, name) is not None:
        yield f"Pod {name} is removed."
        pod = None
    if pod is None:
        for volume in _volumes(place):
            if _podman("volume", "rm", volume) is not None:
                yield f"Volume {volume} is removed."
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.stat().st_mtime_ns != remembered["files"].get(path.name):
            path.unlink()
            yield f"{path} is removed."


def _pod_name(place: Place) -> str:
    return f"{place.environment.name}-{SERVICE}"


def _write_again(place: Place, name: str) -> str:
    pod = f" --pod {SERVICE} --port 8081" if name == POD_FILE else ""
    return f"python -m labs kubernetes {place.environment.name}{pod} --output {FOLDER}"


def _written(place: Place, name: str, text: str, remembered: Remembered) -> Item:
    """Whether a file of manifests was written since the start, and is what the template gives."""
    path = FOLDER / f"{name}.yaml"
    again = _write_again(place, name)
    try:
        found, changed = path.read_text(encoding="utf-8"), path.stat().st_mtime_ns
    except FileNotFoundError:
        return Item(False, f"{path}: is not there: {again}")
    if found != text:
        return Item(
            False,
            f"{path}: was edited, or is of older templates than those in {ASSEMBLY}; write it "
            f"again: {again}",
        )
    if changed == remembered["files"].get(path.name):
        return Item(False, f"{path}: is from before the lab's start; write it again: {again}")
    return Item(True, f"{path}: is what the templates give")


def _port() -> int | None:
    """Give the port of this machine that the written Pod asks for, which is anybody's choice."""
    try:
        pod = yaml.safe_load((FOLDER / f"{POD_FILE}.yaml").read_text(encoding="utf-8"))
        port = pod["spec"]["containers"][0]["ports"][0]["hostPort"]
    except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError):
        return None
    return port if isinstance(port, int) else None


def _played(place: Place, pod: Mapping[str, Any], remembered: Remembered) -> Iterator[Item]:
    """Whether the Pod runs, with both containers, which share what a Pod's share, and answers."""
    name = _pod_name(place)
    play = f"podman kube play {FOLDER / POD_FILE}.yaml"
    if _podman("version") is None:
        yield Item(
            False, "podman: is not installed, or does not answer; on Debian: sudo .ci/engine"
        )
        return
    found = _inspect("pod", name)
    if found is None:
        first = "".join(
            f"; Pod {other} is of {SERVICE}.yaml, for a cluster: podman kube down "
            f"{FOLDER / SERVICE}.yaml first"
            for other in OTHERS
            if _inspect("pod", other)
        )
        yield Item(False, f"Pod {name}: is not there: {play}{first}")
        return
    if found["Id"] == remembered["pod"]:
        yield Item(
            False,
            f"Pod {name}: is from before the lab's start: podman pod rm --force --time 60 {name}, "
            f"and then {play}",
        )
        return
    containers = {}
    for declared in pod["spec"]["containers"]:
        one = _inspect("container", f"{name}-{declared['name']}")
        containers[declared["name"]] = one
        yield _container(name, declared, one, play)
    service, sidecar = (containers.get(each) for each in (SERVICE, NAME))
    if service and sidecar:
        yield _network(service, sidecar)
        yield _files(service, sidecar)
    yield _identity(name, found)


def _container(pod: str, declared: Mapping[str, Any], one: Inspected | None, play: str) -> Item:
    """Whether a container of the manifest is in the Pod, of its image, and runs."""
    name = f"{pod}-{declared['name']}"
    again = f"podman pod rm --force --time 60 {pod}, and then {play}"
    if one is None:
        beside = (
            ", the sidecar: this Pod was not made of the manifest that --pod writes"
            if declared["name"] == NAME
            else ""
        )
        return Item(False, f"{name}: is not in the Pod{beside}; {again}")
    if _tag(one["ImageName"]) != _tag(declared["image"]):
        return Item(
            False,
            f"{name}: is of the image {one['ImageName']}, and the manifest says "
            f"{declared['image']}; {again}",
        )
    status = one["State"]["Status"]
    if status == "created":
        return Item(
            False,
            f"{name}: was never started; podman start {name} says why. Where its port is taken, "
            f"write the Pod with another --port; {again}",
        )
    if not one["State"]["Running"]:
        return Item(
            False,
            f"{name}: is {status}, and is looked at while it runs; podman logs {name} says what "
            f"it did last; {again}",
        )
    held = _held(one)
    for place, wanted in _limits(declared).items():
        if held[place] != wanted:
            return Item(
                False,
                f"{name}: runs with {place} {held[place]}, and the manifest says {wanted}: it was "
                f"made of another; {again}",
            )
    return Item(True, f"{name}: runs, held in as the manifest says")


def _limits(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a container's manifest holds it in with, of that what Podman honours."""
    context = declared["securityContext"]
    memory = declared["resources"]["limits"]["memory"]
    return {
        "memory": int(memory.removesuffix("Mi")) << 20,
        "user": f"{context['runAsUser']}:{context['runAsGroup']}",
        "a read-only root": context["readOnlyRootFilesystem"],
    }


def _held(one: Inspected) -> dict[str, Any]:
    """Give the same of what Podman runs."""
    return {
        "memory": one["HostConfig"]["Memory"],
        "user": one["Config"]["User"],
        "a read-only root": one["HostConfig"]["ReadonlyRootfs"],
    }


def _network(service: Inspected, sidecar: Inspected) -> Item:
    modes = [one["HostConfig"]["NetworkMode"] for one in (service, sidecar)]
    if modes[0] != modes[1] or not modes[0].startswith("container:"):
        return Item(False, f"the containers have networks of their own: {', '.join(modes)}")
    return Item(True, "both containers share a network, that of the Pod's infra container")


def _files(service: Inspected, sidecar: Inspected) -> Item:
    mounts = [
        {mount["Destination"]: mount for mount in one["Mounts"]}.get(DIRECTORY)
        for one in (service, sidecar)
    ]
    reads, writes = mounts
    if reads is None or writes is None or reads["Source"] != writes["Source"]:
        return Item(False, f"the containers do not share a volume at {DIRECTORY}")
    if reads["RW"] or not writes["RW"]:
        return Item(
            False, f"volume {reads['Name']}: the sidecar is to write it, and the service to read it"
        )
    return Item(True, f"both share volume {reads['Name']}, which only the sidecar writes")


def _identity(name: str, pod: Inspected) -> Item:
    """Whether the service says the Pod's name, which only the sidecar could tell it."""
    bindings: Mapping[str, Sequence[Mapping[str, str]]] = (
        pod.get("InfraConfig", {}).get("PortBindings") or {}
    )
    ports = [int(one["HostPort"]) for bound in bindings.values() for one in bound or []]
    if not ports:
        return Item(False, f"Pod {name}: publishes no port, so nobody can ask it")
    url = f"http://127.0.0.1:{ports[0]}/identity"
    wanted = f"pod/{name}"
    try:
        task = _ask(ports[0])["task"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        why = str(error) or type(error).__name__
        return Item(False, f"{url} does not say who answers: {why}; podman logs {name}-{SERVICE}")
    if task != wanted:
        return Item(
            False,
            f'{url} says "task": "{task}", not "{wanted}": once the sidecar has written, the next '
            "request makes the service look again, so check again",
        )
    return Item(True, f'{url} says "task": "{wanted}"')


def _ask(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/identity")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
    finally:
        connection.close()


def _volumes(place: Place) -> list[str]:
    """Name the volumes that Podman makes of the Pod's manifest."""
    try:
        environment: Environment = translate(templates.read(ASSEMBLY), place.environment.name)
        pod, _ = pod_of(environment.service(SERVICE), name=_pod_name(place), port=1)
    except templates.TemplateError:
        return []
    return [volume["name"] for volume in pod["spec"]["volumes"]]


def _tag(image: str) -> str:
    return image.rpartition("/")[2]


def _inspect(kind: str, name: str) -> Inspected | None:
    said = _podman(kind, "inspect", name)
    if not said:
        return None
    found = json.loads(said)
    # Podman 4.3 gives one Pod, and a list of containers; a newer one a list of Pods (unverified).
    one: Inspected = found[0] if isinstance(found, list) else found
    return one


def _podman(*words: str) -> str | None:
    """Give what Podman prints; None where it refuses."""
    try:
        done = subprocess.run(  # noqa: S603 - Podman by its name, and no shell
            ["podman", *words],  # noqa: S607 - found as the page's commands find it
            stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=False, timeout=ENGINE_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


LAB = Lab(
    number=10,
    title="Kubernetes and pods",
    minutes=30,
    page="10-kubernetes.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "The manifests come of cdk.out: make synth, and then python -m labs kubernetes. Change a "
        "setting and not a manifest; what is written by hand is lost the next time.",
        "web.yaml holds a Deployment for a cluster. For Podman there is a Pod with the sidecar in "
        "it: python -m labs kubernetes sandbox --pod web writes web-pod.yaml.",
        "podman kube play refuses a Pod of a name that there is: podman pod rm --force --time 60 "
        "sandbox-web first.",
        "podman logs sandbox-web-identify says whether the sidecar has reached the service, and "
        "when it wrote.",
    ),
    needs_environment=False,
)
