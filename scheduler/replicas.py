"""What every strategy does with a service's tasks: counts, starts and stops them, tells of it."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from scheduler import scale_in
from scheduler.actions import Action, Say, Start, Stop, Trouble
from scheduler.model import LIVE, Bucket, Deployment, Service, Task
from scheduler.placement import SERVICE_DEFAULT, Refusal, Request, place, refusals
from scheduler.state import WAITING_LIMIT, State

# The same trouble is told again after six hours. Source, read 2026-11-24:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html
TOLD_AGAIN = 6 * 3600
GUIDE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
# What differs between two tellings of the same trouble: who it was, and the others.
_PARTICULARS = re.compile(r"\(container-instance [^)]*\)| Of the others, .*")
# An event names so many instances for one reason, and counts the rest.
NAMED = 10


@dataclass(frozen=True, slots=True)
class Look:
    """What a service's tasks are at one moment."""

    state: State
    service: Service
    now: float
    # Its wanted tasks on instances that are to be emptied.
    displaced: dict[str, Task]

    @property
    def primary(self) -> Deployment:
        return self.service.primary

    @property
    def older(self) -> list[Deployment]:
        return [one for one in self.service.deployments if not one.is_primary]

    @property
    def room(self) -> int:
        """How many more tasks there may be.

        AWS's pages disagree on whether a task that is stopping counts; here it does, so that the
        maximum holds either way. Read 2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_definition_parameters.html
        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
        """
        return self.service.maximum - self.service.number(*LIVE, Bucket.ENDING)

    def missing(self, deployment: Deployment) -> int:
        """How many tasks of a deployment are yet to be started, or too many if negative.

        One that has failed starts none. Source, read 2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        """
        missing = self.service.desired - self.good(deployment)
        return min(0, missing) if deployment.rollout == "FAILED" else missing

    def good(self, deployment: Deployment) -> int:
        """Count what a deployment has that need not be replaced."""
        moved = sum(
            task.deployment == deployment.id and task.bucket is not Bucket.UNHEALTHY
            for task in self.displaced.values()
        )
        return deployment.live - deployment.number(Bucket.UNHEALTHY) - moved

    def healthy(self, deployments: Iterable[Deployment]) -> int:
        """Count the healthy tasks of some deployments that may stay where they are."""
        return sum(
            deployment.number(Bucket.HEALTHY)
            - sum(task in deployment.tasks[Bucket.HEALTHY] for task in self.displaced)
            for deployment in deployments
        )

    def allowance(self, deployment: Deployment) -> int:
        """How many tasks of a deployment may be started at this moment.

        What an older one replaces does not depend on how the newest one fails. Source, read
        2026-11-24:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
        """
        if deployment.is_primary and self.now < self.service.retry_at:
            return 0
        quota = self.state.starts_a_minute
        if self.now >= self.service.minute + 60:
            return quota
        return quota - self.service.started_in_minute

    def among(self, deployments: Iterable[Deployment], *buckets: Bucket) -> list[Task]:
        """Give the tasks of some deployments in some buckets."""
        return [
            task for one in deployments for bucket in buckets for task in one.tasks[bucket].values()
        ]


def look(state: State, service: Service, now: float) -> Look:
    """Look at a service's tasks."""
    displaced = {
        task.id: task
        for instance in state.draining.values()
        for task in instance.tasks.values()
        if task.service == service.name and task.wanted
    }
    return Look(state, service, now, displaced)


def request_for(service: Service, deployment: Deployment, *, zone: str | None = None) -> Request:
    """Say what a task of a deployment asks of placement."""
    definition = deployment.definition
    return Request(
        definition.task_definition,
        service.group,
        definition.strategies or SERVICE_DEFAULT,
        definition.constraints,
        zone,
    )


def start(
    seen: Look, deployment: Deployment, count: int, *, zone: str | None = None
) -> Generator[Action, None, list[str]]:
    """Start so many tasks of a deployment; give the ids of those that were started.

    Only tasks of a provider with managed scaling wait for a place. Source, a quotation of AWS's
    announcement (read 2026-11-24): https://github.com/PRX/Infrastructure/issues/402
    Others are tried again at the next look; how often ECS tries is unverified.
    """
    if count < 1:
        return []
    state, service, definition = seen.state, seen.service, deployment.definition
    request = request_for(service, deployment, zone=zone)
    found = place(request, count, state.placeable(definition.provider), random=state.random)
    group = state.group_of(definition.provider)
    waits = zone is None and group is not None and group.scaling is not None
    waiting = min(count - len(found), WAITING_LIMIT - len(state.waiting)) if waits else 0
    made = [
        Start(
            next(state.ids),
            service.name,
            deployment.id,
            definition.task_definition,
            instance.id if instance else None,
            zone,
        )
        for instance in [*found, *[None] * waiting]
    ]
    yield from made
    if made:
        ids = " ".join(f"(task {one.task})" for one in made)
        to = f" in {zone} to AZ Rebalance" if zone else ""
        yield Say(
            service.name, f"(service {service.name}) has started {len(made)} tasks{to}: {ids}."
        )
    if waits and len(made) < count:
        yield from tell(
            service,
            seen.now,
            f"(service {service.name}) was unable to place tasks in your cluster because the tasks "
            "provisioning capacity limit was exceeded.",
        )
    elif len(found) < count and not waits and zone is None:
        yield from tell_unplaced(state, service, seen.now, deployment)
    return [one.task for one in made]


