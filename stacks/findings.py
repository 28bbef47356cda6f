"""Accepts a scanner's finding beside its resource: which rule, why here, and until when."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from aws_cdk import Acknowledgment, CfnResource, Stack, Validations
from constructs import IConstruct

# The metadata that tests and `make audit` read back from the assembly.
ACCEPTED = "drydock:accepted"

# A reserved concurrency, a dead letter queue, a place in the VPC.
ONE_SHOT_FUNCTION = ("CKV_AWS_115", "CKV_AWS_116", "CKV_AWS_117")
ONE_SHOT_REASON = (
    "CloudFormation calls it once a deployment and waits for its answer, so there is nothing to "
    "throttle or to catch; it talks to AWS's APIs only."
)


def accept(construct: IConstruct, *rules: str, reason: str, until: date) -> None:
    """Accept `rules` on `construct` and what is below it until the end of that day.

    A rule is named as its scanner names it: cdk-nag's AwsSolutions-..., checkov's CKV_..., or
    cfn-lint's E and W numbers. The date is not read at synth, so that an old clone still works.
    """
    # All rules at once: each word to a construct is a message to another process.
    entry = {"rules": list(rules), "reason": reason, "until": until.isoformat()}
    construct.node.add_metadata(ACCEPTED, entry)
    checkov = [rule for rule in rules if rule.startswith("CKV_")]
    cfn_lint = [rule for rule in rules if re.fullmatch(r"[EW]\d+", rule)]
    others = [rule for rule in rules if rule not in checkov + cfn_lint]
    if checkov:
        skipped = [{"id": rule, "comment": reason} for rule in checkov]
        _extend(construct, "checkov", "skip", skipped)
    if cfn_lint:
        _extend(construct, "cfn-lint", "ignore_checks", cfn_lint)
    if others:
        Validations.of(construct).acknowledge(
            *(Acknowledgment(id=rule, reason=reason) for rule in others)
        )


def accept_cdk_functions(stack: Stack) -> None:
    """Accept what scanners find in the Lambda functions by which CDK itself makes `stack` whole."""
    for provider in stack.node.children:
        if provider.node.id.endswith("CustomResourceProvider"):
            function = provider.node.find_child("Handler")
            accept(function, *ONE_SHOT_FUNCTION, reason=ONE_SHOT_REASON, until=date(2027, 11, 30))
            accept(
                function,
                "W3005",
                reason="CDK's own template for its functions; the dependency is stated twice, "
                "which changes nothing.",
                until=date(2027, 11, 30),
            )


def _extend(construct: IConstruct, tool: str, key: str, entries: Sequence[object]) -> None:
    """Add to a list that `tool` reads in the metadata of the construct's resource, or template."""
    if isinstance(construct, Stack):
        everything = dict(construct.template_options.metadata or {})
        everything[tool] = _extended(everything.get(tool), tool, key, entries)
        construct.template_options.metadata = everything
        return
    resource = construct if isinstance(construct, CfnResource) else construct.node.default_child
    if not isinstance(resource, CfnResource):
        raise TypeError(f"{construct.node.path}: {tool} reads metadata of resources only")
    resource.add_metadata(tool, _extended(resource.get_metadata(tool), tool, key, entries))


def _extended(
    metadata: dict[str, Any] | None, tool: str, key: str, entries: Sequence[object]
) -> dict[str, Any]:
    extended: dict[str, Any] = dict(metadata or {})
    inner = extended.setdefault("config", {}) if tool == "cfn-lint" else extended
    inner.setdefault(key, []).extend(entries)
    return extended
