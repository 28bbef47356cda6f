"""Accepts a scanner's finding beside its resource: which rule, why here, and until when."""

from __future__ import annotations

from datetime import date

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
    for rule in rules:
        construct.node.add_metadata(
            ACCEPTED, {"rule": rule, "reason": reason, "until": until.isoformat()}
        )
        if rule.startswith("CKV"):
            _append(construct, "checkov", "skip", {"id": rule, "comment": reason})
        elif rule[0] in "EW" and rule[1:].isdigit():
            _append(construct, "cfn-lint", "ignore_checks", rule)
        else:
            Validations.of(construct).acknowledge(Acknowledgment(id=rule, reason=reason))


def accept_cdk_functions(stack: Stack) -> None:
    """Accept what scanners find in the Lambda functions by which CDK itself makes `stack` whole."""
    for resource in stack.node.find_all():
        if (
            not isinstance(resource, CfnResource)
            or "CustomResourceProvider" not in resource.node.path
        ):
            continue
        if resource.cfn_resource_type == "AWS::Lambda::Function":
            accept(resource, *ONE_SHOT_FUNCTION, reason=ONE_SHOT_REASON, until=date(2027, 11, 30))
            accept(
                resource,
                "W3005",
                reason="CDK's own template for its functions; the dependency is stated twice, "
                "which changes nothing.",
                until=date(2027, 11, 30),
            )


def _append(construct: IConstruct, tool: str, key: str, entry: object) -> None:
    """Add to a list that `tool` reads in the metadata of the construct's resource."""
    resource = construct.node.default_child or construct
    if not isinstance(resource, CfnResource):
        raise TypeError(f"{construct.node.path}: {tool} reads metadata of resources only")
    metadata = resource.get_metadata(tool) or {}
    inner = metadata.setdefault("config", {}) if tool == "cfn-lint" else metadata
    inner.setdefault(key, []).append(entry)
    resource.add_metadata(tool, metadata)
