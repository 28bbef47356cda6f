"""Names and labels that Kubernetes takes, made of those that ECS has.

Sources, read 2026-11-25: the descriptions in the OpenAPI schemas, and for labels
https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/ (unverified: known,
not read again).
"""

from __future__ import annotations

import re

from templates import TemplateError

# A Service's name is a label of DNS, so that it can be asked for by it.
_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# What IANA takes as a service's name, and Kubernetes as a port's.
_PORT = re.compile(r"(?=[a-z0-9-]{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")

ECR = re.compile(r"^[^/]*\.dkr\.ecr\.[^/]+/(?P<name>.+)$")


def label(text: str, where: str) -> str:
    """Give a name as a label of DNS; raise TemplateError where that takes more than lower case."""
    name = text.lower().replace("_", "-")
    if not _LABEL.fullmatch(name):
        raise TemplateError(
            f"{where}: expected up to 63 letters, digits and hyphens, a letter first, got {text!r}"
        )
    return name


def is_port_name(text: str) -> bool:
    """Say whether a port may have that name in a Pod."""
    return _PORT.fullmatch(text) is not None


def labels(environment: str, service: str) -> dict[str, str]:
    """Give the labels by which a service's Pods are found; they must never change."""
    return {
        "app.kubernetes.io/name": service,
        "app.kubernetes.io/instance": f"{environment}-{service}",
    }


def local_image(image: str, where: str) -> str:
    """Give an image's name without ECR's registry, `<repository>:<tag>`; others keep theirs.

    Raises TemplateError for a name that only a deployment knows.
    """
    match = ECR.match(image)
    name = match["name"] if match else image
    if "${" in name:
        raise TemplateError(f"{where}: expected a name known before a deployment, got {image!r}")
    return name
