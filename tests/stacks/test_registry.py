"""What RegistryStack promises."""

from __future__ import annotations

import json

from tests.conftest import Assembly


def test_images_are_immutable_and_scanned(synthesized: Assembly) -> None:
    for environment in ("Sandbox", "Production"):
        for one in synthesized.stack(f"{environment}/Registry").all("AWS::ECR::Repository"):
            assert one["ImageTagMutability"] == "IMMUTABLE"
            assert one["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_no_tag_ever_expires(synthesized: Assembly) -> None:
    for repository in synthesized.stack("Sandbox/Registry").all("AWS::ECR::Repository"):
        rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
        assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]


def test_a_sandbox_takes_its_images_along(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Registry")
    for resource in stack.resources("AWS::ECR::Repository").values():
        assert resource["DeletionPolicy"] == "Delete"
        assert resource["Properties"]["EmptyOnDelete"] is True


def test_a_rename_never_replaces_the_images(synthesized: Assembly) -> None:
    """The name is fixed, and what CloudFormation would replace or delete stays."""
    found = synthesized.stack("Production/Registry").resources("AWS::ECR::Repository")
    names = {name: one["Properties"]["RepositoryName"] for name, one in found.items()}
    assert names == {"Web3C8945DB": "production-web", "Quotes4DCFF1CF": "production-quotes"}
    for resource in found.values():
        assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
        assert not resource["Properties"].get("EmptyOnDelete")
        assert resource["Properties"]["EncryptionConfiguration"] == {"EncryptionType": "KMS"}


def test_the_publisher_pushes_to_our_repositories_only(added: Assembly) -> None:
    stack = added.stack("Sandbox/Registry")
    role = stack.one("AWS::IAM::Role")
    assert role["RoleName"] == "cdk-sandbox-publisher-us-east-1"
    tags = {one["Key"]: one["Value"] for one in role["Tags"]}
    assert tags["aws-cdk:bootstrap-role"] == "image-publishing"
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    statements = stack.one("AWS::IAM::Policy")["PolicyDocument"]["Statement"]
    anywhere = [one["Action"] for one in statements if one["Resource"] == "*"]
    assert anywhere == ["ecr:GetAuthorizationToken"]
    (pushed,) = [one["Resource"] for one in statements if "ecr:PutImage" in one["Action"]]
    names = stack.resources("AWS::ECR::Repository")
    assert pushed == [{"Fn::GetAtt": [name, "Arn"]} for name in sorted(names)]


def test_each_service_has_a_repository_of_its_own(added: Assembly) -> None:
    repositories = added.stack("Sandbox/Registry").all("AWS::ECR::Repository")
    names = {one["RepositoryName"] for one in repositories}
    assert names == {"sandbox-web", "sandbox-quotes", "sandbox-monolith"}


def test_a_prefix_sets_the_names_of_a_learner_apart(variants: Assembly) -> None:
    stack = variants.stack("Prefixed/Registry")
    names = {one["RepositoryName"] for one in stack.all("AWS::ECR::Repository")}
    assert names == {"ana-prefixed-web", "ana-prefixed-quotes"}
    assert stack.one("AWS::IAM::Role")["RoleName"] == "cdk-ana-prefixed-publisher-us-east-1"
