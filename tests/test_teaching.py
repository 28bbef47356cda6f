"""The instructor's page: its policy denies what it says and allows what is deployed.

The evaluation here is of this policy's few words only: Allow, Deny, two condition operators. IAM's
own was not asked.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

import templates
from ops.prices import ADDRESS, NAT_GATEWAY, cost_an_hour
from tests.conftest import PROJECT, Assembly, Values

PAGE = (PROJECT / "docs" / "teaching.md").read_text(encoding="utf-8")
POLICY: Values = json.loads((PROJECT / "docs/policies/learner.json").read_text(encoding="utf-8"))
ROLE = "arn:aws:iam::111122223333:role/somebody"
BOOTSTRAPPED = "arn:aws:iam::111122223333:role/cdk-hnb659fds-cfn-exec-role-111122223333-us-east-1"
TEACHERS = "arn:aws:iam::111122223333:role/Sandbox-Web-TaskRole-0A1B"
TEACHERS_PUBLISHER = "arn:aws:iam::111122223333:role/cdk-sandbox-publisher-us-east-1"
USER = "arn:aws:iam::111122223333:user/eve"
GROUP = "arn:aws:iam::111122223333:group/teachers"
OTHER = "arn:aws:iam::aws:policy/AdministratorAccess"
INSTANCE = "arn:aws:ec2:us-east-1:111122223333:instance/*"
BOUNDARY = "arn:aws:iam::111122223333:policy/Learner"


def listed(value: Any) -> list[str]:  # noqa: ANN401 - what JSON has in its place
    return [value] if isinstance(value, str) else list(value)


def applies(statement: Values, action: str, resource: str, context: dict[str, str]) -> bool:
    if not any(fnmatchcase(action.lower(), one.lower()) for one in listed(statement["Action"])):
        return False
    named = listed(statement.get("Resource", statement.get("NotResource")))
    if any(fnmatchcase(resource, one) for one in named) == ("NotResource" in statement):
        return False
    for operator, keys in statement.get("Condition", {}).items():
        assert operator in {"StringNotLike", "StringNotEquals"}
        for key, wanted in keys.items():
            # A negated operator holds where the request has no such key.
            if key in context and any(fnmatchcase(context[key], one) for one in listed(wanted)):
                return False
    return True


def allowed(action: str, resource: str, **context: str) -> bool:
    known = {key.replace("_", ":"): value for key, value in context.items()}
    effects = {
        one["Effect"] for one in POLICY["Statement"] if applies(one, action, resource, known)
    }
    return effects == {"Allow"}


@pytest.mark.parametrize(
    ("action", "resource", "context"),
    [
        ("iam:CreateRole", ROLE, {}),
        ("iam:CreateRole", ROLE, {"iam_PermissionsBoundary": BOUNDARY + "Else"}),
        ("iam:PutRolePermissionsBoundary", ROLE, {"iam_PermissionsBoundary": OTHER}),
        ("iam:DeleteRolePermissionsBoundary", ROLE, {}),
        ("iam:CreateUser", "arn:aws:iam::111122223333:user/eve", {}),
        ("iam:CreateAccessKey", "arn:aws:iam::111122223333:user/eve", {}),
        ("iam:CreatePolicyVersion", BOUNDARY, {}),
        ("iam:DeletePolicy", BOUNDARY, {}),
        *(
            (f"iam:{action}", role, {})
            for action in (
                "AttachRolePolicy", "DeleteRole", "PassRole", "PutRolePolicy",
                "UpdateAssumeRolePolicy",
            )
            for role in (BOOTSTRAPPED, ROLE, TEACHERS, TEACHERS_PUBLISHER)
        ),
        ("sts:AssumeRole", ROLE, {}),
        ("sts:AssumeRole", TEACHERS_PUBLISHER, {}),
        ("iam:AttachUserPolicy", USER, {}),
        ("iam:PutUserPolicy", USER, {}),
        ("iam:AddUserToGroup", GROUP, {}),
        ("iam:PutGroupPolicy", GROUP, {}),
        ("iam:AttachGroupPolicy", GROUP, {}),
        ("iam:UpdateSAMLProvider", "arn:aws:iam::111122223333:saml-provider/school", {}),
        ("ec2:CreateVpc", "*", {}),
        ("ec2:AllocateAddress", "*", {}),
        ("ec2:DeleteNatGateway", "*", {}),
        ("ec2:RunInstances", INSTANCE, {"ec2_InstanceType": "m7g.large"}),
        ("organizations:LeaveOrganization", "*", {}),
        ("servicequotas:RequestServiceQuotaIncrease", "*", {}),
    ],
)  # fmt: skip
def test_the_boundary_denies_what_a_learner_must_not(
    action: str, resource: str, context: dict[str, str]
) -> None:
    assert not allowed(action, resource, **context)


def test_the_boundary_allows_what_a_deploy_does() -> None:
    assert allowed("iam:CreateRole", ROLE, iam_PermissionsBoundary=BOUNDARY)
    assert allowed("iam:PutRolePolicy", "arn:aws:iam::1:role/cdk-ana-sandbox-publisher-us-east-1")
    assert allowed("ec2:CreateSecurityGroup", "*")
    assert allowed("ec2:RunInstances", INSTANCE, ec2_InstanceType="t3.small")
    assert allowed("ec2:RunInstances", "arn:aws:ec2:r:1:subnet/subnet-0a1b2c03")
    assert allowed("sts:AssumeRole", "arn:aws:iam::1:role/cdk-hnb659fds-deploy-role-1-r")


def test_the_boundary_leaves_a_learners_own_roles_to_the_deploy(
    learners: dict[str, Assembly],
) -> None:
    graph = templates.read(learners["ana"].directory)
    roles = [
        role.properties.get("RoleName", f"ana-Sandbox-Web-{role.logical_id}")
        for role in graph.resources("AWS::IAM::Role")
    ]
    assert "cdk-ana-sandbox-publisher-us-east-1" in roles
    scaling = "aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForX"
    for role in [*roles, scaling]:
        arn = f"arn:aws:iam::111122223333:role/{role}"
        for action in ("PassRole", "PutRolePolicy", "AttachRolePolicy", "DeleteRole"):
            assert allowed(f"iam:{action}", arn), (action, role)
    assert list(graph.resources("AWS::IAM::ManagedPolicy")) == []


def test_the_boundary_takes_nothing_from_a_learners_own_roles(
    learners: dict[str, Assembly],
) -> None:
    graph = templates.read(learners["ana"].directory)
    actions = {
        action
        for policy in graph.resources("AWS::IAM::Policy")
        for statement in policy.properties["PolicyDocument"]["Statement"]
        for action in listed(statement["Action"])
    }
    assert len(actions) > 10
    assert [action for action in sorted(actions) if not allowed(action, "arn:aws:x:::y")] == []


def test_iam_takes_the_policy_and_it_is_short_enough() -> None:
    text = json.dumps(POLICY)
    # Without whitespace, as IAM counts: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(re.sub(r"\s", "", text)) < 6144
    with mock_aws():
        client = boto3.client("iam", region_name="us-east-1")
        made = client.create_policy(PolicyName="Learner", PolicyDocument=text)
        assert made["Policy"]["Arn"].endswith(":policy/Learner")


def test_the_page_shows_the_policy_and_every_block_is_json() -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    assert POLICY in blocks
    assert any(
        block.get("sandbox", {}).get("permissions_boundary") == "Learner" for block in blocks
    )


def test_the_page_says_what_a_class_costs(learners: dict[str, Assembly], assembly: Path) -> None:
    shared = cost_an_hour(templates.read(learners["ana"].directory), "sandbox")
    gateway = NAT_GATEWAY + ADDRESS
    words = " ".join(PAGE.split())
    assert f"cost ${30 * shared.least + gateway:.2f} an hour with two instances each" in words
    assert f"and ${30 * shared.most + gateway:.2f} with three" in words
    own = cost_an_hour(templates.read(assembly), "sandbox")
    assert (
        f"${own.least:.2f} a learner ([cost](cost.md)), ${30 * own.least:.2f} for thirty" in words
    )
