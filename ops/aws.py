"""The clients of one region, each made when it is first asked for, and how they retry."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_cloudformation import CloudFormationClient
    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_ec2 import EC2Client
    from types_boto3_ecr import ECRClient
    from types_boto3_ecs import ECSClient
    from types_boto3_elbv2 import ElasticLoadBalancingv2Client
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_sts import STSClient

# A teardown polls several APIs of one account; `standard` retries throttling with a backoff.
# Source: https://docs.aws.amazon.com/boto3/latest/guide/retries.html
RETRIES = Config(
    retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=10, read_timeout=30
)

# Answers as botocore parses them, of services for which no type stubs are installed.
Answer = dict[str, Any]


class Parameters(Protocol):
    """What is used of Systems Manager."""

    def get_parameter(self, *, Name: str) -> Answer: ...  # noqa: N803 - botocore's own name


class Pages(Protocol):
    """A paginator."""

    def paginate(self, **arguments: object) -> Any: ...  # noqa: ANN401 - pages of any operation


class ScalableTargets(Protocol):
    """What is used of Application Auto Scaling."""

    def describe_scalable_targets(self, **arguments: object) -> Answer: ...

    def register_scalable_target(self, **arguments: object) -> Answer: ...


class Paged(Protocol):
    """What is used of the tagging API."""

    def get_paginator(self, operation: str) -> Pages: ...


class Buckets(Paged, Protocol):
    """What is used of S3."""

    def delete_objects(self, **arguments: object) -> Answer: ...


class Quotas(Protocol):
    """What is used of Service Quotas."""

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> Answer: ...  # noqa: N803

    def get_aws_default_service_quota(
        self,
        *,
        ServiceCode: str,  # noqa: N803
        QuotaCode: str,  # noqa: N803
    ) -> Answer: ...


class Identities(Protocol):
    """What is used of IAM."""

    def get_account_summary(self) -> Answer: ...


class Keys(Protocol):
    """What is used of KMS."""

    def describe_key(self, *, KeyId: str) -> Answer: ...  # noqa: N803 - botocore's own name


class Budgets(Protocol):
    """What is used of AWS Budgets."""

    def describe_budgets(self, **arguments: object) -> Answer: ...


class Aws:
    """An account in one region, as the credentials of a session see it.

    `endpoint` is the URL of somebody else who answers AWS's API, as the rehearsal does.
    """

    def __init__(
        self, session: boto3.Session, *, config: Config = RETRIES, endpoint: str | None = None
    ) -> None:
        self._session = session
        self._options: dict[str, Any] = {"config": config, "endpoint_url": endpoint}

    @property
    def region(self) -> str | None:
        return self._session.region_name

    @cached_property
    def sts(self) -> STSClient:
        return self._session.client("sts", **self._options)

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return self._session.client("cloudformation", **self._options)

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self._session.client("cloudwatch", **self._options)

    @cached_property
    def ecs(self) -> ECSClient:
        return self._session.client("ecs", **self._options)

    @cached_property
    def autoscaling(self) -> AutoScalingClient:
        return self._session.client("autoscaling", **self._options)

    @cached_property
    def elbv2(self) -> ElasticLoadBalancingv2Client:
        return self._session.client("elbv2", **self._options)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self._session.client("logs", **self._options)

    @cached_property
    def scalable_targets(self) -> ScalableTargets:
        client: ScalableTargets = self._session.client("application-autoscaling", **self._options)
        return client

    @cached_property
    def parameters(self) -> Parameters:
        client: Parameters = self._session.client("ssm", **self._options)
        return client

    @cached_property
    def tags(self) -> Paged:
        client: Paged = self._session.client("resourcegroupstaggingapi", **self._options)
        return client

    @cached_property
    def buckets(self) -> Buckets:
        client: Buckets = self._session.client("s3", **self._options)
        return client

    @cached_property
    def keys(self) -> Keys:
        client: Keys = self._session.client("kms", **self._options)
        return client

    @cached_property
    def ec2(self) -> EC2Client:
        return self._session.client("ec2", **self._options)

    @cached_property
    def ecr(self) -> ECRClient:
        return self._session.client("ecr", **self._options)

    @cached_property
    def quotas(self) -> Quotas:
        client: Quotas = self._session.client("service-quotas", **self._options)
        return client

    @cached_property
    def identities(self) -> Identities:
        client: Identities = self._session.client("iam", **self._options)
        return client

    @cached_property
    def rules(self) -> Paged:
        client: Paged = self._session.client("events", **self._options)
        return client

    @cached_property
    def namespaces(self) -> Paged:
        client: Paged = self._session.client("servicediscovery", **self._options)
        return client

    @cached_property
    def budgets(self) -> Budgets:
        client: Budgets = self._session.client("budgets", **self._options)
        return client
