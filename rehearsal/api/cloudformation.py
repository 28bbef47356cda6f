"""CloudFormation: the stacks of the environment as if they had been deployed; nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.api.account import Account, Asked, Operation
from rehearsal.api.errors import validation
from rehearsal.api.pages import page
from rehearsal.api.wire import Answer
from rehearsal.stacks import StackRecord
from templates import Unresolved

# What ops/environment.py finds an environment's stacks by; app.py gives it to all of them.
TAG = "drydock:environment"
PAGE = 100
_WRONG_TOKEN = validation("The specified NextToken is not valid.")


def describe_stacks(account: Account, asked: Asked) -> Answer:
    """Give stacks with their outputs."""
    if asked.get("StackName"):
        return {"Stacks": [_stack(account, _need(account, asked["StackName"]))]}
    found = [_stack(account, one) for one in account.world.stacks.records.values()]
    shown, token = page(found, lambda one: [one["StackName"]], size=PAGE,
                        token=asked.get("NextToken"), wrong_token=_WRONG_TOKEN)  # fmt: skip
    return {"Stacks": shown, "NextToken": token}


def list_stacks(account: Account, asked: Asked) -> Answer:
    """Give the stacks in short."""
    wanted = asked.get("StackStatusFilter")
    kept = ("StackId", "StackName", "CreationTime", "LastUpdatedTime", "StackStatus")
    found = [
        {name: one[name] for name in kept}
        | {"DriftInformation": {"StackDriftStatus": "NOT_CHECKED"}}
        for one in (_stack(account, one) for one in account.world.stacks.records.values())
        if not wanted or one["StackStatus"] in wanted
    ]
    shown, token = page(found, lambda one: [one["StackName"]], size=PAGE,
                        token=asked.get("NextToken"), wrong_token=_WRONG_TOKEN)  # fmt: skip
    return {"StackSummaries": shown, "NextToken": token}


def describe_stack_resources(account: Account, asked: Asked) -> Answer:
    """Give the resources of a stack, by its name or by the id of one of them."""
    physical, logical = asked.get("PhysicalResourceId"), asked.get("LogicalResourceId")
    record = (
        _need(account, asked["StackName"])
        if asked.get("StackName")
        else _owner(account, str(physical))
    )
    found = [
        {"StackName": record.stack.name, "StackId": record.id, "Timestamp": _at(account)} | one
        for one in _resources(record)
        if logical in (None, one["LogicalResourceId"])
    ]
    return {"StackResources": found[:PAGE]}


def describe_stack_resource(account: Account, asked: Asked) -> Answer:
    """Give one resource of a stack."""
    record, wanted = _need(account, asked["StackName"]), asked["LogicalResourceId"]
    for one in _resources(record):
        if one["LogicalResourceId"] == wanted:
            metadata = record.stack.resources[wanted].metadata
            return {
                "StackResourceDetail": one
                | {
                    "StackName": record.stack.name,
                    "StackId": record.id,
                    "LastUpdatedTimestamp": _at(account),
                    "Metadata": json.dumps(metadata) if metadata else None,
                }
            }
    raise validation(f"Resource {wanted} does not exist for stack {record.stack.name}")


def list_stack_resources(account: Account, asked: Asked) -> Answer:
    """Give the resources of a stack in short, a hundred a page."""
    record = _need(account, asked["StackName"])
    found = [one | {"LastUpdatedTimestamp": _at(account)} for one in _resources(record)]
    shown, token = page(found, lambda one: [one["LogicalResourceId"]], size=PAGE,
                        token=asked.get("NextToken"), wrong_token=_WRONG_TOKEN)  # fmt: skip
    return {"StackResourceSummaries": shown, "NextToken": token}


def describe_stack_events(account: Account, asked: Asked) -> Answer:
    """Give the one event that there is of each stack: that it is complete."""
    stack = _stack(account, _need(account, asked["StackName"]))
    event = {
        "StackId": stack["StackId"],
        "EventId": f"{stack['StackName']}-complete",
        "StackName": stack["StackName"],
        "LogicalResourceId": stack["StackName"],
        "PhysicalResourceId": stack["StackId"],
        "ResourceType": "AWS::CloudFormation::Stack",
        "Timestamp": _at(account),
        "ResourceStatus": stack["StackStatus"],
    }
    return {"StackEvents": [event]}


def get_template(account: Account, asked: Asked) -> Answer:
    """Give the template that a stack is played from."""
    if asked.get("ChangeSetName") or not asked.get("StackName"):
        raise validation("The rehearsal keeps no change sets: expected a StackName alone.")
    record = _need(account, asked["StackName"])
    return {
        "TemplateBody": json.dumps(record.stack.template, indent=1),
        "StagesAvailable": ["Original", "Processed"],
    }


def list_exports(account: Account, asked: Asked) -> Answer:
    """Give what stacks export for others."""
    found = list(_exports(account))
    shown, token = page(found, lambda one: [one["Name"]], size=PAGE,
                        token=asked.get("NextToken"), wrong_token=_WRONG_TOKEN)  # fmt: skip
    return {"Exports": shown, "NextToken": token}


def _need(account: Account, named: str) -> StackRecord:
    for record in account.world.stacks.records.values():
        if named in (record.stack.name, record.id):
            return record
    raise validation(f"Stack with id {named} does not exist")


def _owner(account: Account, physical: str) -> StackRecord:
    for record in account.world.stacks.records.values():
        if physical in record.physical.values():
            return record
    raise validation(f"Stack for {physical:.500} does not exist")


def _at(account: Account) -> float:
    return account.updated or account.began


def _status(account: Account) -> str:
    return "UPDATE_COMPLETE" if account.updated else "CREATE_COMPLETE"


def _stack(account: Account, record: StackRecord) -> dict[str, Any]:
    outputs = record.stack.template.get("Outputs") or {}
    return {
        "StackId": record.id,
        "StackName": record.stack.name,
        "Description": record.stack.template.get("Description"),
        "CreationTime": account.began,
        "LastUpdatedTime": account.updated,
        "StackStatus": _status(account),
        "DisableRollback": False,
        "NotificationARNs": [],
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
        "Parameters": [
            {"ParameterKey": name, "ParameterValue": str(one.get("Default", ""))}
            for name, one in (record.stack.template.get("Parameters") or {}).items()
        ],
        "Outputs": [
            {
                "OutputKey": name,
                "OutputValue": str(value),
                "Description": outputs[name].get("Description"),
                "ExportName": _export(account, record, outputs[name]),
            }
            for name, value in record.outputs.items()
        ],
        "Tags": [{"Key": TAG, "Value": _environment(account, record)}],
        "EnableTerminationProtection": False,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }


def _environment(account: Account, record: StackRecord) -> str:
    """Give the environment's tag, which CDK puts on a stack and on all that is in it."""
    for resource in record.stack.resources.values():
        tags = resource.properties.get("Tags")
        for one in tags if isinstance(tags, list) else ():
            if isinstance(one, dict) and one.get("Key") == TAG:
                return str(one.get("Value"))
    return account.world.name


