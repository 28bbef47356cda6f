"""What an EC2 instance type registers with ECS: CPU units, memory, network interfaces for tasks.

The table beside this file has vCPUs, memory and interfaces from EC2's DescribeInstanceTypes (as
moto 5.2.5 ships it), and the limits with trunking from
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/eni-trunking-supported-instance-types.html
(read 2026-11-24). The agent registers what the kernel calls its total memory, which is less than
the type's (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/memory-management.html); AWS
publishes no list, so `registered_mib` has what was seen on running instances, and where it is empty
the memory is an estimate.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scheduler.model import InstanceKind

CPU_UNITS = 1024
# The least that was seen of the small types' memory; what is not known is rather too little.
ESTIMATE = 0.90


class UnknownInstanceType(ValueError):  # noqa: N818 - says what is not known, and what is
    """Names an instance type that the table does not have, and how to add it."""


@dataclass(frozen=True)
class InstanceType:
    """A row of the table; `registered_mib` is None where nobody is known to have looked."""

    name: str
    vcpus: int
    memory_mib: int
    interfaces: int
    tasks_with_trunking: int | None
    registered_mib: int | None

    @property
    def memory(self) -> int:
        """The MiB that its agent registers before it reserves any."""
        return self.registered_mib or int(self.memory_mib * ESTIMATE)

    def kind(
        self,
        *,
        reserved_memory: int = 0,
        dynamic_ports: int = 1 << 15,
        trunking: bool = False,
        attributes: Mapping[str, str] | None = None,
    ) -> InstanceKind:
        """Give what is left for tasks, after the agent's reserve and the primary interface.

        Raises UnknownInstanceType where trunking is on and the type has no known limit with it:
        the t types have none, others may lack it in the table.
        """
        # Source, read 2026-11-24:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-instance-eni.html
        interfaces = self.interfaces - 1
        if trunking:
            if self.tasks_with_trunking is None:
                raise UnknownInstanceType(
                    f"{self.name}: expected a type with a limit for trunking in "
                    "scheduler/instance_types.csv, got none"
                )
            interfaces = self.tasks_with_trunking
        return InstanceKind(
            self.name,
            cpu=self.vcpus * CPU_UNITS,
            memory=self.memory - reserved_memory,
            interfaces=interfaces,
            dynamic_ports=dynamic_ports,
            attributes=attributes or {},
        )


def instance_type(name: str) -> InstanceType:
    """Look a type up; raise UnknownInstanceType where the table has no such row."""
    if name not in _table():
        raise UnknownInstanceType(
            f"{name}: expected a type of scheduler/instance_types.csv; add a row with its vCPUs, "
            "memory and interfaces from: aws ec2 describe-instance-types --instance-types " + name
        )
    return _table()[name]


@cache
def _table() -> dict[str, InstanceType]:
    path = Path(__file__).with_name("instance_types.csv")
    with path.open(encoding="ascii", newline="") as file:
        return {
            row["type"]: InstanceType(
                name=row["type"],
                vcpus=int(row["vcpus"]),
                memory_mib=int(row["memory_mib"]),
                interfaces=int(row["interfaces"]),
                tasks_with_trunking=int(row["tasks_with_trunking"] or 0) or None,
                registered_mib=int(row["registered_mib"] or 0) or None,
            )
            for row in csv.DictReader(file)
        }
