"""What the CDK CLI does with the image of a service: the real CLI, moto for AWS, a recorded engine.

Not shown here: the push itself, which the recorded engine only notes, and `cdk deploy` as a whole,
whose change sets lose their exports in moto. That the repository's stack comes before is asserted
on the assembly, in tests/stacks/test_service.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from tests.conftest import PROJECT, Assembly

ACCOUNT = "123456789012"
REGISTRY = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
MANIFEST = '{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}'
# An engine that notes what it was told; it has no image yet.
ENGINE = """#!/bin/sh
echo "$@" >> "$0.calls"
case "$1" in inspect) exit 1 ;; login) cat > /dev/null ;; esac
"""


class Cli:
    """The CLI's asset publishing for the sandbox's web service."""

    def __init__(self, assembly: Assembly, endpoint: str, directory: Path) -> None:
        self.endpoint = endpoint
        self.assembly = assembly
        self.engine = directory / "engine"
        self.engine.write_text(ENGINE)
        self.engine.chmod(0o755)

    def publish(self) -> list[str]:
        """Publish, and give what the engine was told, a line a call."""
        calls = Path(f"{self.engine}.calls")
        calls.write_text("")
        done = subprocess.run(
            [str(PROJECT / "node_modules" / ".bin" / "cdk"), "publish-assets", "Sandbox/Web",
             "--exclusively", "--unstable=publish-assets", "--app", str(self.assembly.directory)],
            env=os.environ | {"AWS_ENDPOINT_URL": self.endpoint, "CDK_DOCKER": str(self.engine)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return calls.read_text().splitlines()


@pytest.fixture
def cli(synthesized: Assembly, tmp_path: Path) -> Iterator[Cli]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    httpx.post(f"{endpoint}/moto-api/reset")
    # What a bootstrapped account has, and what the registry's stack makes before.
    boto3.client("ecr", endpoint_url=endpoint).create_repository(repositoryName="sandbox-web")
    boto3.client("ssm", endpoint_url=endpoint).put_parameter(
        Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String"
    )
    boto3.client("s3", endpoint_url=endpoint).create_bucket(
        Bucket=f"cdk-hnb659fds-assets-{ACCOUNT}-us-east-1"
    )
    yield Cli(synthesized, endpoint, tmp_path)
    server.stop()


def test_the_cli_builds_and_pushes_as_the_publisher_and_only_once(
    cli: Cli, synthesized: Assembly
) -> None:
    told = cli.publish()
    words = [line.split()[0] for line in told]
    assert [word for word in words if word != "inspect"] == ["login", "build", "tag", "push"]
    image = told[-1].split()[1]
    repository, tag = image.split(":")
    assert repository == f"{REGISTRY}/sandbox-web"
    (container,) = synthesized.stack("Sandbox/Web").one("AWS::ECS::TaskDefinition")[
        "ContainerDefinitions"
    ]
    assert container["Image"]["Fn::Sub"].endswith(f"/sandbox-web:{tag}")
    assumed = [role.role_arn for role in sts_backends[ACCOUNT]["aws"].assumed_roles]
    assert f"arn:aws:iam::{ACCOUNT}:role/cdk-sandbox-publisher-us-east-1" in assumed
    (build,) = [line for line in told if line.startswith("build")]
    assert "--platform linux/amd64" in build

    client = boto3.client("ecr", endpoint_url=cli.endpoint)
    client.put_image(repositoryName="sandbox-web", imageManifest=MANIFEST, imageTag=tag)
    assert cli.publish() == [], "the tag is there, so there is nothing to build or push"
