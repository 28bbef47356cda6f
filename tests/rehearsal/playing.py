"""An environment played for tests, by the commands that users give, and asked as users ask."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import boto3
import pytest

from rehearsal.folder import Folder
from tests import conftest
from tests.conftest import PROJECT
from tests.rehearsal.load import Load

# AWS's waits in CI; the nightly run has them at 1, and then every test waits longer too.
SPEED = float(os.environ.get("REHEARSAL_SPEED", "10"))
PATIENCE = max(1.0, 10 / SPEED)
# Requests a second of a load. Each costs some 6 ms of a core, in all that it comes through: 200 a
# second leave a machine little for what they are to see.
PER_SECOND = 50
# Between two looks of a wait. Ten a second would be a tenth of a core, for each test that waits.
PAUSE_SECONDS = 0.3
SETTLED = re.compile("steady state|is AZ balanced")
# What is the same with every engine is seen with one of them.
DOCKER = pytest.mark.parametrize("engine", ["docker"], indirect=True)


@dataclass
class Played:
    """The sandbox, played by one engine in a folder of its own.

    Asked about is the service `of`; dataclasses.replace gives the same for another.
    """

    state: Path
    assembly: Path
    engine: str
    speed: float = SPEED
    environment: str = "sandbox"
    of: str = "web"
    clients: dict[str, Any] = field(default_factory=dict)

    def command(self, verb: str, *arguments: str) -> list[str]:
        """Give the words of a command."""
        return [sys.executable, "-m", "rehearsal", f"--state={self.state}", verb, *arguments]

    def run(self, verb: str, *arguments: str, seconds: float = 600) -> Any:  # noqa: ANN401
        """Run a command to its end."""
        seconds *= PATIENCE
        return subprocess.run(
            self.command(verb, *arguments),
            cwd=PROJECT, capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip

    def up(self, *more: str) -> Any:  # noqa: ANN401
        """Begin to play; the completed process."""
        return self.run("up", self.environment, *self.options, *more)

    @property
    def options(self) -> list[str]:
        return [
            f"--engine={self.engine}", f"--speed={self.speed:g}", "--port=0", "--endpoint-port=0",
            f"--assembly={self.assembly}",
        ]  # fmt: skip

    def down(self) -> Any:  # noqa: ANN401
        """End it, and see that it did."""
        done = self.run("down", self.environment)
        assert done.returncode == 0, done.stderr
        return done

    def fail(self, *words: str) -> str:
        """Break something; what was said."""
        done = self.run("fail", *words)
        assert done.returncode == 0, done.stderr
        return str(done.stderr)

    def restore(self) -> None:
        """Mend everything, and wait until it is steady."""
        done = self.run("restore", self.environment)
        assert done.returncode == 0, done.stderr
        self.settle()

    @property
    def folder(self) -> Folder:
        return Folder(self.environment, self.state)

    @property
    def port(self) -> int:
        """The load balancer's."""
        return int(str(self.folder.status()["url"]).rpartition(":")[2])

    def client(self, service: str) -> Any:  # noqa: ANN401 - any client of boto3's
        """Give a client of the endpoint."""
        if service not in self.clients:
            endpoint = self.folder.status()["endpoint"]
            self.clients[service] = cast(Any, boto3).client(service, endpoint_url=endpoint)
        return self.clients[service]

    @property
    def cluster(self) -> str:
        return str(self.folder.status()["cluster"])

    @property
    def service(self) -> str:
        """The name of the service in ECS."""
        services = self.folder.status()["services"]
        (name,) = (one for one in services if f"-{self.of.title()}-" in one)
        return str(name)

    def described(self) -> Any:  # noqa: ANN401
        """Describe the service."""
        answer = self.client("ecs").describe_services(cluster=self.cluster, services=[self.service])
        (found,) = answer["services"]
        return found

    def tasks(self, status: str = "RUNNING") -> list[Any]:
        """Describe the service's tasks of one desired status."""
        listed = self.client("ecs").list_tasks(
            cluster=self.cluster, serviceName=self.service, desiredStatus=status
        )["taskArns"]
        if not listed:
            return []
        described = self.client("ecs").describe_tasks(cluster=self.cluster, tasks=listed)
        return list(described["tasks"])

    def instances(self) -> list[Any]:
        """Describe the container instances."""
        listed = self.client("ecs").list_container_instances(cluster=self.cluster)
        arns = listed["containerInstanceArns"]
        if not arns:
            return []
        described = self.client("ecs").describe_container_instances(
            cluster=self.cluster, containerInstances=arns
        )
        return list(described["containerInstances"])

    def events(self) -> list[str]:
        """Give the messages of the service's events, the newest first."""
        return [one["message"] for one in self.described()["events"]]

    def suspend_scaling(self, *, suspended: bool = True) -> None:
        """Keep the policies from scaling the service; a load is what they would answer to."""
        self.client("application-autoscaling").register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{self.cluster}/{self.service}",
            ScalableDimension="ecs:service:DesiredCount",
            SuspendedState={
                "DynamicScalingInSuspended": suspended,
                "DynamicScalingOutSuspended": suspended,
                "ScheduledScalingSuspended": suspended,
            },
        )

    def scale(self, count: int) -> None:
        """Set the desired count."""
        self.client("ecs").update_service(
            cluster=self.cluster, service=self.service, desiredCount=count
        )

    def allow_instances(self, count: int) -> None:
        """Raise the group's maximum size to at least that many instances."""
        client = self.client("autoscaling")
        (group,) = client.describe_auto_scaling_groups()["AutoScalingGroups"]
        client.update_auto_scaling_group(
            AutoScalingGroupName=group["AutoScalingGroupName"],
            MaxSize=max(count, group["MaxSize"]),
        )

    def settle(self, seconds: float = 180) -> float:
        """Wait until one deployment runs what is desired, and nothing is on its way."""

        def is_settled() -> bool:
            found = self.described()
            return (
                len(found["deployments"]) == 1
                and found["deployments"][0]["rolloutState"] == "COMPLETED"
                and found["runningCount"] == found["desiredCount"]
                and found["pendingCount"] == 0
                and SETTLED.search(found["events"][0]["message"]) is not None
            )

        return until(is_settled, seconds=seconds)

    def settle_hosts(self, seconds: float = 120) -> None:
        """Wait until the group has as many instances as it wants, all of them in service."""

        def are_settled() -> bool:
            groups = self.client("autoscaling").describe_auto_scaling_groups()
            (group,) = groups["AutoScalingGroups"]
            states = [one["LifecycleState"] for one in group["Instances"]]
            return states == ["InService"] * group["DesiredCapacity"]

        until(are_settled, seconds=seconds)

    def load(self, per_second: int = PER_SECOND, *, key: str = "hostname") -> Load:
        """Give a load on the balancer; it begins with a `with`."""
        return Load(self.port, "/identity", per_second, key)

    def log(self) -> str:
        """Give what the process wrote, for a test that failed."""
        path = self.folder.log
        return path.read_text(encoding="utf-8") if path.exists() else ""


def until(holds: Callable[[], bool], *, seconds: float, pause: float = PAUSE_SECONDS) -> float:
    """Wait until something holds; give how long that took, in seconds.

    Fails after `seconds` at the speed of CI, later at a slower one.
    """
    return conftest.until(holds, seconds=seconds * PATIENCE, pause=pause)


def printed(done: Any) -> Any:  # noqa: ANN401
    """Read what a command printed as JSON."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
