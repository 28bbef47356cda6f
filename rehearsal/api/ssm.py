"""Systems Manager: the AMI names that the templates look up; other parameters are moto's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rehearsal.api.account import Account, Asked, Operation
from rehearsal.api.errors import PassOn
from rehearsal.api.wire import Answer


def get_parameter(account: Account, asked: Asked) -> Answer:
    """Give the AMI behind a name that a template has as its parameter's default."""
    known = _known(account)
    if asked["Name"] not in known:
        raise PassOn
    return {"Parameter": _parameter(account, asked["Name"], known[asked["Name"]])}


def get_parameters(account: Account, asked: Asked) -> Answer:
    """Give AMIs, where all that is asked for are such names."""
    known = _known(account)
    if not set(asked["Names"]) <= set(known):
        raise PassOn
    return {"Parameters": [_parameter(account, name, known[name]) for name in asked["Names"]]}


def _known(account: Account) -> dict[str, str]:
    stacks = account.world.stacks
    found = {}
    for record in stacks.records.values():
        for name, parameter in (record.stack.template.get("Parameters") or {}).items():
            key = f"{record.stack.name}.{name}"
            if str(parameter.get("Default", "")).startswith("/aws/") and key in stacks.known:
                found[str(parameter["Default"])] = str(stacks.known[key])
    return found


def _parameter(account: Account, name: str, value: str) -> dict[str, Any]:
    return {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
        "LastModifiedDate": account.began,
        # AWS's own parameters belong to no account.
        "ARN": f"arn:aws:ssm:{account.region}::parameter{name}",
        "DataType": "aws:ec2:image",
    }


OPERATIONS: Mapping[str, Operation] = {
    "GetParameter": get_parameter,
    "GetParameters": get_parameters,
}
