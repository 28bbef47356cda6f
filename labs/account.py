"""Lab 11: the environment on an account of your own, seen whole there, and then seen gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from labs.lab import Item, Lab, Remembered
from labs.place import Place
from ops.deploy import fetch_status, service_state
from ops.destroy import leftovers
from ops.environment import TAG, Failed, stacks
from ops.preflight import BOOTSTRAP_PARAMETER

if TYPE_CHECKING:
    from types_boto3_cloudformation.type_defs import StackTypeDef
    from types_boto3_ec2.type_defs import FilterTypeDef

BOOTSTRAP_STACK = "CDKToolkit"
# The most that a template of ours asks for, as its assembly says (requiresBootstrapStackVersion).
BOOTSTRAP_VERSION = 6
WHOLE = {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
# What deletes a thing of that kind, by the part of its ARN or its words that says the kind.
DELETIONS = {
    ":log-group:": "aws logs delete-log-group --log-group-name {name}",
    "log group": "aws logs delete-log-group --log-group-name {name}",
    "AWS::Logs::LogGroup": "aws logs delete-log-group --log-group-name {name}",
    ":repository/": "aws ecr delete-repository --force --repository-name {name}",
    "AWS::ECR::Repository": "aws ecr delete-repository --force --repository-name {name}",
    ":key/": "aws kms schedule-key-deletion --pending-window-in-days 7 --key-id {name}",
    "AWS::KMS::Key": "aws kms schedule-key-deletion --pending-window-in-days 7 --key-id {name}",
}
# Of those that are going (terminated, deleting, deleted), EC2 goes on telling for a while.
INSTANCE_STATES = ["pending", "running", "stopping", "stopped"]
VOLUME_STATES = ["creating", "available", "in-use", "error"]
GATEWAY_STATES = ["pending", "available"]


def begin(_place: Place) -> Remembered:
    """Remember nothing: the account may not be there yet, and only `check` can see it deployed."""
    return {}


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """See the environment whole on an account and, in a later check, that nothing is left of it."""
    if place.is_rehearsal:
        yield Item(
            False,
            f"this is {place.words}; lab 11 is done on an account, which --on-aws asks, or a new "
            "terminal where no rehearsal is played",
        )
        return
    seen = remembered.get("deployed")
    if seen and seen["place"] != place.words:
        yield Item(
            False,
            f"this is {place.words}, but the environment was seen whole on {seen['place']}: choose "
            "the same credentials, with AWS_PROFILE",
        )
        return
    yield Item(True, f"{place.words} answers")
    found = stacks(place.aws.cloudformation, place.environment)
    if seen:
        yield Item(True, f"{place.environment.name} was seen whole on it, in an earlier check")
    elif found:
        yield from _see_whole(place, found, remembered)
    yield from _gone(place, found, remembered)


def reset(place: Place, _remembered: Remembered) -> Iterator[str]:
    """Change nothing, as only `make destroy` takes an environment down; say what is there."""
    destroy = f"make destroy ENV={place.environment.name}"
    try:
        if place.is_rehearsal:
            yield f"This is {place.words}; whether an account has anything was not asked."
            return
        found = stacks(place.aws.cloudformation, place.environment)
    except (BotoCoreError, ClientError, Failed):
        yield "No account answers, so whether anything is still deployed was not seen."
        return
    if found:
        yield f"{len(found)} stacks are still on {place.words}, and cost; {destroy} ends that."
    else:
        yield f"No stack of {place.environment.name} is on {place.words}."


def _see_whole(
    place: Place, found: list[StackTypeDef], remembered: MutableMapping[str, Any]
) -> Iterator[Item]:
    """Look at all that a deployed environment is, and remember when everything was right."""
    items = [_bootstrap(place), *_stacks(place, found)]
    # Without its stacks there is neither a URL nor a service to ask.
    if all(item.right for item in items):
        items += _services(place)
    items.append(_budget(place))
    yield from items
    if all(item.right for item in items):
        remembered["deployed"] = {
            "place": place.words,
            # Under their ids CloudFormation still tells what they left, once they are deleted.
            "stacks": [stack["StackId"] for stack in found],
        }


def _bootstrap(place: Place) -> Item:
    """Whether the account is prepared for the CDK, and lately enough for these templates."""
    again = f"npx cdk bootstrap aws://ACCOUNT/{place.region}"
    status = None
    try:
        answer = place.aws.cloudformation.describe_stacks(StackName=BOOTSTRAP_STACK)
        status = answer["Stacks"][0]["StackStatus"]
        version = int(
            place.aws.parameters.get_parameter(Name=BOOTSTRAP_PARAMETER)["Parameter"]["Value"]
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"ValidationError", "ParameterNotFound"}:
            raise
        lacks = f"parameter {BOOTSTRAP_PARAMETER}" if status else f"stack {BOOTSTRAP_STACK}"
        return Item(False, f"{lacks}: is not there; bootstrap the account: {again}")
    if status not in WHOLE and status != "UPDATE_ROLLBACK_COMPLETE":
        return Item(False, f"stack {BOOTSTRAP_STACK} is {status}; bootstrap again: {again}")
    if version < BOOTSTRAP_VERSION:
        return Item(
            False,
            f"stack {BOOTSTRAP_STACK} is of version {version}, and the templates need "
            f"{BOOTSTRAP_VERSION}; bring it up to date: {again}",
        )
    return Item(True, f"stack {BOOTSTRAP_STACK} is there, of version {version}")


def _stacks(place: Place, found: list[StackTypeDef]) -> Iterator[Item]:
    """Whether each stack is there, and its last change went through."""
    name, right = place.environment.name, True
    status = {stack["StackName"]: str(stack["StackStatus"]) for stack in found}
    for stack in place.environment.stacks:
        if stack not in status:
            right = False
            yield Item(False, f"stack {stack}: is not there; make deploy ENV={name}")
        elif status[stack].endswith("_IN_PROGRESS"):
            right = False
            yield Item(False, f"stack {stack} is {status[stack]}; wait for its end")
        elif status[stack] not in WHOLE:
            right = False
            yield Item(
                False,
                f"stack {stack} is {status[stack]}: its last change failed, and aws cloudformation "
                f"describe-stack-events --stack-name {stack} says why; mend that, and make deploy "
                f"ENV={name}",
            )
    if right:
        yield Item(True, f"all {len(status)} stacks are complete")


def _services(place: Place) -> Iterator[Item]:
    """Whether each service's rollout is complete and, where it has a route, it answers."""
    settings = place.environment.settings
    for name, service in settings.services.items():
        try:
            state, sleeps = service_state(
                place.aws, place.environment, place.url, name, fetch=fetch_status
            )
        except Failed as failed:
            yield Item(False, "; ".join(failed.lines))
            continue
        if state or sleeps:
            yield Item(False, f"{name}: {state or 'has no task now, so it answers nobody'}")
        elif service.route is None:
            yield Item(True, f"{name}: is steady")
        else:
            yield Item(True, f"{name}: is steady, and {place.url} answers")


