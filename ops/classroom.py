"""What a class of learners needs of one account, beside its quotas and what is in use there."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

import templates
from ops.aws import Answer, Aws
from ops.cli import Cdk
from ops.environment import Environment, Failed
from ops.prices import ADDRESS, NAT_GATEWAY, cost_an_hour, groups
from templates import Graph, TemplateError

if TYPE_CHECKING:
    from types_boto3_ec2.literals import InstanceTypeType

Say = Callable[[str], None]

# The families that count towards the quota of On-Demand Standard vCPUs: A, C, D, H, I, M, R, T, Z.
# Source of the families and of the code, read 2026-11-25:
# https://docs.amazonaws.cn/cli/latest/userguide/cli_service-quotas_code_examples.md
STANDARD = re.compile(r"([acdhmrtz]|i[ms]?)\d")
# A balancer wants as many free addresses in each of its subnets. Unverified: no page was read.
BALANCER_ADDRESSES = 8
# NAT gateways in other states do not count.
# Source: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html, read 2026-11-25
COUNTED_GATEWAYS = ["pending", "available", "deleting"]


@dataclass(frozen=True)
class Row:
    """One limit: what the class needs, what is in use, how much there may be.

    `limit` is None, and `reason` says why, where AWS did not tell; `ask` says how to get more.
    """

    name: str
    needed: int
    used: int | None
    limit: int | None
    ask: str
    reason: str = ""

    @property
    def fits(self) -> bool:
        """Whether there is room; what is not needed always has it, what is unknown never."""
        if not self.needed:
            return True
        return (
            self.used is not None
            and self.limit is not None
            and self.used + self.needed <= self.limit
        )


@dataclass(frozen=True)
class Limit:
    """Where one limit of an account is read. `code` is Service Quotas' own, SERVICE CODE."""

    name: str
    one: Callable[[Graph, str], int]
    used: Callable[[Aws], int]
    # Gives None where the service does not say.
    limit: Callable[[Aws], int | None] | None = None
    code: str = ""


def synthesize(cdk: Cdk, directory: Path) -> Graph:
    """Write the templates to `directory` and read them; raises Failed where that fails."""
    code = cdk(["synth", "--quiet", "--output", str(directory)])
    if code:
        raise Failed(f"cdk synth ended with {code}, as it says above; nothing was changed")
    try:
        return templates.read(directory)
    except TemplateError as error:
        raise Failed(str(error)) from error


def compare(aws: Aws, environment: Environment, graph: Graph, *, learners: int) -> list[Row]:
    """Hold `learners` times the environment against the account, changing nothing in it.

    A row for each limit, and one for each subnet of a shared VPC.
    """
    rows = [_row(aws, limit, graph, environment.name, learners) for limit in LIMITS]
    vcpus = _vcpu_row(aws, graph, environment.name, learners)
    return [*rows, vcpus, *_subnet_rows(aws, environment, learners)]


def report(
    aws: Aws,
    environment: Environment,
    graph: Graph,
    *,
    learners: int,
    write: Callable[[str], object],
    say: Say,
) -> int:
    """Write the table and the class's cost; say what does not fit. 0 if all of it does, else 1."""
    rows = compare(aws, environment, graph, learners=learners)
    width = max(len(row.name) for row in rows)
    write(f"{'':{width}}  {'needed':>7}  {'used':>7}  {'quota':>7}\n")
    for row in rows:
        numbers = "  ".join(f"{_known(one):>7}" for one in (row.needed, row.used, row.limit))
        said = "enough" if row.fits else "not enough" if row.limit is not None else "not known"
        write(f"{row.name:{width}}  {numbers}  {said}\n")
    _write_cost(aws, environment, graph, learners, write, say)
    short = [row for row in rows if not row.fits]
    for row in short:
        if row.limit is None or row.used is None:
            say(f"{row.name}: {row.needed} needed, and {row.reason}")
        else:
            missing = row.used + row.needed - row.limit
            say(f"{row.name}: {missing} too few; {row.ask}")
    if short:
        say("Nothing was changed. Ask for more some days before the class: AWS takes its time.")
    return 1 if short else 0


