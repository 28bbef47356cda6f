"""The map: which environments there are, and of which stacks each is made."""

from __future__ import annotations

import gc

gc.disable()  # What an app makes lives to its end; to look for garbage costs a tenth of a synth.

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from aws_cdk import (
    App,
    Environment,
    PermissionsBoundary,
    Stack,
    Stage,
    Tags,
    Validations,
)
from constructs import Construct

from settings import EnvironmentSettings, SettingsError, load
from stacks.cluster import ClusterStack
from stacks.ingress import IngressStack
from stacks.network import NetworkStack
from stacks.registry import RegistryStack
from stacks.service import ServiceStack

PROJECT = Path(__file__).parent
TAG = "drydock:environment"


class DrydockEnvironment(Stage):
    """Everything that one environment is, in the order in which it is deployed."""

    def __init__(self, scope: Construct, name: str, *, settings: EnvironmentSettings) -> None:
        prefix = f"{settings.prefix}-" if settings.prefix else ""
        boundary = settings.permissions_boundary
        super().__init__(
            scope,
            name.title(),
            env=Environment(account=settings.account, region=settings.region),
            stage_name=prefix + name.title(),
            # On every role, those that the CDK makes for its own functions too.
            permissions_boundary=PermissionsBoundary.from_name(boundary) if boundary else None,
        )
        logs, retain = settings.logs, settings.retain_data
        network = NetworkStack(
            self, "Network", settings=settings.network, logs=logs, retain_data=retain
        )
        registry = RegistryStack(
            self,
            "Registry",
            settings=settings.registry,
            environment=prefix + name,
            services=settings.services,
            retain_data=retain,
        )
        cluster = ClusterStack(
            self,
            "Cluster",
            settings=settings.cluster,
            alerts=settings.alerts,
            logs=logs,
            retain_data=retain,
            environment=prefix + name,
            connect_ports=settings.connect_ports,
            vpc=network.vpc,
        )
        ingress = IngressStack(
            self,
            "Ingress",
            settings=settings.ingress,
            logs=logs,
            retain_data=retain,
            deletion_protection=settings.deletion_protection,
            bridge_ports=settings.bridge_ports,
            vpc=network.vpc,
            instances=cluster.instances,
            topic=cluster.topic,
        )
        services: dict[str, ServiceStack] = {}
        # A task knows only the names that were there when its service was deployed, so a service
        # is deployed after those that it calls. Source, read 2026-11-25:
        # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
        for service_name in settings.callees_first:
            service_settings = settings.services[service_name]
            callees = [services[called] for called in service_settings.calls]
            services[service_name] = service = ServiceStack(
                self,
                service_name.title().replace("-", ""),
                settings=service_settings,
                logs=logs,
                retain_data=retain,
                environment=prefix + name,
                name=service_name,
                architecture=settings.cluster.architecture,
                synthesizer=registry.synthesizer_for(service_name),
                cluster=cluster.cluster,
                capacity_provider=cluster.capacity_provider,
                listener=ingress.listener,
                load_balancer=ingress.load_balancer,
                topic=cluster.topic,
                exec_record=cluster.exec_record,
                instances=cluster.instances,
                host_ports=settings.cluster.agent.host_ports,
                callees=[callee.endpoint for callee in callees if callee.endpoint],
                called_from_instances=settings.called_from_instances(service_name),
            )
            # Image and endpoint are named, not referred to, so CloudFormation cannot see these.
            service.add_stack_dependency(registry)
            for callee in callees:
                service.add_stack_dependency(callee)
        Tags.of(self).add(TAG, prefix + name)
        for stack in self.node.children:
            cast(Stack, stack).termination_protection = settings.deletion_protection
            # The line above tags resources; a stack is found by its own tag only.
            Tags.of(stack).add(TAG, prefix + name, include_resource_types=["aws:cdk:stack"])


def build(
    app: App, environments: Mapping[str, EnvironmentSettings]
) -> dict[str, DrydockEnvironment]:
    """Add every environment to `app`; by its name in the settings."""
    return {
        name: DrydockEnvironment(app, name, settings=settings)
        for name, settings in environments.items()
    }


def check(app: App) -> None:
    """Let AwsSolutions look at every template, and at an audit's wish the compliance packs too."""
    import cdk_nag  # here, since what only builds an app, as some tests do, need not pay for it

    Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))
    if app.node.try_get_context("audit"):  # cdk synth --context audit=true, as `make audit` does
        Validations.of(app).add_plugins(
            cdk_nag.NIST80053R5Checks(app),
            cdk_nag.PCIDSS321Checks(app),
            cdk_nag.HIPAASecurityChecks(app),
        )


def main() -> None:
    """Synthesize every environment and check it, as `cdk synth` wants it."""
    try:
        environments = load(PROJECT / "cdk.json", PROJECT / "cdk.local.json")
    except SettingsError as error:
        sys.exit(f"The settings in cdk.json (and cdk.local.json over it) cannot be used:\n{error}")
    app = App()
    build(app, environments)
    check(app)
    # Without this the CLI looks at no stack inside a Stage, and a finding would pass in silence.
    app.synth(validate_on_synthesis=True)


if __name__ == "__main__":
    main()
