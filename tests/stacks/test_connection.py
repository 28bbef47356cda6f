"""What the stacks promise of services that call each other through Service Connect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Assembly, Template

BOTH = ("Sandbox", "Production")
# What AWS recommends to add for the proxy. Source, read 2026-11-25:
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
PROXY_CPU, PROXY_MIB = 256, 64


def container(stack: Template) -> dict[str, Any]:
    (found,) = stack.one("AWS::ECS::TaskDefinition")["ContainerDefinitions"]
    assert isinstance(found, dict)
    return found


def ingress(stack: Template) -> list[dict[str, Any]]:
    return stack.all("AWS::EC2::SecurityGroupIngress")


def calls(stack: Template) -> list[dict[str, Any]]:
    return [one for one in ingress(stack) if one["Description"].startswith("Call")]


@pytest.mark.parametrize("environment", BOTH)
def test_quotes_offers_its_name_and_web_only_calls(synthesized: Assembly, environment: str) -> None:
    quotes, web = (synthesized.stack(f"{environment}/{name}") for name in ("Quotes", "Web"))
    offered = quotes.one("AWS::ECS::Service")["ServiceConnectConfiguration"]
    (service,) = offered["Services"]
    assert service["ClientAliases"] == [{"DnsName": "quotes", "Port": 8080}]
    assert service["DiscoveryName"] == f"{environment.lower()}-quotes"
    (port,) = container(quotes)["PortMappings"]
    assert (service["PortName"], port["AppProtocol"]) == (port["Name"], "http")
    assert service["Timeout"] == {"IdleTimeoutSeconds": 60, "PerRequestTimeoutSeconds": 1}
    told = {one["Name"]: one["Value"] for one in container(quotes)["Environment"]}
    assert int(told["KEEP_ALIVE_SECONDS"]) > service["Timeout"]["IdleTimeoutSeconds"]
    client = web.one("AWS::ECS::Service")["ServiceConnectConfiguration"]
    assert client["Enabled"] is True
    assert "Services" not in client
    assert offered["Namespace"] == client["Namespace"] == environment.lower()
    variables = {one["Name"]: one["Value"] for one in container(web)["Environment"]}
    assert variables["QUOTES_URL"] == "http://quotes:8080"
    assert "Name" not in container(web)["PortMappings"][0]


def test_the_namespace_has_the_environments_name_with_its_prefix(
    synthesized: Assembly, variants: Assembly
) -> None:
    for assembly, stack, name in (
        (synthesized, "Sandbox/Cluster", "sandbox"),
        (synthesized, "Production/Cluster", "production"),
        (variants, "Prefixed/Cluster", "ana-prefixed"),
    ):
        found = assembly.stack(stack)
        ((namespace, resource),) = found.resources("AWS::ServiceDiscovery::HttpNamespace").items()
        assert resource["Properties"]["Name"] == name
        default = found.one("AWS::ECS::Cluster")["ServiceConnectDefaults"]["Namespace"]
        assert default == {"Fn::GetAtt": [namespace, "Arn"]}
    quotes = variants.stack("Prefixed/Quotes").one("AWS::ECS::Service")
    (service,) = quotes["ServiceConnectConfiguration"]["Services"]
    assert service["DiscoveryName"] == "ana-prefixed-quotes"


@pytest.mark.parametrize("environment", BOTH)
def test_a_caller_is_deployed_after_those_that_it_calls(
    synthesized: Assembly, environment: str
) -> None:
    """A task knows only the names that were there when its service was deployed."""
    path = synthesized.directory / f"assembly-{environment}" / "manifest.json"
    artifacts = json.loads(path.read_text(encoding="utf-8"))["artifacts"]
    (web,) = [
        one
        for name, one in artifacts.items()
        if name.startswith(f"{environment}Web") and "." not in name
    ]
    assert any(name.startswith(f"{environment}Quotes") for name in web["dependencies"])


@pytest.mark.parametrize("service", ["Web", "Quotes"])
@pytest.mark.parametrize("environment", BOTH)
def test_the_task_has_room_for_the_proxy_beside_its_container(
    synthesized: Assembly, environment: str, service: str
) -> None:
    stack = synthesized.stack(f"{environment}/{service}")
    task, found = stack.one("AWS::ECS::TaskDefinition"), container(stack)
    assert int(task["Cpu"]) - found["Cpu"] >= PROXY_CPU
    assert int(task["Memory"]) - found["Memory"] >= PROXY_MIB


@pytest.mark.parametrize("service", ["Web", "Quotes"])
@pytest.mark.parametrize("environment", BOTH)
def test_the_proxys_log_never_blocks_and_ends_with_the_containers(
    synthesized: Assembly, environment: str, service: str
) -> None:
    stack = synthesized.stack(f"{environment}/{service}")
    connect = stack.one("AWS::ECS::Service")["ServiceConnectConfiguration"]
    options = connect["LogConfiguration"]["Options"]
    assert options["mode"] == "non-blocking"
    (group,) = stack.resources("AWS::Logs::LogGroup")
    assert options["awslogs-group"] == {"Ref": group}
    assert "AccessLogConfiguration" not in connect


def test_bridged_instances_reach_each_other_on_the_agents_ports_and_no_others(
    synthesized: Assembly,
) -> None:
    cluster = synthesized.stack("Sandbox/Cluster")
    (rule,) = ingress(cluster)
    assert rule["SourceSecurityGroupId"] == rule["GroupId"]
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 20000, 20255)
    for stack in ("Web", "Quotes"):
        assert not ingress(synthesized.stack(f"Sandbox/{stack}"))
    assert not ingress(synthesized.stack("Production/Cluster"))


def test_only_webs_own_tasks_reach_quotes_in_awsvpc_and_only_at_its_port(
    synthesized: Assembly,
) -> None:
    quotes, web = synthesized.stack("Production/Quotes"), synthesized.stack("Production/Web")
    assert not ingress(quotes)
    assert "SecurityGroupIngress" not in quotes.one("AWS::EC2::SecurityGroup")
    (rule,) = calls(web)
    (own,) = web.resources("AWS::EC2::SecurityGroup")
    assert rule["SourceSecurityGroupId"] == {"Fn::GetAtt": [own, "GroupId"]}
    assert rule["GroupId"]["Fn::ImportValue"].startswith("Production-Quotes:")
    assert (rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) == ("tcp", 8080, 8080)


def test_tasks_with_interfaces_reach_bridged_ones_at_the_agents_ports(variants: Assembly) -> None:
    web = variants.stack("Canary/Web")
    (rule,) = calls(web)
    (own,) = web.resources("AWS::EC2::SecurityGroup")
    assert rule["SourceSecurityGroupId"] == {"Fn::GetAtt": [own, "GroupId"]}
    assert "InstancesSecurityGroup" in rule["GroupId"]["Fn::ImportValue"]
    assert (rule["FromPort"], rule["ToPort"]) == (20000, 20255)
    assert not calls(variants.stack("Canary/Cluster"))


def test_bridged_tasks_reach_those_with_interfaces_from_the_instances(variants: Assembly) -> None:
    assert not calls(variants.stack("Bluegreen/Web"))
    assert not calls(variants.stack("Bluegreen/Cluster"))
    quotes = variants.stack("Bluegreen/Quotes")
    (rule,) = calls(quotes)
    (own,) = quotes.resources("AWS::EC2::SecurityGroup")
    assert rule["GroupId"] == {"Fn::GetAtt": [own, "GroupId"]}
    assert "InstancesSecurityGroup" in rule["SourceSecurityGroupId"]["Fn::ImportValue"]
    assert (rule["FromPort"], rule["ToPort"]) == (8080, 8080)


@pytest.mark.parametrize("environment", BOTH)
def test_a_service_without_a_route_has_no_part_of_the_balancer(
    synthesized: Assembly, environment: str
) -> None:
    quotes = synthesized.stack(f"{environment}/Quotes")
    assert "ElasticLoadBalancing" not in json.dumps(quotes.body)
    service = quotes.one("AWS::ECS::Service")
    assert not service.get("LoadBalancers")
    assert "HealthCheckGracePeriodSeconds" not in service
    policies = quotes.all("AWS::ApplicationAutoScaling::ScalingPolicy")
    kinds = [
        one["TargetTrackingScalingPolicyConfiguration"]["PredefinedMetricSpecification"]
        for one in policies
    ]
    assert kinds == [{"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}]


@pytest.mark.parametrize("environment", BOTH)
def test_its_deployment_goes_back_by_what_service_connect_sees(
    synthesized: Assembly, environment: str
) -> None:
    quotes = synthesized.stack(f"{environment}/Quotes")
    deployment = quotes.one("AWS::ECS::Service")["DeploymentConfiguration"]
    assert deployment["DeploymentCircuitBreaker"]["Rollback"] is True
    alarms = quotes.resources("AWS::CloudWatch::Alarm")
    assert {one["Ref"] for one in deployment["Alarms"]["AlarmNames"]} == set(alarms)
    watched = {one["Properties"]["MetricName"]: one["Properties"] for one in alarms.values()}
    assert set(watched) == {"HTTPCode_Target_5XX_Count", "TargetResponseTime"}
    for one in watched.values():
        assert one["Namespace"] == "AWS/ECS"
        name = f"{environment.lower()}-quotes"
        assert one["Dimensions"] == [{"Name": "TargetDiscoveryName", "Value": name}]
    assert watched["TargetResponseTime"]["Threshold"] == 2000


def test_the_agent_may_ask_for_the_task_sets_of_its_cluster_only(synthesized: Assembly) -> None:
    cluster = synthesized.stack("Sandbox/Cluster")
    (name,) = cluster.resources("AWS::ECS::Cluster")
    statements = [
        one
        for policy in cluster.all("AWS::IAM::Policy")
        for one in policy["PolicyDocument"]["Statement"]
        if "task-set" in json.dumps(one["Resource"])
    ]
    (statement,) = statements
    assert statement["Action"] == "ecs:Poll"
    assert statement["Resource"]["Fn::Join"][1][-2:] == [{"Ref": name}, "/*"]


def test_a_service_that_nobody_reaches_has_no_alarm_and_no_proxy(variants: Assembly) -> None:
    quotes, web = variants.stack("Linear/Quotes"), variants.stack("Linear/Web")
    assert not quotes.resources("AWS::CloudWatch::Alarm")
    assert "Alarms" not in quotes.one("AWS::ECS::Service")["DeploymentConfiguration"]
    for stack in (quotes, web):
        assert "ServiceConnectConfiguration" not in stack.one("AWS::ECS::Service")
        task = stack.one("AWS::ECS::TaskDefinition")
        assert "Memory" not in task
        assert "Cpu" not in task
    assert not calls(variants.stack("Linear/Cluster"))
    assert "QUOTES_URL" not in json.dumps(container(web))


def test_traffic_shifts_in_service_connect_where_there_is_no_balancer(variants: Assembly) -> None:
    service = variants.stack("Bluegreen/Quotes").one("AWS::ECS::Service")
    deployment = service["DeploymentConfiguration"]
    assert deployment["Strategy"] == "BLUE_GREEN"
    assert deployment["BakeTimeInMinutes"] == 5
    assert deployment["Alarms"]["Rollback"] is True
    assert service["ServiceConnectConfiguration"]["Services"]