def _write_cost(
    aws: Aws,
    environment: Environment,
    graph: Graph,
    learners: int,
    write: Callable[[str], object],
    say: Say,
) -> None:
    cost = cost_an_hour(graph, environment.name)
    shared = 0.0
    vpc = environment.settings.network.existing_vpc
    if vpc:
        try:
            # One address each; its owner pays for what else it may have. A regional one is as
            # many as it has zones (unverified: the page of the prices was not read).
            gateways = sum(max(1, len(_own_zones(one))) for one in _gateways(aws, vpc.vpc_id))
            shared = gateways * (NAT_GATEWAY + ADDRESS)
        except (BotoCoreError, ClientError) as error:
            say(f"The gateways of {vpc.vpc_id} are not in the cost: {error}")
    least, most = (learners * one + shared for one in (cost.least, cost.most))
    write(
        f"{learners} learners: ${least:.2f} an hour with the fewest instances, "
        f"${most:.2f} with the most, by the list prices of docs/cost.md\n"
    )
    for kind in cost.unknown:
        say(f"{kind}: docs/cost.md has no price for it, so its instances are not in the cost")


def _row(aws: Aws, limit: Limit, graph: Graph, environment: str, learners: int) -> Row:
    row = Row(limit.name, 0, None, None, _ask(aws, limit, 0))
    try:
        row = replace(row, needed=learners * limit.one(graph, environment))
        used = limit.used(aws)
        row = replace(row, used=used, ask=_ask(aws, limit, used + row.needed))
        told = (limit.limit or _service_quota(limit.code))(aws)
        return replace(row, limit=told, reason="" if told is not None else "AWS told no quota")
    except (BotoCoreError, ClientError) as error:
        return replace(row, reason=f"its quota could not be read: {error}")


def _ask(aws: Aws, limit: Limit, wanted: int) -> str:
    if not limit.code:
        return f"ask for {wanted} in the console of Service Quotas, region {aws.region}"
    service, code = limit.code.split()
    return (
        "ask for more: aws service-quotas request-service-quota-increase "
        f"--service-code {service} --quota-code {code} --desired-value {wanted} "
        f"--region {aws.region}"
    )


def _service_quota(code: str) -> Callable[[Aws], int]:
    service, quota = code.split()

    def read(aws: Aws) -> int:
        try:
            found = aws.quotas.get_service_quota(ServiceCode=service, QuotaCode=quota)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchResourceException":
                raise
            # Of some quotas there is the default only, which holds then. Source, read 2026-11-29:
            # https://docs.amazonaws.cn/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
            found = aws.quotas.get_aws_default_service_quota(ServiceCode=service, QuotaCode=quota)
        return int(found["Quota"]["Value"])

    return read


def _known(number: int | None) -> str:
    return "?" if number is None else str(number)


def _count(kind: str) -> Callable[[Graph, str], int]:
    return lambda graph, environment: sum(
        len(stack.of_type(kind)) for stack in graph.environment(environment)
    )


def _security_groups(graph: Graph, environment: str) -> int:
    """Those that the templates name, and the one that each VPC brings."""
    return _count("AWS::EC2::SecurityGroup")(graph, environment) + _count("AWS::EC2::VPC")(
        graph, environment
    )


def _gateways_of_a_zone(graph: Graph, environment: str) -> int:
    """Give the NAT gateways of the zone that has the most."""
    zones: Counter[str] = Counter()
    for stack in graph.environment(environment):
        for gateway in stack.of_type("AWS::EC2::NatGateway"):
            for reference in graph.references(gateway):
                if reference.path.endswith("SubnetId"):
                    subnet = stack.resources[reference.logical_id]
                    zones[str(graph.properties(subnet)["AvailabilityZone"])] += 1
    return max(zones.values(), default=0)


def _stacks(graph: Graph, environment: str) -> int:
    """Stacks with a resource: the CDK's CLI passes the others by."""
    return sum(bool(stack.resources) for stack in graph.environment(environment))


def _used_gateways(aws: Aws) -> int:
    """Give the NAT gateways of the zone that has the most.

    A regional gateway is in no subnet: it counts in each zone where it has an address, and in all
    of them where it names none. Unverified: no page says how AWS counts it.
    """
    gateways = _gateways(aws)
    subnets = sorted({one["SubnetId"] for one in gateways if "SubnetId" in one})
    found = aws.ec2.describe_subnets(SubnetIds=subnets)["Subnets"] if subnets else []
    zone = {one["SubnetId"]: one["AvailabilityZone"] for one in found}
    zones = [{zone[one["SubnetId"]]} if "SubnetId" in one else _own_zones(one) for one in gateways]
    everywhere = sum(not some for some in zones)
    return everywhere + max(Counter(chain.from_iterable(zones)).values(), default=0)


