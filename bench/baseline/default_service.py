"""The field's default: one stack with CDK's ApplicationLoadBalancedEc2Service, as in its guide."""

from __future__ import annotations

from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_ecs_patterns as patterns


def build(app: App) -> None:
    """Add the stack to `app`."""
    stack = Stack(app, "Default")
    vpc = ec2.Vpc(stack, "Vpc", max_azs=2)
    cluster = ecs.Cluster(stack, "Cluster", vpc=vpc)
    cluster.add_capacity("Capacity", instance_type=ec2.InstanceType("t3.micro"), desired_capacity=2)
    patterns.ApplicationLoadBalancedEc2Service(
        stack,
        "Service",
        cluster=cluster,
        memory_limit_mib=512,
        task_image_options=patterns.ApplicationLoadBalancedTaskImageOptions(
            image=ecs.ContainerImage.from_registry("amazon/amazon-ecs-sample")
        ),
    )
