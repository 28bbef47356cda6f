"""Two learners on one account, in one VPC: nothing of theirs has the same name."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.conftest import Assembly, Values

# A metric's name is no resource's own, and these policies' need be unique in their role or target.
SHARED_NAMES = {
    "AWS::ApplicationAutoScaling::ScalingPolicy.PolicyName",
    "AWS::CloudWatch::Alarm.MetricName",
    "AWS::IAM::Policy.PolicyName",
}


def templates(assembly: Assembly) -> dict[str, Values]:
    """Give a learner's templates by the names of their stacks in CloudFormation."""
    found = {}
    for path in assembly.directory.glob("assembly-*/manifest.json"):
        artifacts = json.loads(path.read_text(encoding="utf-8"))["artifacts"].values()
        for one in artifacts:
            if one["type"] == "aws:cloudformation:stack":
                properties = one["properties"]
                template = (path.parent / properties["templateFile"]).read_text(encoding="utf-8")
                found[properties["stackName"]] = json.loads(template)
    return found


def names(assembly: Assembly) -> Iterator[tuple[str, str]]:
    """Give what must be one of its kind in an account: stacks, exports, and names of resources."""
    for stack, template in templates(assembly).items():
        yield "stack", stack
        for output in template.get("Outputs", {}).values():
            if "Export" in output:
                yield "export", output["Export"]["Name"]
        for resource in template.get("Resources", {}).values():
            for key, value in resource.get("Properties", {}).items():
                kind = f"{resource['Type']}.{key}"
                if key.endswith("Name") and kind not in SHARED_NAMES and isinstance(value, str):
                    yield kind, value


def test_no_name_of_one_learner_is_anothers(learners: dict[str, Assembly]) -> None:
    ana, ben = (set(names(assembly)) for assembly in learners.values())
    kinds = {kind for kind, _ in ana}
    assert {"stack", "export", "AWS::IAM::Role.RoleName"} <= kinds
    assert {"AWS::ECR::Repository.RepositoryName"} <= kinds
    assert ana & ben == set()


def test_each_stack_begins_with_its_learners_prefix(learners: dict[str, Assembly]) -> None:
    for name, assembly in learners.items():
        assert len(templates(assembly)) == 6
        assert all(stack.startswith(f"{name}-Sandbox-") for stack in templates(assembly))


def test_learners_in_a_shared_vpc_make_no_vpc_address_or_gateway(
    learners: dict[str, Assembly],
) -> None:
    scarce = {"AWS::EC2::VPC", "AWS::EC2::EIP", "AWS::EC2::NatGateway", "AWS::EC2::InternetGateway"}
    for assembly in learners.values():
        made = {
            resource["Type"]
            for template in templates(assembly).values()
            for resource in template.get("Resources", {}).values()
        }
        assert made & scarce == set()
        assert "AWS::ElasticLoadBalancingV2::LoadBalancer" in made
