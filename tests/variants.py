"""Environments that between them use every value of every setting that cdk.json does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aws_cdk import App

import app
from settings import load, parse

Values = dict[str, Any]
PROJECT = Path(__file__).parent.parent
CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/0a1b2c3d-0000-4000-8000-0a1b2c3d4e5f"
# What only people read, and what is tested on the two environments.
FAST: Any = {"builtin_cloud_formation_validation": False, "stack_traces": False}
# What the CLI adds, so that templates of both can be compared.
CLI_CONTEXT = {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:quotes-key-AbCdEf"

# Who takes part in a class on one account, by their prefixes.
LEARNERS = ("ana", "ben")


def synthesize(directory: Path, context: Values) -> None:
    """Synthesize all variants in one app, and the sandbox with one microservice more in another."""
    described = {change.__name__: changed(change) for change in CHANGES}
    for name, values in (("variants", described), ("added", {"sandbox": changed(added)})):
        out = App(outdir=str(directory / name), context=context | CLI_CONTEXT, **FAST)
        app.build(out, parse(values))
        # A user who changes a value must not meet a finding that nobody has looked at.
        app.check(out)
        out.synth()


def synthesize_learners(directory: Path, context: Values) -> None:
    """Synthesize the sandboxes of two learners, from a cdk.local.json as documented."""
    text = (PROJECT / "docs" / "teaching.md").read_text(encoding="utf-8")
    (block,) = [
        one for one in re.findall(r"```json\n(.*?)```", text, re.DOTALL) if '"prefix"' in one
    ]
    for name in LEARNERS:
        local = directory / f"{name}.local.json"
        local.write_text(block.replace('"ana"', f'"{name}"'), encoding="utf-8")
        out = App(outdir=str(directory / name), context=context | CLI_CONTEXT, **FAST)
        app.build(out, {"sandbox": load(PROJECT / "cdk.json", local)["sandbox"]})
        out.synth()


def changed(change: Callable[[Values], None]) -> Values:
    """Give the sandbox's values with one variant's changes."""
    text = (PROJECT / "cdk.json").read_text(encoding="utf-8")
    values: Values = json.loads(text)["context"]["environments"]["sandbox"]
    change(values)
    return values


def bluegreen(values: Values) -> None:
    """Blue-green, no way to the internet, ECS Exec under a key, and a secret.

    Both services, and quotes, which bridged tasks call, has interfaces of its own.
    """
    web, quotes = values["services"]["web"], values["services"]["quotes"]
    quotes["deployment"]["strategy"] = "blue-green"
    quotes["task"]["network_mode"] = "awsvpc"
    web["deployment"]["strategy"] = "blue-green"
    web["task"] |= {"exec": True, "secrets": {"QUOTES_KEY": SECRET}}
    values["network"]["egress"] = "endpoints"
    values["logs"]["encrypted"] = True


def canary(values: Values) -> None:
    """A canary of tasks with their own interfaces, in somebody else's VPC, behind HTTPS.

    They call tasks in bridge mode.
    """
    web = values["services"]["web"]
    web["deployment"]["strategy"] = "canary"
    web["task"]["network_mode"] = "awsvpc"
    values["network"]["existing_vpc"] = {
        "vpc_id": "vpc-0a1b2c3d",
        "public_subnet_ids": ["subnet-0a1b2c01", "subnet-0a1b2c02"],
        "private_subnet_ids": ["subnet-0a1b2c03", "subnet-0a1b2c04"],
    }
    values["ingress"]["certificate_arn"] = CERTIFICATE
    values["cluster"]["container_insights"] = "disabled"


def linear(values: Values) -> None:
    """Linear shifts, mostly on Spot, asleep at night, with a gateway in each zone.

    Nobody calls anybody: quotes is a service that nothing reaches.
    """
    web, quotes = values["services"]["web"], values["services"]["quotes"]
    web |= {"calls": []}
    quotes |= {"connect": None}
    web["task"]["proxy"] = quotes["task"]["proxy"] = None
    web["deployment"]["strategy"] = "linear"
    web["scaling"]["schedule"] = {
        "timezone": "Europe/Berlin",
        "sleep": "cron(0 19 ? * MON-FRI *)",
        "wake": "cron(0 7 ? * MON-FRI *)",
    }
    values["cluster"] |= {"on_demand_base": 1, "on_demand_percent": 0, "min_instances": 0}
    values["network"]["egress"] = "nat-gateway-per-az"


def added(values: Values) -> None:
    """The sandbox with the monolith beside the two services, by the lines of the documents."""
    path = PROJECT / "docs" / "labs" / "monolith.json"
    more = json.loads(path.read_text(encoding="utf-8"))
    values["services"] |= more["sandbox"]["services"]


def prefixed(values: Values) -> None:
    """The sandbox of one learner of a class, in a known account, its roles bounded."""
    values |= {"prefix": "ana", "account": "111122223333", "permissions_boundary": "Learner"}


CHANGES = (bluegreen, canary, linear, prefixed)
