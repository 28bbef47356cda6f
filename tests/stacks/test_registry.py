"""What RegistryStack promises."""

from __future__ import annotations

import json

from tests.conftest import Assembly


def test_images_are_immutable_and_scanned(synthesized: Assembly) -> None:
    for environment in ("Sandbox", "Production"):
        repository = synthesized.stack(f"{environment}/Registry").one("AWS::ECR::Repository")
        assert repository["ImageTagMutability"] == "IMMUTABLE"
        assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


def test_no_tag_ever_expires(synthesized: Assembly) -> None:
    repository = synthesized.stack("Sandbox/Registry").one("AWS::ECR::Repository")
    rules = json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert [rule["selection"]["tagStatus"] for rule in rules] == ["untagged"]


def test_a_sandbox_takes_its_images_along(synthesized: Assembly) -> None:
    stack = synthesized.stack("Sandbox/Registry")
    ((_, resource),) = stack.resources("AWS::ECR::Repository").items()
    assert resource["DeletionPolicy"] == "Delete"
    assert resource["Properties"]["EmptyOnDelete"] is True


def test_a_rename_never_replaces_the_images(synthesized: Assembly) -> None:
    """The name is fixed, and what CloudFormation would replace or delete stays."""
    ((name, resource),) = (
        synthesized.stack("Production/Registry").resources("AWS::ECR::Repository").items()
    )
    assert name == "Web3C8945DB"
    assert resource["Properties"]["RepositoryName"] == "production-web"
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert (
        "EmptyOnDelete" not in resource["Properties"] or not resource["Properties"]["EmptyOnDelete"]
    )
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
    assert names == {"sandbox-web", "sandbox-quotes"}


def test_a_prefix_sets_the_names_of_a_learner_apart(variants: Assembly) -> None:
    stack = variants.stack("Prefixed/Registry")
    assert stack.one("AWS::ECR::Repository")["RepositoryName"] == "ana-prefixed-web"
    assert stack.one("AWS::IAM::Role")["RoleName"] == "cdk-ana-prefixed-publisher-us-east-1"