def _resources(record: StackRecord) -> Iterator[dict[str, Any]]:
    for logical_id, physical in record.physical.items():
        yield {
            "LogicalResourceId": logical_id,
            "PhysicalResourceId": physical,
            "ResourceType": record.stack.resources[logical_id].type,
            "ResourceStatus": "CREATE_COMPLETE",
            "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
        }


def _exports(account: Account) -> Iterator[dict[str, str]]:
    for record in account.world.stacks.records.values():
        for name, output in (record.stack.template.get("Outputs") or {}).items():
            export = _export(account, record, output)
            if export is not None:
                yield {
                    "ExportingStackId": record.id,
                    "Name": export,
                    "Value": str(record.outputs[name]),
                }


def _export(account: Account, record: StackRecord, output: Mapping[str, Any]) -> str | None:
    name = (output.get("Export") or {}).get("Name")
    if name is None:
        return None
    world = account.world
    resolved = world.graph.resolve(name, stack=record.stack.display_name, known=world.stacks.known)
    return None if isinstance(resolved, Unresolved) else str(resolved)


OPERATIONS: Mapping[str, Operation] = {
    "DescribeStackEvents": describe_stack_events,
    "DescribeStackResource": describe_stack_resource,
    "DescribeStackResources": describe_stack_resources,
    "DescribeStacks": describe_stacks,
    "GetTemplate": get_template,
    "ListExports": list_exports,
    "ListStackResources": list_stack_resources,
    "ListStacks": list_stacks,
}