def stop(state: State, service: Service, tasks: Sequence[tuple[Task, str]]) -> Iterator[Action]:
    """Stop tasks, each with its reason; tell of them by what they were."""
    running, pending = [], 0
    for task, reason in tasks:
        if reason.startswith("Task failed"):
            yield Say(service.name, _unhealthy_words(state, service, task))
        if task.status == "RUNNING":
            running.append(task)
        else:
            pending += 1
        yield Stop(task.id, "ServiceSchedulerInitiated", reason)
    if pending:
        yield Say(service.name, f"(service {service.name}) stopped {pending} pending tasks.")
    if running:
        ids = " ".join(f"(task {task.id})" for task in running)
        yield Say(
            service.name,
            f"(service {service.name}) has stopped {len(running)} running tasks: {ids}.",
        )


def outlived(seen: Look, deployments: Sequence[Deployment], *, is_blocked: bool) -> list[Task]:
    """Choose the unhealthy tasks that may go: those whose replacements are healthy.

    Where there is no room for a replacement one goes first. Which of several, ECS leaves to chance;
    that it is who has been unhealthy for longest is unverified. Sources, read 2026-11-24:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
    """
    unhealthy = seen.among(deployments, Bucket.UNHEALTHY)
    beyond = seen.healthy(deployments) + len(unhealthy) - seen.service.desired
    return unhealthy[: max(beyond, int(is_blocked), 0)]


def surplus(seen: Look, deployment: Deployment, count: int, spare: int) -> list[Task]:
    """Choose which tasks a lower desired count, or a move to another zone, leaves over.

    At most `spare` of them are healthy. That those that are not yet go first, the newest ahead, is
    unverified.
    """
    state, service = seen.state, seen.service
    arriving = state.tasks.get(service.rebalancing or "")
    if arriving is not None and not is_healthy(arriving):
        count -= 1
    if count < 1:
        return []

    def staying(*buckets: Bucket) -> list[Task]:
        return [
            one
            for one in seen.among([deployment], *buckets)
            if one is not arriving and one.id not in seen.displaced
        ]

    # By start, not by bucket: what began last has the most of its way before it.
    idle = sorted(
        staying(Bucket.WAITING, Bucket.STARTING, Bucket.SETTLING),
        key=lambda one: (one.status == "RUNNING", -one.created_at),
    )
    chosen = idle[:count]
    beyond = min(count - len(chosen), spare)
    if beyond > 0:
        healthy = staying(Bucket.HEALTHY)
        chosen += scale_in.choose(state, service, healthy, beyond, seen.now)
    return chosen


def tell(service: Service, now: float, message: str) -> Iterator[Action]:
    """Tell what holds a service up, once while it lasts."""
    cause = _PARTICULARS.sub("", message)
    if cause not in service.told or now >= service.told[cause] + TOLD_AGAIN:
        yield Trouble(service.name, message, cause)


def tell_unplaced(
    state: State, service: Service, now: float, deployment: Deployment | None = None
) -> Iterator[Action]:
    """Tell why tasks of a service find no instance, in ECS's words and for each instance."""
    if deployment is None:
        deployment = next(
            (one for one in service.deployments if one.tasks[Bucket.WAITING]), service.primary
        )
    instances = state.placeable(deployment.definition.provider)
    found = refusals(request_for(service, deployment), instances)
    if len(found) < len(instances):
        return  # the next look places it
    base = (
        f"(service {service.name}) was unable to place a task because no container instance met "
        "all of its requirements. "
    )
    if not found:
        where = "capacity provider" if deployment.definition.provider else "cluster"
        yield from tell(
            service,
            now,
            f"{base}Reason: No Container Instances were found in your {where}. {GUIDE}",
        )
        return
    yield from tell(service, now, f"{base}{_closest(found)} {GUIDE}")


def is_healthy(task: Task) -> bool:
    """Say whether a task counts towards the minimum healthy percent."""
    return task.bucket is Bucket.HEALTHY


def stands_still(service: Service) -> bool:
    """Say whether no task of a service is on its way anywhere."""
    return not service.number(Bucket.WAITING, Bucket.STARTING, Bucket.SETTLING, Bucket.ENDING)


def why_unhealthy(state: State, task: Task) -> str:
    """Give the stopped reason of a task that failed its checks; the words are of real events."""
    if task.target == "unhealthy":
        return f"Task failed ELB health checks in (target-group {state.target_group_of(task)})"
    return "Task failed container health checks"


def _closest(found: Sequence[Refusal]) -> str:
    """Name the closest match as ECS does, and, as it does not, every other instance's reason."""
    first, *others = found
    text = f"The closest matching (container-instance {first.instance.id}) {first.words}."
    alike: dict[str, list[str]] = {}
    for one in others:
        alike.setdefault(one.words, []).append(f"(container-instance {one.instance.id})")
    if not alike:
        return text
    parts = []
    for words, names in alike.items():
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        parts.append(f"{' '.join(islice(names, NAMED))}{more} {words}")
    return f"{text} Of the others, {'; '.join(parts)}."


def _unhealthy_words(state: State, service: Service, task: Task) -> str:
    if task.target == "unhealthy":
        return (
            f"(service {service.name}) (task {task.id}) is unhealthy in (target-group "
            f"{state.target_group_of(task)}) due to (reason {task.target_reason})."
        )
    return f"(service {service.name}) (task {task.id}) failed container health checks."
