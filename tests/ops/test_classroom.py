"""A class on one account: what it needs, beside the quotas and what is in use, before it begins.

moto tells the quotas of VPC only, and no limits of Auto Scaling and CloudFormation; the fixture
answers for these with AWS's defaults, as their pages have them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

import templates
from ops import classroom
from ops.classroom import Row
from ops.environment import Environment, Failed
from ops.prices import ADDRESS, NAT_GATEWAY, cost_an_hour
from settings import load
from templates import Graph
from tests.conftest import PROJECT, Assembly, Values
from tests.ops.world import World

# What a new account has; AWS gives accounts other numbers of vCPUs, and 5 is its page's example.
DEFAULTS = {
    "L-0263D0A3": 5.0,
    "L-1216C47A": 5.0,
    "L-21C621EB": 10_000.0,
    "L-CFEB8E8D": 100_000.0,
    "L-0FE3F50E": 50.0,
    "L-244521F2": 300.0,
}


# Of three services, under one name, each reading its own.
LIMITS = {
    "AccountLimits": [{"Name": "StackLimit", "Value": 2000}],
    "Limits": [
        {"Name": "target-groups", "Max": "3000"},
        {"Name": "application-load-balancers", "Max": "50"},
    ],
    "MaxNumberOfAutoScalingGroups": 500,
    "NumberOfAutoScalingGroups": 3,
}
CHANGES = ("Create", "Put", "Update", "Delete", "Run", "Request", "Allocate", "Register")


@pytest.fixture
def account(world: World) -> World:
    """An account with the default quotas, and nothing in it but the VPC that each has."""

    def quota(given: Values) -> Values | None:
        value = DEFAULTS.get(given["QuotaCode"])
        return None if value is None else {"Quota": {"Value": value}}

    world.answer("GetServiceQuota", quota)
    world.answer("DescribeAccountLimits", lambda _: LIMITS)
    return world


@pytest.fixture
def own(assembly: Path) -> Graph:
    """The sandbox as cdk.json has it, each learner with a VPC."""
    return templates.read(assembly)


@pytest.fixture
def shared(learners: dict[str, Assembly]) -> Graph:
    """The sandbox of a learner in a VPC that exists."""
    return templates.read(learners["ana"].directory)


def rows(world: World, graph: Graph, learners: int) -> dict[str, Row]:
    compared = classroom.compare(world.aws, world.environment, graph, learners=learners)
    return {row.name: row for row in compared}


def learner(world: World, learners: dict[str, Assembly]) -> Environment:
    """Make the shared VPC of the learner's settings in moto; give the environment that names it."""
    client: Any = world.session.client("ec2")
    vpc = client.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    ids = [
        client.create_subnet(
            VpcId=vpc, CidrBlock=f"10.9.{number}.0/{size}", AvailabilityZone=f"us-east-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, (size, zone) in enumerate([(24, "a"), (24, "b"), (26, "a"), (26, "b")])
    ]
    local = learners["ana"].directory.parent / "ana.local.json"
    settings = load(PROJECT / "cdk.json", local)["sandbox"]
    existing = {"vpc_id": vpc, "public_subnet_ids": ids[:2], "private_subnet_ids": ids[2:]}
    assert settings.network.existing_vpc
    network = settings.network.model_copy(
        update={"existing_vpc": settings.network.existing_vpc.model_copy(update=existing)}
    )
    return Environment("sandbox", settings.model_copy(update={"network": network}))


def test_a_vpc_for_each_of_thirty_is_more_than_the_default_quotas_allow(
    account: World, own: Graph
) -> None:
    found = rows(account, own, 30)
    vpcs, addresses = found["VPCs"], found["Elastic IP addresses"]
    # moto's account has a default VPC, as a real one.
    assert (vpcs.needed, vpcs.used, vpcs.limit, vpcs.fits) == (30, 1, 5, False)
    assert (addresses.needed, addresses.used, addresses.limit, addresses.fits) == (30, 0, 5, False)
    assert not found["NAT gateways of a zone"].fits
    assert "--quota-code L-F678F1CE --desired-value 31 --region us-east-1" in vpcs.ask


def test_four_learners_with_a_vpc_each_fit_and_a_fifth_does_not(account: World, own: Graph) -> None:
    assert rows(account, own, 4)["VPCs"].fits
    assert not rows(account, own, 5)["VPCs"].fits


def test_a_shared_vpc_needs_no_more_of_what_is_scarce(account: World, shared: Graph) -> None:
    found = rows(account, shared, 30)
    for name in ("VPCs", "Elastic IP addresses", "NAT gateways of a zone"):
        assert (found[name].needed, found[name].fits) == (0, True)
    assert {name for name, row in found.items() if not row.fits} == {"On-Demand Standard vCPUs"}


def test_every_learners_most_instances_count_as_vcpus(account: World, shared: Graph) -> None:
    row = rows(account, shared, 30)["On-Demand Standard vCPUs"]
    # Three of t3.small, which has two, by the settings of docs/teaching.md.
    assert (row.needed, row.used, row.limit, row.fits) == (30 * 3 * 2, 0, 5, False)


def test_what_runs_already_counts_and_spot_does_not(account: World, shared: Graph) -> None:
    client: Any = account.session.client("ec2")
    wanted = {"ImageId": "ami-12c6146b", "MinCount": 2, "MaxCount": 2, "InstanceType": "t3.small"}
    client.run_instances(**wanted)
    client.run_instances(**wanted, InstanceMarketOptions={"MarketType": "spot"})
    client.run_instances(**wanted | {"InstanceType": "g4dn.xlarge"})
    assert rows(account, shared, 1)["On-Demand Standard vCPUs"].used == 4


def test_the_rest_is_counted_from_the_templates(account: World, shared: Graph) -> None:
    found = rows(account, shared, 10)
    needed = {name: row.needed for name, row in found.items()}
    assert needed["load balancers"] == needed["ECS clusters"] == needed["target groups"] == 10
    assert needed["ECR repositories"] == 20
    assert needed["Cloud Map namespaces"] == 10
    # A network that is somebody else's leaves a stack without a resource, which is not deployed.
    assert needed["CloudFormation stacks"] == 50
    assert found["Auto Scaling groups"].used == 3
    assert found["IAM roles"].limit == 1000


def test_a_shared_subnet_must_have_an_address_for_each(
    account: World, shared: Graph, learners: dict[str, Assembly]
) -> None:
    account.environment = learner(account, learners)
    network = account.environment.settings.network.existing_vpc
    assert network
    public, private = network.public_subnet_ids[0], network.private_subnet_ids[0]
    found = rows(account, shared, 30)
    assert found[f"free addresses, {public}"].needed == 240
    assert found[f"free addresses, {public}"].fits
    # Three instances in two zones: two in one of them; a /26 has 59 addresses to give.
    row = found[f"free addresses, {private}"]
    assert (row.needed, row.limit, row.fits) == (60, 59, False)
    assert rows(account, shared, 29)[f"free addresses, {private}"].fits


def test_a_subnet_that_is_not_there_is_said_and_does_not_fit(
    account: World, shared: Graph, learners: dict[str, Assembly]
) -> None:
    local = learners["ana"].directory.parent / "ana.local.json"
    account.environment = Environment("sandbox", load(PROJECT / "cdk.json", local)["sandbox"])
    row = rows(account, shared, 1)["free addresses, subnet-0a1b2c01"]
    assert not row.fits
    assert "InvalidSubnetID.NotFound" in row.reason


def tell(world: World, graph: Graph, number: int) -> tuple[int, str]:
    written: list[str] = []
    code = classroom.report(
        world.aws, world.environment, graph,
        learners=number, write=written.append, say=world.say,
    )  # fmt: skip
    return code, "".join(written)


def test_a_class_that_fits_ends_with_0_and_its_cost(account: World, own: Graph) -> None:
    account.answer("GetServiceQuota", lambda _: {"Quota": {"Value": 1000.0}})
    code, table = tell(account, own, 4)
    assert (code, account.said) == (0, [])
    cost = cost_an_hour(own, "sandbox")
    assert f"4 learners: ${4 * cost.least:.2f} an hour" in table
    assert f"${4 * cost.most:.2f} with the most" in table
    assert "VPCs" in table
    assert "not enough" not in table


def test_a_class_that_does_not_fit_ends_with_1_and_how_to_ask(account: World, own: Graph) -> None:
    code, table = tell(account, own, 30)
    assert code == 1
    assert " 30        1        5  not enough" in table
    assert "VPCs: 26 too few; ask for more: aws service-quotas" in account.text()
    assert "Nothing was changed" in account.text()


def test_the_gateways_of_a_shared_vpc_are_in_the_cost_once(
    account: World, shared: Graph, learners: dict[str, Assembly]
) -> None:
    account.environment = learner(account, learners)
    _, before = tell(account, shared, 30)
    client: Any = account.session.client("ec2")
    network = account.environment.settings.network
    assert network.existing_vpc
    address = client.allocate_address(Domain="vpc")["AllocationId"]
    client.create_nat_gateway(
        SubnetId=network.existing_vpc.public_subnet_ids[0], AllocationId=address
    )
    _, after = tell(account, shared, 30)
    least = 30 * cost_an_hour(shared, "sandbox").least
    assert f"${least:.2f} an hour" in before
    assert f"${least + NAT_GATEWAY + ADDRESS:.2f} an hour" in after
    assert rows(account, shared, 1)["NAT gateways of a zone"].used == 1
    assert rows(account, shared, 1)["Elastic IP addresses"].used == 1


def test_a_quota_that_cannot_be_read_is_said_and_never_fits(account: World, own: Graph) -> None:
    def refuse(_: Values) -> Values:
        said: Any = {"Code": "AccessDeniedException", "Message": "not yours to see"}
        raise ClientError({"Error": said}, "GetServiceQuota")

    account.answer("GetServiceQuota", refuse)
    code, table = tell(account, own, 1)
    assert code == 1
    assert "not known" in table
    (line,) = [line for line in account.said if line.startswith("VPCs: ")]
    assert "AccessDeniedException" in line
    # The others are read all the same.
    assert "load balancers" in table


def test_a_quota_that_nobody_changed_is_the_default(account: World, shared: Graph) -> None:
    def unknown(_: Values) -> Values:
        said: Any = {"Code": "NoSuchResourceException", "Message": "not applied"}
        raise ClientError({"Error": said}, "GetServiceQuota")

    account.answer("GetServiceQuota", unknown)
    account.answer("GetAWSDefaultServiceQuota", lambda _: {"Quota": {"Value": 7.0}})
    assert rows(account, shared, 1)["ECS clusters"].limit == 7


def test_a_regional_gateway_counts_in_each_of_its_zones(account: World, shared: Graph) -> None:
    addresses = [{"AvailabilityZone": f"us-east-1{zone}"} for zone in "ab"]
    gateways = [{"NatGatewayAddresses": addresses}, {"NatGatewayAddresses": []}]
    account.answer("DescribeNatGateways", lambda _: {"NatGateways": gateways})
    assert rows(account, shared, 1)["NAT gateways of a zone"].used == 2


def test_a_limit_that_aws_does_not_name_is_not_known(account: World, shared: Graph) -> None:
    empty: Values = LIMITS | {"AccountLimits": [], "Limits": []}
    account.answer("DescribeAccountLimits", lambda _: empty)
    row = rows(account, shared, 1)["load balancers"]
    assert (row.limit, row.fits, row.reason) == (None, False, "AWS told no quota")


def test_it_only_looks(account: World, own: Graph) -> None:
    account.calls.clear()
    tell(account, own, 30)
    assert account.calls
    assert not [call for call in account.calls if call.startswith(CHANGES)]


def test_a_failed_synth_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="cdk synth ended with 3"):
        classroom.synthesize(lambda _: 3, tmp_path)
