"""What can go wrong on purpose: tasks, instances, zones, images, health checks, capacity, order."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rehearsal.engines import EngineError
from rehearsal.records import Definition, TaskRecord
from rehearsal.world import World
from scheduler.model import Service
from templates import Value, is_true

_ANSWERING = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response({status})
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
port = int(os.environ.get("PORT", "8080"))
http.server.ThreadingHTTPServer(("", port), Answer).serve_forever()
"""
# Each takes the place of a container's command. They need a Python in the image, as the services
# of this project have; "missing" needs none.
IMAGES: Mapping[str, str] = {
    "crash": "raise SystemExit('This image crashes on purpose.')",
    "silent": "import time\nprint('This image never listens.', flush=True)\ntime.sleep(86400)",
    "unhealthy": _ANSWERING.format(status=500),
    # Its health checks pass, so that only an alarm can find it.
    "failing": _ANSWERING.format(status="200 if 'health' in self.path else 500"),
}
MISSING = "missing"


class FaultError(ValueError):
    """Says what was asked for, and what there is."""


@dataclass(frozen=True)
class Done:
    """What was done, in words, and the command of AWS's that does the same, where there is one."""

    words: str
    command: str = ""


class Faults:
    """Breaks a World, and mends it again."""

    def __init__(self, world: World) -> None:
        self._world = world
        # By service: the definition before, and the broken one.
        self._before: dict[str, tuple[Definition, Definition]] = {}

    def fail(self, kind: str, *arguments: str) -> Done:
        """Break something; raise FaultError for what there is not."""
        kinds: Mapping[str, Callable[..., Done]] = {
            "task": self._task,
            "instance": self._instance,
            "az": self._zone,
            "image": self._image,
            "health": self._health,
            "capacity": self._capacity,
            "draining": self._draining,
        }
        if kind not in kinds:
            raise FaultError(f"{kind}: expected one of {', '.join(kinds)}")
        with self._world.lock:
            try:
                inspect.signature(kinds[kind]).bind(*arguments)
            except TypeError as error:
                words = " ".join(arguments) or "nothing"
                raise FaultError(f"fail {kind} {words}: {error}") from error
            return kinds[kind](*arguments)

    def restore(self) -> Done:
        """Mend everything that stays broken by itself."""
        world, mended = self._world, []
        with world.lock:
            for group in world.state.groups.values():
                if group.lost_zones:
                    mended.append(f"{', '.join(sorted(group.lost_zones))} is back")
                    group.lost_zones.clear()
                if group.name in world.exhausted:
                    world.exhausted.discard(group.name)
                    group.is_exhausted = False
                    mended.append("EC2 has instances again")
            if not world.state.deregisters_first:
                world.state.deregisters_first = True
                mended.append("targets are deregistered before their containers stop")
            if world.unchecked:
                world.unchecked.clear()
                mended.append("health checks reach their targets again")
            for name, (definition, broken) in self._before.items():
                service = world.state.services.get(name)
                if service is None or not service.is_active or _has(service) != broken.arn:
                    continue  # it has been rolled back, changed or deleted since
                world.roll_out(name, definition)
                mended.append(f"{name} goes back to {definition.family}:{definition.revision}")
            self._before.clear()
        return Done("; ".join(mended) + "." if mended else "Nothing was left broken.")

    def _task(self, wanted: str = "") -> Done:
        record = self._find_task(wanted)
        for container in record.containers.values():
            if container.essential and container.status == "RUNNING":
                try:
                    self._world.engine.kill(container.runtime_id)
                except EngineError as error:
                    raise FaultError(str(error)) from error
        # No command of AWS's does it: stop-task deregisters first, and asks before it kills.
        return Done(f"The containers of task {record.id} are killed, as by the kernel.")

    def _find_task(self, wanted: str) -> TaskRecord:
        running = [
            one
            for one in self._world.tasks.values()
            if one.id in self._world.state.tasks and one.started_at and not one.has_ended
        ]
        behind = f"service:{self._behind_the_balancer()}"
        found = (
            [
                one
                for one in running
                if one.id.startswith(wanted)
                or _is_called(one.group.removeprefix("service:"), wanted)
            ]
            if wanted
            else [one for one in running if one.group == behind] or running
        )
        if not found:
            there = ", ".join(one.id for one in running) or "none: no task is running"
            raise FaultError(f"task {wanted!r}: expected one of {there}")
        return found[0]

    def _instance(self, wanted: str = "") -> Done:
        hosts = [
            self._world.hosts[one.id]
            for one in self._world.state.instances.values()
            if one.lifecycle == "InService"
        ]
        found = [one for one in hosts if one.ec2_id.startswith(wanted) or one.id.startswith(wanted)]
        if not found:
            there = ", ".join(one.ec2_id for one in hosts) or "none: no instance is in service"
            raise FaultError(f"instance {wanted!r}: expected one of {there}")
        host = found[0]
        under_way = self._world.lose(host.id, f"Host EC2 (instance {host.ec2_id}) terminated.")
        return Done(
            f"{host.ec2_id} is gone without warning, with every container on it; {under_way} "
            "requests were under way on it.",
            f"aws ec2 terminate-instances --instance-ids {host.ec2_id}",
        )

    def _zone(self, wanted: str = "") -> Done:
        zones = {zone for group in self._world.state.groups.values() for zone in group.zones}
        if wanted not in zones:
            raise FaultError(f"az {wanted!r}: expected one of {', '.join(sorted(zones))}")
        lost = [one for one in self._world.state.instances.values() if one.zone == wanted]
        for group in self._world.state.groups.values():
            group.lost_zones.add(wanted)
        for instance in lost:
            ec2_id = self._world.hosts[instance.id].ec2_id
            self._world.lose(instance.id, f"Host EC2 (instance {ec2_id}) terminated.")
        return Done(f"{wanted} is lost, with {len(lost)} instances; nothing boots there.")

    def _image(self, service: str = "", how: str = "crash") -> Done:
        if service in (*IMAGES, MISSING):
            service, how = "", service
        if how not in (*IMAGES, MISSING):
            raise FaultError(f"image {how}: expected one of {', '.join((*IMAGES, MISSING))}")
        name = self._find_service(service)
        before = self._world.definitions[_has(self._world.state.services[name])]
        definition = self._world.register(_broken(before, how))
        good, broken = self._before.get(name, (before, before))
        self._before[name] = (good if before is broken else before, definition)
        self._world.roll_out(name, definition)
        return Done(
            f"{name} rolls out {definition.family}:{definition.revision}, whose image is broken: "
            f"{how}.",
            f"aws ecs update-service --cluster {self._world.cluster_name} --service {name} "
            f"--task-definition {definition.family}:{definition.revision}",
        )

    def _find_service(self, wanted: str) -> str:
        active = [name for name, one in self._world.state.services.items() if one.is_active]
        found = [name for name in active if _is_called(name, wanted or self._behind_the_balancer())]
        if len(found) != 1:
            raise FaultError(f"service {wanted!r}: expected one of {', '.join(active)}")
        return found[0]

    def _behind_the_balancer(self) -> str:
        """Name the service that is meant where none is named; empty where there are several."""
        active = [one for one in self._world.state.services.values() if one.is_active]
        behind = [one for one in active if one.definition.has_targets] or active
        return behind[0].name if len(behind) == 1 else ""

    def _health(self, wanted: str = "") -> Done:
        record = self._find_task(wanted)
        if record.target is None:
            raise FaultError(f"health {record.id}: expected a task behind the load balancer")
        self._world.unchecked.add(record.id)
        return Done(f"The health checks of task {record.id} are answered by nobody.")

    def _capacity(self) -> Done:
        for group in self._world.state.groups.values():
            self._world.exhausted.add(group.name)
            group.is_exhausted = True
        return Done("EC2 has no instance to give (InsufficientInstanceCapacity).")

    def _draining(self) -> Done:
        self._world.state.deregisters_first = False
        return Done("Containers are stopped while they are still registered with the balancer.")


def _is_called(name: str, wanted: str) -> bool:
    """Whether a word means that service: its name, or its stack's part of it, like quotes."""
    word = wanted.lower()
    return bool(word) and (word == name.lower() or f"-{word}-" in name.lower())


def _has(service: Service) -> str:
    """Name the task definition that a service is to have."""
    return service.definition.task_definition.name


def _broken(definition: Definition, how: str) -> dict[str, Value]:
    properties: dict[str, Value] = copy.deepcopy(dict(definition.properties))
    for container in properties["ContainerDefinitions"]:
        if not is_true(container.get("Essential", True)):
            continue
        if how == MISSING:
            name = str(container["Image"]).rpartition(":")[0]
            container["Image"] = f"{name}:no-such-tag"
        else:
            container.pop("EntryPoint", None)
            container["Command"] = ["python", "-c", IMAGES[how]]
    return properties
