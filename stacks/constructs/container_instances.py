"""The EC2 instances that a cluster stands on, and the capacity provider that counts them."""

from __future__ import annotations

from datetime import date
from typing import cast

from aws_cdk import CfnElement, Duration, Stack, Token
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from settings import AgentSettings, ClusterSettings
from stacks.constructs.logs import Logs
from stacks.constructs.trunking_check import TrunkingCheck
from stacks.findings import accept

# An AMI's name under this path is the same image in every region, and never another one.
# Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
AMI_PARAMETERS = {
    "x86_64": "/aws/service/ecs/optimized-ami/amazon-linux-2023/{ami}/image_id",
    "arm64": "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/{ami}/image_id",
}


class ContainerInstances(Construct):
    """An Auto Scaling group of ECS container instances behind a capacity provider."""

    security_group: ec2.SecurityGroup
    group: autoscaling.AutoScalingGroup
    capacity_provider: ecs.AsgCapacityProvider

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: ClusterSettings,
        cluster: ecs.Cluster,
        logs: Logs,
    ) -> None:
        super().__init__(scope, construct_id)
        self.security_group = ec2.SecurityGroup(
            self,
            "SecurityGroup",
            vpc=cluster.vpc,
            description="Container instances: out to anywhere, in only on the host ports of tasks",
        )
        self.role = self._make_role(cluster)
        self.group = self._make_group(settings, cluster.vpc)
        self.capacity_provider = self._make_capacity_provider(settings, cluster)
        if settings.eni_trunking:
            check = TrunkingCheck(self, "TrunkingCheck", log_group=logs.group("TrunkingCheck"))
            self.group.node.add_dependency(check)

    def _make_role(self, cluster: ecs.Cluster) -> iam.Role:
        role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
        # Session Manager's own minimum. AmazonSSMManagedInstanceCore would let every instance,
        # and so every process that breaks out of a container, read all of the account's parameters.
        # Source: https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html
        role.add_to_policy(
            iam.PolicyStatement(
                actions=[
                    "ssm:UpdateInstanceInformation",
                    "ssmmessages:CreateControlChannel",
                    "ssmmessages:CreateDataChannel",
                    "ssmmessages:OpenControlChannel",
                    "ssmmessages:OpenDataChannel",
                ],
                resources=["*"],
            )
        )
        # By this Service Connect's proxy learns where the others are; CDK's statement for the agent
        # has the condition on a key that AWS documents for container instances. Source, read
        # 2026-11-25: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
        stack = Stack.of(self)
        task_sets = stack.format_arn(
            service="ecs", resource="task-set", resource_name=f"{cluster.cluster_name}/*"
        )
        role.add_to_policy(iam.PolicyStatement(actions=["ecs:Poll"], resources=[task_sets]))
        shown = _as_cdk_nag_shows(task_sets, stack, cluster)
        accept(
            role,
            f"AwsSolutions-IAM5[Resource::{shown}]",
            reason="The task sets of this one cluster, whose names ECS makes.",
            until=date(2027, 11, 30),
        )
        accept(
            role,
            "AwsSolutions-IAM5[Resource::*]",
            reason="Session Manager's channels, the ECS agent's polling and ECR's log-in know no "
            "resource; the statements name their actions one by one.",
            until=date(2027, 11, 30),
        )
        accept(
            role,
            "AwsSolutions-IAM5[Action::ecs:Submit*]",
            reason="Three calls by which the agent reports state, and only on this cluster; the "
            "statement is CDK's own for every capacity provider.",
            until=date(2027, 11, 30),
        )
        accept(
            role.node.find_child("DefaultPolicy"),
            "CKV_AWS_111",
            reason="The writes are log events, Session Manager's channels and the instance's own "
            "registration, which know no resource or are bound to this cluster.",
            until=date(2027, 11, 30),
        )
        return role

    def _make_group(self, settings: ClusterSettings, vpc: ec2.IVpc) -> autoscaling.AutoScalingGroup:
        parameter = AMI_PARAMETERS[settings.architecture].format(ami=settings.ami)
        template = ec2.LaunchTemplate(
            self,
            "Template",
            machine_image=ec2.MachineImage.from_ssm_parameter(parameter),
            user_data=_agent_configuration(settings.agent),
            role=self.role,
            security_group=self.security_group,
            http_tokens=ec2.LaunchTemplateHttpTokens.REQUIRED,
            # One hop ends at the instance: a container in bridge mode is one further, and so
            # cannot fetch the instance's credentials.
            http_put_response_hop_limit=1,
            detailed_monitoring=settings.detailed_monitoring,
            block_devices=[
                ec2.BlockDevice(
                    device_name="/dev/xvda",
                    volume=ec2.BlockDeviceVolume.ebs(
                        settings.root_volume_gib,
                        encrypted=True,
                        volume_type=ec2.EbsDeviceVolumeType.GP3,
                    ),
                )
            ],
        )
        group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            vpc=vpc,
            vpc_subnets=_private(vpc),
            mixed_instances_policy=autoscaling.MixedInstancesPolicy(
                launch_template=template,
                launch_template_overrides=[
                    autoscaling.LaunchTemplateOverrides(instance_type=ec2.InstanceType(name))
                    for name in settings.instance_types
                ],
                instances_distribution=autoscaling.InstancesDistribution(
                    on_demand_base_capacity=settings.on_demand_base,
                    on_demand_percentage_above_base_capacity=settings.on_demand_percent,
                    spot_allocation_strategy=autoscaling.SpotAllocationStrategy.PRICE_CAPACITY_OPTIMIZED,
                ),
            ),
            # No desired capacity: a deploy would undo what managed scaling has decided.
            min_capacity=settings.min_instances,
            max_capacity=settings.max_instances,
            capacity_rebalance=settings.on_demand_percent < 100,
            max_instance_lifetime=Duration.days(settings.max_instance_lifetime_days),
            group_metrics=[autoscaling.GroupMetrics.all()],
            # Launch before terminate also when an instance is too old or ill; without these two
            # Auto Scaling ends it first.
            # Source: https://docs.aws.amazon.com/autoscaling/ec2/userguide/instance-maintenance-policy-overview-and-considerations.html
            min_healthy_percentage=100,
            max_healthy_percentage=200,
            # A changed template replaces the instances, a new one first; ECS drains the old ones.
            # REFRESH, since instances under ECS's termination protection would be waited for.
            update_policy=autoscaling.UpdatePolicy.instance_refresh(
                strategy=autoscaling.InstanceRefreshStrategy.ROLLING,
                min_healthy_percentage=100,
                max_healthy_percentage=200,
                scale_in_protected_instances=autoscaling.ScaleInProtectedInstances.REFRESH,
                skip_matching=True,
            ),
        )
        accept(
            group,
            "AwsSolutions-EC26",
            reason="The rule reads a launch template only where the group names it directly, and "
            "fails on a mixed-instances policy. Ours is encrypted; a test asserts it.",
            until=date(2027, 11, 30),
        )
        accept(
            group,
            "AwsSolutions-AS3",
            reason="Instances come and go with every scaling step. Alarms watch for missing "
            "capacity, and the group's activities keep the history.",
            until=date(2027, 11, 30),
        )
        return group

    def _make_capacity_provider(
        self, settings: ClusterSettings, cluster: ecs.Cluster
    ) -> ecs.AsgCapacityProvider:
        provider = ecs.AsgCapacityProvider(
            self,
            "CapacityProvider",
            auto_scaling_group=self.group,
            # Each of the three is explicit. Left out, CDK's draining is not the documented one
            # (aws-cdk #35539), and protection is on, which makes `cdk destroy` hang (#18179).
            enable_managed_scaling=True,
            enable_managed_draining=True,
            enable_managed_termination_protection=settings.termination_protection,
            target_capacity_percent=settings.target_capacity_percent,
        )
        cluster.add_asg_capacity_provider(provider)
        cluster.add_default_capacity_provider_strategy(
            [
                ecs.CapacityProviderStrategy(
                    capacity_provider=provider.capacity_provider_name, weight=1
                )
            ]
        )
        return provider


