"""Scales services by their policies, on what the balancer counted and their containers used."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from rehearsal.engines import EngineError, Runtime
from rehearsal.meter import Meter
from rehearsal.records import TaskRecord
from scheduler import scaling
from scheduler.actions import Action
from scheduler.instance_types import CPU_UNITS
from scheduler.model import Bucket, Service
from scheduler.scaling import Policy, Scaler

MIB = 1 << 20


class ServiceScaling:
    """The policies of every service, by the service's name.

    `usage` has for each service what its tasks use of their reservations, in per cent: CPU and
    memory, as of the last minute; an engine takes seconds to say so, and does in a thread.
    """

    def __init__(
        self, engine: Runtime, in_background: Callable[[Callable[[], None]], None]
    ) -> None:
        self.scalers: dict[str, Scaler] = {}
        self.usage: dict[str, tuple[float, float]] = {}
        self._engine = engine
        self._in_background = in_background
        self._looking = threading.Lock()

    def decide(self, services: Mapping[str, Service], meter: Meter, now: float) -> Iterator[Action]:
        """Take a minute's values, and give what the policies ask for."""
        for name, scaler in self.scalers.items():
            service = services.get(name)
            if service is None or not service.is_active:
                continue
            running = service.number(Bucket.HEALTHY, Bucket.SETTLING)
            values = {
                policy.name: value
                for policy in scaler.policies
                if (value := self._value(policy, service, meter, running)) is not None
            }
            scaler.observe(values, now)
            yield from scaling.decide(scaler, service, running, now)

    def look(self, tasks: Mapping[str, TaskRecord]) -> None:
        """Have the engine asked what the services' containers use."""
        running = {
            container.runtime_id: (record.group.removeprefix("service:"), record)
            for record in tasks.values()
            for container in record.containers.values()
            if container.status == "RUNNING" and record.group.startswith("service:")
        }
        if running and self.scalers:
            self._in_background(lambda: self._ask(running))

    def _value(self, policy: Policy, service: Service, meter: Meter, running: int) -> float | None:
        if "Request" in policy.metric:
            groups = service.definition.target_groups
            return sum(meter.requests.get(one, 0) for one in groups) / max(running, 1)
        usage = self.usage.get(service.name)
        return None if usage is None else usage["Memory" in policy.metric]

    def _ask(self, running: Mapping[str, tuple[str, TaskRecord]]) -> None:
        if not self._looking.acquire(blocking=False):
            return  # the last answer is not there yet
        try:
            used = self._engine.usage(*running)
        except EngineError:
            return  # one of them has just ended; the next minute has another chance
        finally:
            self._looking.release()
        found: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for runtime_id, usage in used.items():
            name, record = running[runtime_id]
            task = record.definition.task
            # An engine's per cents are of one CPU, which has 1024 units.
            cpu = usage.cpu_percent * CPU_UNITS / max(task.cpu, 1)
            found[name].append((cpu, 100 * usage.memory_bytes / MIB / max(task.memory, 1)))
        self.usage = {
            name: (sum(one for one, _ in all_) / len(all_), sum(one for _, one in all_) / len(all_))
            for name, all_ in found.items()
        }