def _budget(place: Place) -> Item:
    """Whether the account has the monthly budget that the settings say."""
    wanted = place.environment.settings.alerts.monthly_budget_usd
    account = place.aws.sts.get_caller_identity()["Account"]
    asked: dict[str, str] = {"AccountId": account}
    while True:
        page = place.aws.budgets.describe_budgets(**asked)
        for budget in page.get("Budgets", []):
            limit = budget.get("BudgetLimit") or {}
            if budget["TimeUnit"] == "MONTHLY" and float(limit.get("Amount", 0)) == wanted:
                return Item(True, f"a budget writes to you about ${wanted} a month")
        if not (token := page.get("NextToken")):
            break
        asked["NextToken"] = token
    return Item(
        False,
        f"no monthly budget of ${wanted} is there, and the Cluster stack makes one: make deploy "
        f"ENV={place.environment.name}",
    )


def _gone(
    place: Place, found: list[StackTypeDef], remembered: MutableMapping[str, Any]
) -> Iterator[Item]:
    """Whether the environment, once it was seen whole, has left nothing."""
    name, seen = place.environment.name, remembered.get("deployed")
    if seen is None and not found:
        yield Item(
            False,
            f"{name} is not deployed, and was not seen deployed since the lab's start: make deploy "
            f"ENV={name}, and check before you destroy it",
        )
    elif seen is None:
        yield Item(False, f"{name} is not whole yet; only then is it time to destroy it")
    elif found:
        there = ", ".join(f"{stack['StackName']} ({stack['StackStatus']})" for stack in found)
        yield Item(False, f"{name} is still there: {there}; make destroy ENV={name}")
    else:
        yield Item(True, f"no stack of {name} is left")
        yield from _left(place, seen["stacks"])