def _own_zones(gateway: Answer) -> set[str]:
    """Give the zones that a regional NAT gateway's addresses name; of a zonal one none."""
    if "SubnetId" in gateway:
        return set()
    addresses = gateway.get("NatGatewayAddresses", [])
    return {one["AvailabilityZone"] for one in addresses if "AvailabilityZone" in one}


def _gateways(aws: Aws, vpc: str | None = None) -> list[Answer]:
    """List the NAT gateways that count, of one VPC or of all."""
    filters = [{"Name": "state", "Values": COUNTED_GATEWAYS}]
    if vpc:
        filters.append({"Name": "vpc-id", "Values": [vpc]})
    # The stubs want Filters, botocore wants Filter.
    asked: Answer = {"Filter": filters}
    return _all(aws.ec2.get_paginator("describe_nat_gateways").paginate(**asked), "NatGateways")


def _used_vcpus(aws: Aws) -> int:
    """Count the vCPUs of On-Demand instances of the Standard families that run or start."""
    pages = aws.ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    )
    kinds = Counter(
        instance["InstanceType"]
        for reservation in _all(pages, "Reservations")
        for instance in reservation["Instances"]
        if instance.get("InstanceLifecycle") != "spot" and STANDARD.match(instance["InstanceType"])
    )
    return sum(count * _vcpus(aws, kind) for kind, count in kinds.items())


def _vcpus(aws: Aws, kind: str) -> int:
    asked = cast("InstanceTypeType", kind)  # AWS knows types that the stubs do not
    (found,) = aws.ec2.describe_instance_types(InstanceTypes=[asked])["InstanceTypes"]
    return int(found["VCpuInfo"]["DefaultVCpus"])


def _vcpu_row(aws: Aws, graph: Graph, environment: str, learners: int) -> Row:
    """Count every learner's most instances, On-Demand, each of the largest of its types."""
    limit = Limit("On-Demand Standard vCPUs", lambda *_: 0, _used_vcpus, code="ec2 L-1216C47A")
    row = Row(limit.name, 0, None, None, "")
    try:
        needed = 0
        for group in groups(graph, environment):
            kinds = [kind for kind in group.instance_types if STANDARD.match(kind)]
            needed += group.most * max((_vcpus(aws, kind) for kind in kinds), default=0)
    except (BotoCoreError, ClientError) as error:
        return replace(row, needed=1, reason=f"the instance types could not be read: {error}")
    return _row(aws, replace(limit, one=lambda *_: needed), graph, environment, learners)


def _subnet_rows(aws: Aws, environment: Environment, learners: int) -> Iterator[Row]:
    """Give the addresses that a shared VPC's subnets must have free."""
    network, cluster = environment.settings.network, environment.settings.cluster
    if not network.existing_vpc:
        return
    tasks = sum(
        service.scaling.max_tasks
        for service in environment.settings.services.values()
        if service.task.network_mode == "awsvpc"
    )
    private = math.ceil((cluster.max_instances + tasks) / len(network.availability_zones))
    wanted = {
        **dict.fromkeys(network.existing_vpc.public_subnet_ids, BALANCER_ADDRESSES),
        **dict.fromkeys(network.existing_vpc.private_subnet_ids, private),
    }
    for subnet, each in wanted.items():
        row = Row(
            f"free addresses, {subnet}",
            learners * each,
            0,
            None,
            "take larger subnets, or a second VPC",
        )
        try:
            (found,) = aws.ec2.describe_subnets(SubnetIds=[subnet])["Subnets"]
        except (BotoCoreError, ClientError) as error:
            yield replace(row, reason=f"the subnet could not be read: {error}")
            continue
        if found["VpcId"] != network.existing_vpc.vpc_id:
            yield replace(
                row, reason=f"it is in {found['VpcId']}, not {network.existing_vpc.vpc_id}"
            )
            continue
        yield replace(row, limit=found["AvailableIpAddressCount"])


def _all(pages: Iterable[Any], key: str) -> list[Answer]:
    return [one for page in pages for one in page[key]]


def _listed(client: str, operation: str, key: str) -> Callable[[Aws], int]:
    return lambda aws: len(_all(getattr(aws, client).get_paginator(operation).paginate(), key))


