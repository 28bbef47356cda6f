"""A task definition that gives its container what it needs and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import cast

from aws_cdk import Duration, Size
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from settings import Architecture, NetworkMode, ProxySettings, TaskSettings
from stacks.constructs.exec_record import ExecRecord
from stacks.findings import accept

NETWORK_MODES: dict[NetworkMode, ecs.NetworkMode] = {
    "bridge": ecs.NetworkMode.BRIDGE,
    "awsvpc": ecs.NetworkMode.AWS_VPC,
}
# No process of ours is this user on any host; the image's files belong to root.
USER = "10001:10001"
TMP_MIB = 64
# With it the proxy counts requests and answers, and not only connections.
HTTP = cast(ecs.AppProtocol, ecs.AppProtocol.http)
# What ECS Exec's agent must write, by the volumes that hold it. AWS does not support Exec on a
# read-only root; with these three it works for those who tell of it.
# Source: https://github.com/aws/containers-roadmap/issues/1359
EXEC_MOUNTS = {
    "exec-agent": "/managed-agents",
    "exec-state": "/var/lib/amazon/ssm",
    "exec-logs": "/var/log/amazon/ssm",
}


class HardenedTask(Construct):
    """One service's task definition: one container, least privilege, bounded in everything."""

    definition: ecs.Ec2TaskDefinition
    container: ecs.ContainerDefinition

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: TaskSettings,
        name: str,
        architecture: Architecture,
        image: ecr_assets.DockerImageAsset,
        log_group: logs.ILogGroup,
        exec_record: ExecRecord,
        offers_port: bool,
        variables: Mapping[str, str],
    ) -> None:
        super().__init__(scope, construct_id)
        self.definition = ecs.Ec2TaskDefinition(
            self,
            "Definition",
            network_mode=NETWORK_MODES[settings.network_mode],
            # An image for the other architecture ends as `exec format error`, task after task.
            placement_constraints=[
                ecs.PlacementConstraint.member_of(
                    f"attribute:ecs.cpu-architecture == {architecture}"
                )
            ],
        )
        linux = ecs.LinuxParameters(self, "Linux", init_process_enabled=True)
        linux.drop_capabilities(ecs.Capability.ALL)
        linux.add_tmpfs(
            ecs.Tmpfs(
                container_path="/tmp",  # noqa: S108 - a path in the container
                size=TMP_MIB,
                mount_options=[
                    ecs.TmpfsMountOption.NOEXEC,
                    ecs.TmpfsMountOption.NOSUID,
                    ecs.TmpfsMountOption.NODEV,
                ],
            )
        )
        self.container = self.definition.add_container(
            name,
            image=ecs.ContainerImage.from_docker_image_asset(image),
            cpu=settings.cpu,
            memory_limit_mib=settings.memory_mib,
            memory_reservation_mib=settings.memory_reservation_mib,
            user=USER,
            privileged=False,
            readonly_root_filesystem=True,
            linux_parameters=linux,
            docker_security_options=["no-new-privileges"],
            ulimits=[ecs.Ulimit(name=ecs.UlimitName.NOFILE, soft_limit=4096, hard_limit=4096)],
            stop_timeout=Duration.seconds(settings.stop_timeout_seconds),
            environment={
                "PORT": str(settings.port),
                "DRAIN_SECONDS": str(settings.drain_seconds),
                "KEEP_ALIVE_SECONDS": str(settings.keep_alive_seconds),
                **variables,
            },
            secrets={
                variable: ecs.Secret.from_secrets_manager(
                    secretsmanager.Secret.from_secret_complete_arn(self, variable, arn)
                )
                for variable, arn in settings.secrets.items()
            },
            # Host port 0: the agent picks one of its range, so that many tasks share an instance.
            port_mappings=[
                ecs.PortMapping(
                    container_port=settings.port,
                    # A name is by what a service offers the port to others.
                    name=name if offers_port else None,
                    app_protocol=HTTP if offers_port else None,
                )
            ],
            health_check=ecs.HealthCheck(
                command=["CMD", *settings.health_command],
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                retries=3,
                start_period=Duration.seconds(10),
            ),
            # A log that cannot be delivered is lost; it never stops the service that writes it.
            logging=ecs.LogDrivers.aws_logs(
                stream_prefix=name,
                log_group=log_group,
                mode=ecs.AwsLogDriverMode.NON_BLOCKING,
                max_buffer_size=Size.mebibytes(4),
            ),
        )
        accept(
            self.definition,
            "AwsSolutions-ECS2",
            reason="The variables are three numbers of the settings, kept in step with the "
            "balancer's, and the names of services that it calls; what is secret comes by "
            "reference to Secrets Manager.",
            until=date(2027, 11, 30),
        )
        accept(
            self.definition.obtain_execution_role(),
            "AwsSolutions-IAM5[Resource::*]",
            reason="ecr:GetAuthorizationToken knows no resource; the pull itself names the one "
            "repository, and the log streams the one log group.",
            until=date(2027, 11, 30),
        )
        if settings.proxy:
            self._make_room_for_the_proxy(settings, settings.proxy)
        if settings.exec:
            self._make_room_for_exec()
            exec_record.grant(cast(iam.Role, self.definition.task_role))

    def _make_room_for_the_proxy(self, settings: TaskSettings, proxy: ProxySettings) -> None:
        """Give the task more than its container, since ECS gives the proxy what that leaves.

        On EC2 too Service Connect needs the task's own limits, which are hard ones for all of it.
        Source, read 2026-11-25, with 256 units and 64 MiB as what AWS recommends for the proxy:
        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
        """
        definition = cast(ecs.CfnTaskDefinition, self.definition.node.default_child)
        definition.cpu = str(settings.cpu + proxy.cpu)
        definition.memory = str(settings.memory_mib + proxy.memory_mib)

    def _make_room_for_exec(self) -> None:
        for volume, path in EXEC_MOUNTS.items():
            self.definition.add_volume(
                name=volume,
                docker_volume_configuration=ecs.DockerVolumeConfiguration(
                    driver="local", scope=ecs.Scope.TASK
                ),
            )
            self.container.add_mount_points(
                ecs.MountPoint(container_path=path, source_volume=volume, read_only=False)
            )