def _left(place: Place, ids: list[str]) -> Iterator[Item]:
    """Look for what outlives stacks: kept data and logs, and what EC2 still bills."""
    unasked: list[str] = []
    left = leftovers(place.aws, place.environment, ids, unasked.append)
    for fault in unasked:
        yield Item(False, fault)
    left += _billed(place)
    for line in left:
        yield Item(False, f"{line} is left{_deletion(line)}")
    if not left and not unasked:
        yield Item(
            True,
            "no repository, log group, bucket, key, instance, volume, NAT gateway or address is "
            "left that names or is tagged as the environment's",
        )


def _billed(place: Place) -> list[str]:
    """Name what EC2 has that carries the environment's tag and is not going."""
    ec2 = place.aws.ec2
    tag: FilterTypeDef = {"Name": f"tag:{TAG}", "Values": [place.environment.tag]}
    states: FilterTypeDef = {"Name": "instance-state-name", "Values": INSTANCE_STATES}
    instances = [
        f"instance {instance['InstanceId']}"
        for page in ec2.get_paginator("describe_instances").paginate(Filters=[tag, states])
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
    ]
    states = {"Name": "status", "Values": VOLUME_STATES}
    volumes = [
        f"volume {volume['VolumeId']}"
        for page in ec2.get_paginator("describe_volumes").paginate(Filters=[tag, states])
        for volume in page["Volumes"]
    ]
    states = {"Name": "state", "Values": GATEWAY_STATES}
    gateways = [
        f"NAT gateway {gateway['NatGatewayId']}"
        for page in ec2.get_paginator("describe_nat_gateways").paginate(Filters=[tag, states])
        for gateway in page["NatGateways"]
    ]
    addresses = [
        f"address {address['AllocationId']}"
        for address in ec2.describe_addresses(Filters=[tag])["Addresses"]
    ]
    return [*instances, *volumes, *gateways, *addresses]


def _deletion(line: str) -> str:
    """Say what deletes a thing that was left, where that is one command."""
    for kind, command in DELETIONS.items():
        if kind in line:
            # A log group's name has slashes of its own, and its ARN may end in `:*`.
            name = line.rpartition(kind)[2].strip().removesuffix(":*")
            return ": " + command.format(name=name)
    return "; delete it in the console, after a look at what it is"


LAB = Lab(
    number=11,
    title="Your own account",
    minutes=40,
    page="11-your-account.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "Check twice: while the environment answers, and again when it is destroyed. The first "
        "check that finds all of it whole is remembered, and its stacks' ids with it.",
        "make deploy says what would go wrong before it changes anything: placeholders in the "
        "settings, credentials, the bootstrap, the container engine.",
        "A stack whose creation failed is ROLLBACK_COMPLETE and cannot be updated; the events of "
        "the stack say why, the oldest failure first of all.",
        "Log groups that AWS makes by itself and repositories with images outlive a stack. make "
        "destroy, run again, names what carries the environment's tag.",
    ),
    needs_environment=False,
)
