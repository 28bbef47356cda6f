"""The Pod runs for real, with Podman: what its two containers share, and what holds them in."""

from __future__ import annotations

import copy
import json
import socket
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import templates
from labs.kubernetes.command import document
from labs.kubernetes.environment import Service
from labs.kubernetes.sidecar import FILE, SCRIPT, pod_of
from rehearsal.images import build_environment
from tests.conftest import until
from tests.labs.conftest import Edited, one
from tests.labs.kubernetes.schemas import accepted, runs
from tests.rehearsal.conftest import usable

Values = dict[str, Any]


def podman(*arguments: str, check: bool = True) -> str:
    """Run the client; its warnings about a machine without systemd are not data."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def played(
    graph: templates.Graph, web: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Values]:
    """The sandbox's web with its sidecar, played and removed afterwards."""
    engine = usable("podman")
    build_environment(graph, "sandbox", engine)
    # Of this run only, beside the one that a learner may have.
    pod, _ = pod_of(web, name=f"web-{uuid.uuid4().hex[:8]}", port=free_port())
    file = tmp_path_factory.mktemp("pod") / "pod.yaml"
    file.write_text(document([pod]), encoding="utf-8")
    podman("kube", "play", str(file))
    try:
        yield pod
    finally:
        podman("kube", "down", str(file))
        left = podman("volume", "ls", "--quiet", "--filter", f"name={pod['metadata']['name']}")
        if left:
            podman("volume", "rm", "--force", *left.split())


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def name(pod: Values, container: str) -> str:
    return f"{pod['metadata']['name']}-{container}"


def answer(pod: Values, path: str) -> Values:
    (published,) = pod["spec"]["containers"][0]["ports"]
    url = f"http://{published['hostIP']}:{published['hostPort']}{path}"
    with urllib.request.urlopen(url, timeout=5) as response:
        found: Values = json.load(response)
        return found


def answers(pod: Values) -> bool:
    try:
        return answer(pod, "/health/ready") == {"status": "ready"}
    except OSError:
        return False


@pytest.mark.engine
def test_it_answers_on_the_published_port_of_the_loopback(played: Values) -> None:
    until(lambda: answers(played), seconds=30)
    assert answer(played, "/identity")["hostname"] == played["metadata"]["name"]


@pytest.mark.engine
def test_the_sidecar_reaches_the_service_on_localhost(played: Values) -> None:
    asked = "http://127.0.0.1:8080/health/ready: 200"
    until(lambda: asked in podman("logs", name(played, "identify")), seconds=30)
    joined = podman("inspect", "--format", "{{.HostConfig.NetworkMode}}", name(played, "identify"))
    assert joined == podman(
        "inspect", "--format", "{{.HostConfig.NetworkMode}}", name(played, "web")
    )


@pytest.mark.engine
def test_the_service_reads_what_the_sidecar_writes_and_cannot_write_there(played: Values) -> None:
    until(lambda: answers(played), seconds=30)
    image = played["spec"]["containers"][0]["image"]
    until(lambda: answer(played, "/identity")["image"] == image, seconds=30)
    who = answer(played, "/identity")
    assert who["task"] == f"pod/{played['metadata']['name']}"
    assert (who["container_name"], who["version"]) == ("web", image.rpartition(":")[2])
    written = json.loads(podman("exec", name(played, "web"), "cat", FILE))
    assert written["TaskARN"] == who["task"]
    touched = "touch /identity/x; echo $?"
    assert podman("exec", name(played, "web"), "sh", "-c", touched).strip() == "1"


@pytest.mark.engine
@pytest.mark.parametrize("index", [0, 1])
def test_each_container_is_held_in_as_the_manifest_says(played: Values, index: int) -> None:
    container = played["spec"]["containers"][index]
    (seen,) = json.loads(podman("inspect", name(played, container["name"])))
    host, security = seen["HostConfig"], container["securityContext"]
    assert host["Memory"] == mebibytes(container["resources"]["limits"]["memory"])
    assert host["MemoryReservation"] == mebibytes(container["resources"]["requests"]["memory"])
    assert seen["Config"]["User"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert host["ReadonlyRootfs"] is security["readOnlyRootFilesystem"] is True
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Privileged"] is False
    until(lambda: running(played, container["name"]), seconds=30)
    status = podman("exec", name(played, container["name"]), "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(fields["CapBnd"], 16) == int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split() == [str(security["runAsUser"])] * 4
    assert fields["Seccomp"] == "2"
    written = "touch /here; echo $?"
    assert podman("exec", name(played, container["name"]), "sh", "-c", written).strip() == "1"


@pytest.mark.engine
def test_what_podman_leaves_out_is_what_is_said(played: Values, web: Service) -> None:
    (seen,) = json.loads(podman("inspect", name(played, "web")))
    _, notes = pod_of(web, name="web", port=1)
    said = {one.place: str(one) for one in notes}
    if not podman("--version").startswith("podman version 4.3"):
        pytest.skip("said of Podman 4.3, another one may do more")
    assert seen["HostConfig"]["CpuShares"] == 0
    assert seen["Config"]["StopTimeout"] == 10
    assert seen["Config"].get("StartupHealthCheck") is None
    assert {mount["Type"] for mount in seen["Mounts"]} == {"volume"}
    assert "podman pod stop --time 60 web" in said["podman.preStop, terminationGracePeriodSeconds"]
    assert {"podman.requests.cpu", "podman.emptyDir"} <= set(said)


def running(pod: Values, container: str) -> bool:
    state = podman("inspect", "--format", "{{.State.Running}}", name(pod, container))
    return state.strip() == "true"


def mebibytes(amount: str) -> int:
    return int(amount.removesuffix("Mi")) * 1024 * 1024


def test_the_pod_is_the_deployments_own_with_one_container_more(web: Service) -> None:
    pod, _ = pod_of(web, name="web", port=8081)
    template = web.manifest("Deployment")["spec"]["template"]
    before = copy.deepcopy(template["spec"]["containers"][0])
    main, sidecar = pod["spec"]["containers"]
    added = {"ports", "env", "volumeMounts"}
    assert {key: value for key, value in main.items() if key not in added} == {
        key: value for key, value in before.items() if key not in added
    }
    assert main["env"][:-1] == before["env"]
    assert sidecar["securityContext"] == main["securityContext"]
    assert sidecar["image"] == main["image"]
    runs(pod["spec"])
    accepted([pod])


def test_a_service_that_no_balancer_asks_by_http_has_no_sidecar(edited: Edited) -> None:
    def change(resources: Values) -> None:
        one(resources, "AWS::ElasticLoadBalancingV2::TargetGroup")["HealthCheckProtocol"] = "TCP"

    with pytest.raises(templates.TemplateError, match="web: expected a service with a load"):
        pod_of(edited(change), name="web", port=8081)


def test_nothing_of_the_sidecars_program_is_expanded() -> None:
    assert "$(" not in SCRIPT.read_text(encoding="utf-8")
