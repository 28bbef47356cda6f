"""RegistryStack: the image repositories, which keep data, and the role that may push to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from aws_cdk import DefaultStackSynthesizer, Duration, RemovalPolicy, Stack, Tags
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_iam as iam
from constructs import Construct

from settings import RegistrySettings
from stacks.findings import accept


class RegistryStack(Stack):
    """One immutable, scanned repository for each microservice."""

    repositories: dict[str, ecr.Repository]

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: RegistrySettings,
        environment: str,
        services: Iterable[str],
        retain_data: bool,
    ) -> None:
        super().__init__(scope, construct_id, description="Drydock: the image repositories")
        self._environment_name = environment
        self.repositories = {
            name: self._make_repository(name, settings, retain_data) for name in services
        }
        # The CDK CLI assumes this role to push. Its name begins as those of the bootstrap roles
        # do, because accounts that let people only assume `cdk-*` roles are common.
        self._publisher_name = f"cdk-{environment}-publisher-{self.region}"
        publisher = iam.Role(
            self,
            "Publisher",
            role_name=self._publisher_name,
            # With tags, as the bootstrap roles: a session that carries some could not assume it.
            assumed_by=iam.AccountPrincipal(self.account).with_session_tags(),
        )
        # AWS's sample policy for those who deploy lets them assume roles that carry this tag.
        # Source: https://docs.aws.amazon.com/cdk/v2/guide/best-practices-security.html
        Tags.of(publisher).add("aws-cdk:bootstrap-role", "image-publishing")
        for repository in self.repositories.values():
            repository.grant_pull_push(publisher)
            repository.grant(publisher, "ecr:DescribeImages", "ecr:DescribeRepositories")
        accept(
            publisher,
            "AwsSolutions-IAM5[Resource::*]",
            reason="ecr:GetAuthorizationToken knows no resource; every other action names ours.",
            until=date(2027, 11, 30),
        )

    def synthesizer_for(self, service: str) -> DefaultStackSynthesizer:
        """Make the synthesizer of a stack whose image goes into `service`'s repository.

        The names go into the asset manifest, which the CLI reads before CloudFormation knows any
        reference; so the repositories and the role have names of ours.
        """
        return DefaultStackSynthesizer(
            image_assets_repository_name=f"{self._environment_name}-{service}",
            image_asset_publishing_role_arn="arn:${AWS::Partition}:iam::${AWS::AccountId}:role/"
            + self._publisher_name,
        )

    def _make_repository(
        self, service: str, settings: RegistrySettings, retain_data: bool
    ) -> ecr.Repository:
        repository = ecr.Repository(
            self,
            service.title().replace("-", ""),
            repository_name=f"{self._environment_name}-{service}",
            image_scan_on_push=True,
            image_tag_mutability=ecr.TagMutability.IMMUTABLE,
            encryption=ecr.RepositoryEncryption.KMS
            if settings.encryption == "kms"
            else ecr.RepositoryEncryption.AES_256,
            # Only untagged images expire. Every tag was deployed once, and a revert deploys it
            # again: no count or age of tags could tell the one in use from the others.
            lifecycle_rules=[
                ecr.LifecycleRule(
                    description="Untagged images are in nobody's task definition",
                    tag_status=ecr.TagStatus.UNTAGGED,
                    max_image_age=Duration.days(settings.untagged_image_days),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN if retain_data else RemovalPolicy.DESTROY,
            empty_on_delete=not retain_data,
        )
        if settings.encryption == "aes256":
            accept(
                repository,
                "CKV_AWS_136",
                reason="The settings choose the key that ECR owns, which costs nothing; "
                "registry.encryption changes it, and replaces the repository.",
                until=date(2027, 11, 30),
            )
        return repository
