"""EC2: the instances in the books; everything else of EC2's is moto's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from rehearsal.api import tags
from rehearsal.api.account import Account, Asked, Operation, uuid_of
from rehearsal.api.errors import ApiError
from rehearsal.api.pages import page
from rehearsal.api.wire import Answer
from rehearsal.records import Host
from rehearsal.world import tags_of
from scheduler.model import Instance

PAGE = 1000
# Source: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InstanceState.html
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48}


def describe_instances(account: Account, asked: Asked) -> Answer:
    """Give the instances of the groups; one that is gone only by its id."""
    wanted = asked.get("InstanceIds")
    found = [
        _described(account, account.host(one), one)
        for one in account.world.state.instances.values()
        if one.id in account.world.hosts
    ]
    if wanted:
        there = {one["InstanceId"] for one in found}
        gone = {
            host.ec2_id: host for host in account.world.hosts.values() if host.ec2_id not in there
        }
        for ec2_id in wanted:
            if ec2_id not in there and ec2_id not in gone:
                raise _unknown(ec2_id)
        found += [_gone(account, host) for host in gone.values()]
        found = [one for one in found if one["InstanceId"] in wanted]
    found = [one for one in found if _passes(one, asked.get("Filters") or ())]
    shown, token = page(
        found,
        lambda one: [one["InstanceId"]],
        size=min(max(asked.get("MaxResults", PAGE), 5), PAGE),
        token=asked.get("NextToken"),
        wrong_token=ApiError("InvalidNextToken", "The token is not valid."),
    )
    owner = str(account.world.stacks.known["AWS::AccountId"])
    return {
        "Reservations": [
            {
                "ReservationId": f"r-{one['InstanceId'][2:]}",
                "OwnerId": owner,
                "Groups": [],
                "Instances": [one],
            }
            for one in shown
        ],
        "NextToken": token,
    }


def terminate_instances(account: Account, asked: Asked) -> Answer:
    """End instances at once: no hook waits, and their containers are killed."""
    named = list(dict.fromkeys(asked["InstanceIds"]))
    found = {ec2_id: account.of_ec2(ec2_id) for ec2_id in named}
    there = {host.ec2_id for host in account.world.hosts.values()}
    for ec2_id in named:
        if ec2_id not in there:
            raise _unknown(ec2_id)
    if asked.get("DryRun"):
        raise ApiError(
            "DryRunOperation",
            "Request would have succeeded, but DryRun flag is set.",
            status=412,
        )
    before = {ec2_id: _state(one) if one else "terminated" for ec2_id, one in found.items()}
    for ec2_id, instance in found.items():
        if instance is not None:
            account.world.say(f"{ec2_id} is terminated by a user.")
            account.world.lose(instance.id, f"Host EC2 (instance {ec2_id}) terminated.")
    return {
        "TerminatingInstances": [
            {
                "InstanceId": ec2_id,
                "CurrentState": _spelled("shutting-down" if one else "terminated"),
                "PreviousState": _spelled(before[ec2_id]),
            }
            for ec2_id, one in found.items()
        ]
    }


def _unknown(ec2_id: str) -> ApiError:
    return ApiError("InvalidInstanceID.NotFound", f"The instance ID '{ec2_id:.100}' does not exist")


def _spelled(state: str) -> dict[str, Any]:
    return {"Code": STATES[state], "Name": state}


def _state(instance: Instance) -> str:
    return "pending" if instance.lifecycle == "Pending" else "running"


def _described(account: Account, host: Host, one: Instance) -> dict[str, Any]:
    group = account.group_of(one)
    of_group = (
        {
            "aws:autoscaling:groupName": group.name,
            "aws:ec2:fleet-id": f"fleet-{uuid_of(group.name)}",
        }
        if group
        else {}
    )
    return {
        "InstanceId": host.ec2_id,
        "ImageId": one.attributes.get("ecs.ami-id") or None,
        "InstanceType": one.kind.name,
        "State": _spelled(_state(one)),
        "LaunchTime": account.wall(one.launched_at),
        "Placement": {"AvailabilityZone": one.zone, "Tenancy": "default"},
        "PrivateIpAddress": host.address,
        "PrivateDnsName": account.private_name(host.address),
        "PublicDnsName": "",
        "SubnetId": host.subnet or None,
        "VpcId": account.vpc_id() or None,
        "Architecture": one.attributes.get("ecs.cpu-architecture"),
        "InstanceLifecycle": "spot" if one.spot else None,
        "Monitoring": {"State": "disabled"},
        "MetadataOptions": {"State": "applied", "HttpTokens": "required"},
        "SecurityGroups": [],
        "BlockDeviceMappings": [],
        "Tags": tags.to_others(of_group | host.tags),
    }


def _gone(account: Account, host: Host) -> dict[str, Any]:
    return {
        "InstanceId": host.ec2_id,
        "State": _spelled("terminated"),
        "LaunchTime": host.registered_at or account.began,
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "Tags": [],
    }


def _passes(one: Mapping[str, Any], filters: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether an instance fulfils all filters; their values may have wildcards."""
    tagged = tags_of(one)
    known = {
        "availability-zone": (one.get("Placement") or {}).get("AvailabilityZone"),
        "instance-id": one["InstanceId"],
        "instance-state-name": one["State"]["Name"],
        "instance-state-code": str(one["State"]["Code"]),
        "instance-type": one.get("InstanceType"),
        "private-ip-address": one.get("PrivateIpAddress"),
        "subnet-id": one.get("SubnetId"),
        "vpc-id": one.get("VpcId"),
    }
    for asked in filters:
        name, patterns = asked.get("Name", ""), asked.get("Values") or []
        if name == "tag-key":
            found = list(tagged)
        elif name.startswith("tag:"):
            found = [tagged[name[4:]]] if name[4:] in tagged else []
        elif name in known:
            found = [known[name]] if known[name] else []
        else:
            raise ApiError("InvalidParameterValue", f"The filter '{name:.100}' is invalid")
        if not any(fnmatchcase(value, pattern) for value in found for pattern in patterns):
            return False
    return True


OPERATIONS: Mapping[str, Operation] = {
    "DescribeInstances": describe_instances,
    "TerminateInstances": terminate_instances,
}
