"""Where the balancer sends a service's requests: its rule and its target group, or two of them."""

from __future__ import annotations

from datetime import date

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elbv2
from aws_cdk import aws_iam as iam
from constructs import Construct

from settings import RouteSettings, ServiceSettings
from stacks.findings import accept

TARGET_TYPES = {"bridge": elbv2.TargetType.INSTANCE, "awsvpc": elbv2.TargetType.IP}
NAMESPACE = "AWS/ApplicationELB"


class TargetGroups(Construct):
    """The listener rule of one service, and the target group that its tasks join.

    A strategy that shifts traffic needs a second group, between which ECS moves the weights.
    """

    primary: elbv2.ApplicationTargetGroup
    alternate: elbv2.ApplicationTargetGroup | None

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ServiceSettings,
        route: RouteSettings,
        vpc: ec2.IVpc,
        listener: elbv2.ApplicationListener,
        load_balancer: elbv2.ApplicationLoadBalancer,
    ) -> None:
        super().__init__(scope, construct_id)
        self._load_balancer = load_balancer
        self.primary = self._make_group("Primary", settings, route, vpc)
        shifts = settings.deployment.strategy != "rolling"
        self.alternate = self._make_group("Alternate", settings, route, vpc) if shifts else None
        self._rule = elbv2.ApplicationListenerRule(
            self,
            "Rule",
            listener=listener,
            priority=route.priority,
            conditions=[elbv2.ListenerCondition.path_patterns([route.path])],
            action=self._forward(),
        )

    @property
    def groups(self) -> list[elbv2.ApplicationTargetGroup]:
        """The target groups, the primary first."""
        return [self.primary, *([self.alternate] if self.alternate else [])]

    def attach(self, service: ecs.Ec2Service, container: ecs.ContainerDefinition) -> None:
        """Let `service` register its tasks, by `container`'s port."""
        alternate = None
        if self.alternate:
            rule = ecs.ListenerRuleConfiguration.application_listener_rule(self._rule)
            alternate = ecs.AlternateTarget(
                "Alternate",
                alternate_target_group=self.alternate,
                production_listener=rule,
                role=self._make_role(),
            )
        self.primary.add_target(
            service.load_balancer_target(
                container_name=container.container_name,
                container_port=container.container_port,
                alternate_target=alternate,
            )
        )

    def metric(self, name: str, statistic: str, *, together: str = "SUM") -> cloudwatch.IMetric:
        """Give a balancer's metric of this service by the minute, of both groups `together`."""
        metrics = {
            f"{name[0].lower()}{name[1:]}{index}": cloudwatch.Metric(
                namespace=NAMESPACE,
                metric_name=name,
                dimensions_map={
                    "LoadBalancer": self._load_balancer.load_balancer_full_name,
                    "TargetGroup": group.target_group_full_name,
                },
                statistic=statistic,
                period=Duration.minutes(1),
            )
            for index, group in enumerate(self.groups)
        }
        if len(metrics) == 1:
            return next(iter(metrics.values()))
        filled = ", ".join(f"FILL({metric}, 0)" for metric in metrics)
        return cloudwatch.MathExpression(
            expression=f"{together}([{filled}])",
            using_metrics=metrics,
            period=Duration.minutes(1),
            label=name,
        )

    def _make_group(
        self, construct_id: str, settings: ServiceSettings, route: RouteSettings, vpc: ec2.IVpc
    ) -> elbv2.ApplicationTargetGroup:
        return elbv2.ApplicationTargetGroup(
            self,
            construct_id,
            vpc=vpc,
            target_type=TARGET_TYPES[settings.task.network_mode],
            protocol=elbv2.ApplicationProtocol.HTTP,
            port=80,
            deregistration_delay=Duration.seconds(route.deregistration_delay_seconds),
            # A slow task gets fewer requests instead of its turn.
            load_balancing_algorithm_type=elbv2.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            health_check=elbv2.HealthCheck(
                path=route.health_path,
                # Named, since tasks share an instance on ports that nobody knows beforehand.
                port="traffic-port",
                healthy_http_codes="200",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )

    def _make_role(self) -> iam.Role:
        """Make the role by which ECS moves the rule's weights."""
        name = "AmazonECSInfrastructureRolePolicyForLoadBalancers"
        role = iam.Role(
            self,
            "TrafficShift",
            assumed_by=iam.ServicePrincipal("ecs.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(name)],
        )
        accept(
            role,
            f"AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/{name}]",
            reason="AWS keeps this policy in step with what ECS does to a balancer; only ECS can "
            "assume the role.",
            until=date(2027, 11, 30),
        )
        return role

    def _forward(self) -> elbv2.ListenerAction:
        if not self.alternate:
            return elbv2.ListenerAction.forward([self.primary])
        # Constant: ECS swaps the weights as it deploys, and a change of these would swap them back.
        return elbv2.ListenerAction.weighted_forward(
            [
                elbv2.WeightedTargetGroup(target_group=self.primary, weight=100),
                elbv2.WeightedTargetGroup(target_group=self.alternate, weight=0),
            ]
        )