def _balancer_limit(name: str) -> Callable[[Aws], int | None]:
    def read(aws: Aws) -> int | None:
        pages = aws.elbv2.get_paginator("describe_account_limits").paginate()
        told = (one["Max"] for one in _all(pages, "Limits") if one["Name"] == name)
        return next(map(int, told), None)

    return read


def _stack_limit(aws: Aws) -> int | None:
    pages = aws.cloudformation.get_paginator("describe_account_limits").paginate()
    told = (one["Value"] for one in _all(pages, "AccountLimits") if one["Name"] == "StackLimit")
    return next(map(int, told), None)


def _summary(key: str) -> Callable[[Aws], int]:
    return lambda aws: int(aws.identities.get_account_summary()["SummaryMap"][key])


# Pages with the codes, read 2026-11-25:
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html (vpc, and ec2 L-0263D0A3),
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.md,
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html,
# https://docs.aws.amazon.com/cloud-map/latest/dg/cloud-map-limits.html. A service that tells its
# limit by an API of its own is asked there, and needs no code.
LIMITS = (
    Limit(
        "VPCs", _count("AWS::EC2::VPC"), _listed("ec2", "describe_vpcs", "Vpcs"),
        code="vpc L-F678F1CE",
    ),
    Limit(
        "Elastic IP addresses", _count("AWS::EC2::EIP"),
        lambda aws: len(aws.ec2.describe_addresses()["Addresses"]), code="ec2 L-0263D0A3",
    ),
    Limit("NAT gateways of a zone", _gateways_of_a_zone, _used_gateways, code="vpc L-FE5A380F"),
    Limit(
        "security groups", _security_groups,
        _listed("ec2", "describe_security_groups", "SecurityGroups"), code="vpc L-E79EC296",
    ),
    Limit(
        "load balancers", _count("AWS::ElasticLoadBalancingV2::LoadBalancer"),
        lambda aws: sum(
            one.get("Type") == "application"
            for one in _all(
                aws.elbv2.get_paginator("describe_load_balancers").paginate(), "LoadBalancers"
            )
        ),
        _balancer_limit("application-load-balancers"), "elasticloadbalancing L-53DA6B97",
    ),
    Limit(
        "target groups", _count("AWS::ElasticLoadBalancingV2::TargetGroup"),
        _listed("elbv2", "describe_target_groups", "TargetGroups"),
        _balancer_limit("target-groups"), "elasticloadbalancing L-B22855CB",
    ),
    Limit(
        "Auto Scaling groups", _count("AWS::AutoScaling::AutoScalingGroup"),
        lambda aws: aws.autoscaling.describe_account_limits()["NumberOfAutoScalingGroups"],
        lambda aws: aws.autoscaling.describe_account_limits()["MaxNumberOfAutoScalingGroups"],
    ),
    # The codes of these two were only found in other people's programs: unverified.
    Limit(
        "ECS clusters", _count("AWS::ECS::Cluster"), _listed("ecs", "list_clusters", "clusterArns"),
        code="ecs L-21C621EB",
    ),
    Limit(
        "ECR repositories", _count("AWS::ECR::Repository"),
        _listed("ecr", "describe_repositories", "repositories"), code="ecr L-CFEB8E8D",
    ),
    Limit(
        "Cloud Map namespaces", _count("AWS::ServiceDiscovery::HttpNamespace"),
        _listed("namespaces", "list_namespaces", "Namespaces"), code="AWSCloudMap L-0FE3F50E",
    ),
    Limit(
        "EventBridge rules", _count("AWS::Events::Rule"),
        _listed("rules", "list_rules", "Rules"), code="events L-244521F2",
    ),
    Limit(
        "CloudFormation stacks", _stacks,
        lambda aws: sum(
            one["StackStatus"] != "DELETE_COMPLETE"
            for one in _all(
                aws.cloudformation.get_paginator("list_stacks").paginate(), "StackSummaries"
            )
        ),
        _stack_limit,
    ),
    Limit("IAM roles", _count("AWS::IAM::Role"), _summary("Roles"), _summary("RolesQuota")),
    Limit(
        "IAM instance profiles", _count("AWS::IAM::InstanceProfile"),
        _summary("InstanceProfiles"), _summary("InstanceProfilesQuota"),
    ),
)  # fmt: skip
