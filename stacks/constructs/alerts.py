"""Who hears of it: the topic of every alarm, and the budget."""

from __future__ import annotations

from datetime import date

from aws_cdk import RemovalPolicy
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from settings import AlertSettings
from stacks.findings import accept

# Alarms, and the rule that tells of failed deployments.
SENDERS = ("cloudwatch.amazonaws.com", "events.amazonaws.com")


class Alerts(Construct):
    """A topic with one subscriber, and a monthly budget that writes to the same address."""

    topic: sns.Topic

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: AlertSettings, encrypted: bool
    ) -> None:
        super().__init__(scope, construct_id)
        self.topic = sns.Topic(
            self,
            "Topic",
            enforce_ssl=True,
            master_key=self._make_key() if encrypted else None,
        )
        # A topic with a policy of its own has lost the default one, by which alarms could publish.
        # No condition on them: EventBridge cannot publish through one.
        # Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
        for service in SENDERS:
            self.topic.grant_publish(iam.ServicePrincipal(service))
        self.topic.add_subscription(subscriptions.EmailSubscription(settings.email))
        if not encrypted:
            accept(
                self.topic,
                "CKV_AWS_26",
                reason="An alarm's text holds names and numbers, no data; logs.encrypted puts the "
                "topic under a key of the account's own too.",
                until=date(2027, 11, 30),
            )
        # The whole account's cost: a filter by tag would see nothing until somebody activates
        # the tag for cost allocation, and a budget that sees nothing warns of nothing.
        budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(
                    amount=settings.monthly_budget_usd, unit="USD"
                ),
            ),
            notifications_with_subscribers=[
                self._notification(settings, kind, percent)
                for kind, percent in (("ACTUAL", 80), ("FORECASTED", 100))
            ],
        )

    def _make_key(self) -> kms.Key:
        key = kms.Key(self, "Key", enable_key_rotation=True, removal_policy=RemovalPolicy.DESTROY)
        # Without this an alarm fails to publish, and says so only in its own history.
        # Source: https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
        for service in SENDERS:
            key.add_to_resource_policy(
                iam.PolicyStatement(
                    principals=[iam.ServicePrincipal(service)],
                    actions=["kms:Decrypt", "kms:GenerateDataKey*"],
                    resources=["*"],
                )
            )
        return key

    @staticmethod
    def _notification(
        settings: AlertSettings, kind: str, percent: int
    ) -> budgets.CfnBudget.NotificationWithSubscribersProperty:
        return budgets.CfnBudget.NotificationWithSubscribersProperty(
            notification=budgets.CfnBudget.NotificationProperty(
                comparison_operator="GREATER_THAN",
                notification_type=kind,
                threshold=percent,
                threshold_type="PERCENTAGE",
            ),
            subscribers=[
                budgets.CfnBudget.SubscriberProperty(
                    address=settings.email, subscription_type="EMAIL"
                )
            ],
        )


def alarm(
    scope: Construct,
    construct_id: str,
    *,
    metric: cloudwatch.IMetric,
    above: float,
    minutes: int,
    topic: sns.ITopic,
    says: str,
) -> cloudwatch.Alarm:
    """Alarm when `metric`, of one-minute periods, is above a threshold for `minutes` in a row.

    Missing data is good: nobody asked, or nothing runs. What to do about each alarm stands in
    docs/operations.md under its construct id.
    """
    made = cloudwatch.Alarm(
        scope,
        construct_id,
        metric=metric,
        threshold=above,
        comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
        evaluation_periods=minutes,
        treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        alarm_description=says,
    )
    made.add_alarm_action(actions.SnsAction(topic))
    return made
