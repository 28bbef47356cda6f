"""Finds what an environment is, and again now and then, since a deploy adds to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from ops.aws import Aws
from ops.environment import (
    BALANCER,
    CLUSTER,
    GROUP,
    SERVICE,
    Environment,
    Failed,
    of_kind,
    resources,
    stacks,
)

# CloudFormation is asked about once a stack; sooner while a part is missing, as in a first deploy.
EVERY_SECONDS, SOON_SECONDS = 60.0, 10.0


class NotDeployedError(Failed):
    """The environment is not there, or not yet."""


@dataclass(frozen=True)
class Found:
    """What CloudFormation says that an environment is: names and ARNs.

    `labels` are what the settings call the services, by the names that they have in ECS.
    """

    cluster: str
    groups: tuple[str, ...]
    balancers: tuple[str, ...]
    labels: Mapping[str, str]


def find(aws: Aws, environment: Environment) -> Found:
    """Find an environment's cluster; raise NotDeployedError where there is none."""
    names = [one["StackName"] for one in stacks(aws.cloudformation, environment)]
    made = resources(aws.cloudformation, names)
    clusters = of_kind(made, CLUSTER)
    if not clusters:
        raise NotDeployedError(
            f"{environment.name} is not deployed there: no stack of it has a cluster; "
            f"run: make local ENV={environment.name}, or make deploy ENV={environment.name}"
        )
    labels = {environment.service_stack(name): name for name in environment.settings.services}
    return Found(
        cluster=clusters[0],
        groups=tuple(of_kind(made, GROUP)),
        balancers=tuple(of_kind(made, BALANCER)),
        labels={
            one.id.rpartition("/")[2]: labels.get(one.stack, one.stack)
            for one in made
            if one.kind == SERVICE
        },
    )


def _beside(work: Callable[[], None]) -> None:
    threading.Thread(target=work, daemon=True).start()


class Finder:
    """Has what `find` found, and finds it again beside the looks, which do not wait for it.

    That is once in EVERY_SECONDS of `now`, and in SOON_SECONDS while there is no group, no balancer
    or a service without a label. What goes wrong there is left to the next time: what stays wrong
    fails a look too. `begin` has something done, in a thread of its own.
    """

    def __init__(
        self,
        find: Callable[[], Found],
        *,
        now: Callable[[], float],
        begin: Callable[[Callable[[], None]], None] = _beside,
    ) -> None:
        """Find for the first time; raises what `find` raises."""
        self._find = find
        self._now = now
        self._begin = begin
        self._is_finding = False
        self.found = find()
        self._cluster = self.found.cluster
        self._at = now()

    def look(self, services: Iterable[str]) -> Found:
        """Give what was found last, and have it found again where that is due.

        `services` are the names that there are in the cluster. Raises NotDeployedError where
        another cluster was found than at first, of which a reader knows nothing.
        """
        found = self.found
        is_whole = found.groups and found.balancers and set(services) <= found.labels.keys()
        due = self._at + (EVERY_SECONDS if is_whole else SOON_SECONDS)
        if not self._is_finding and self._now() >= due:
            self._is_finding, self._at = True, self._now()
            self._begin(self._again)
        found = self.found
        if found.cluster != self._cluster:
            raise NotDeployedError(
                f"the cluster {self._cluster} is replaced by {found.cluster}, which is shown next"
            )
        return found

    def _again(self) -> None:
        try:
            self.found = self._find()
        except (BotoCoreError, ClientError, Failed):
            pass
        finally:
            self._is_finding = False
