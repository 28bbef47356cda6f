"""The labs, in their order."""

from __future__ import annotations

from labs import (
    account,
    balancer,
    deployments,
    images,
    instances,
    machines,
    microservices,
    pods,
    registry,
    scaling,
    tasks,
)
from labs.lab import Lab
from ops.environment import Failed

LABS: tuple[Lab, ...] = (
    images.LAB,
    machines.LAB,
    registry.LAB,
    tasks.LAB,
    balancer.LAB,
    instances.LAB,
    deployments.LAB,
    scaling.LAB,
    microservices.LAB,
    pods.LAB,
    account.LAB,
)


def find(number: int) -> Lab:
    """Give the lab of a number; raises Failed for one that there is not."""
    for lab in LABS:
        if lab.number == number:
            return lab
    there = ", ".join(str(lab.number) for lab in LABS)
    raise Failed(f"lab {number}: expected one of {there}")