def _agent_configuration(agent: AgentSettings) -> ec2.UserData:
    """Write /etc/ecs/ecs.config; CDK appends the cluster's name.

    Source of every key: https://github.com/aws/amazon-ecs-agent/blob/master/README.md
    """
    ports = agent.host_ports
    values = {
        "ECS_AWSVPC_BLOCK_IMDS": "true",
        "ECS_DISABLE_PRIVILEGED": "true",
        # Pinned, because the default differs by image and kernel (aws-cdk #9778), and the
        # balancer's rule opens exactly this range.
        "ECS_DYNAMIC_HOST_PORT_RANGE": f"{ports.first}-{ports.last}",
        "ECS_ENABLE_CONTAINER_METADATA": "true",
        # CDK writes this for a plain Spot group only, not for a mixed one.
        "ECS_ENABLE_SPOT_INSTANCE_DRAINING": "true",
        "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION": "1h",
        # Tags are immutable, so an image that is there is the right one, registry or not. Not
        # prefer-cached, which also ends the clean-up of images and so fills the disk.
        "ECS_IMAGE_PULL_BEHAVIOR": "once",
        "ECS_RESERVED_MEMORY": str(agent.reserved_memory_mib),
        "ECS_TASK_PIDS_LIMIT": str(agent.task_pids_limit),
    }
    user_data = ec2.UserData.for_linux()
    user_data.add_commands(
        *(f"echo {key}={value} >> /etc/ecs/ecs.config" for key, value in values.items())
    )
    return user_data


def _as_cdk_nag_shows(arn: str, stack: Stack, cluster: ecs.Cluster) -> str:
    """Write an ARN with what only the deployment knows in cdk-nag's own brackets."""
    logical_id = stack.get_logical_id(cast(CfnElement, cluster.node.default_child))
    shown = arn.replace(cluster.cluster_name, f"<{logical_id}>")
    if Token.is_unresolved(stack.account):
        shown = shown.replace(stack.account, "<AWS::AccountId>")
    return shown


def _private(vpc: ec2.IVpc) -> ec2.SubnetSelection:
    """Select the private subnets, with a way out or without one."""
    return ec2.SubnetSelection(subnets=vpc.private_subnets or vpc.isolated_subnets)
