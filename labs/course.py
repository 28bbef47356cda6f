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
    account.LAB,
)
# What the course has and no check looks at: its number, title, minutes and page.
UNCHECKED = ((10, "Kubernetes and pods", 30, "10-kubernetes.md"),)


def find(number: int) -> Lab:
    """Give the lab of a number; raises Failed for one that there is not."""
    for lab in LABS:
        if lab.number == number:
            return lab
    for unchecked, title, _, page in UNCHECKED:
        if unchecked == number:
            raise Failed(f"lab {number}, {title}, has no check; read docs/labs/{page}")
    there = ", ".join(str(lab.number) for lab in LABS)
    raise Failed(f"lab {number}: expected one of {there}")
