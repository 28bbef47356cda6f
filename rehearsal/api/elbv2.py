"""Elastic Load Balancing: the balancer, its rules, the health of its targets; nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rehearsal.api import tags
from rehearsal.api.account import Account, Asked, Operation
from rehearsal.api.errors import ApiError, validation
from rehearsal.api.pages import page
from rehearsal.api.wire import Answer
from rehearsal.properties import BalancerError
from rehearsal.target_groups import NOT_REGISTERED, TIMED_OUT, TargetHealth
from rehearsal.world import tags_of
from templates import Value

KIND = "AWS::ElasticLoadBalancingV2::"
PAGE = 400
# Behind every priority. Source: .../elasticloadbalancing/latest/application/listener-rules.html
LAST = 50_001
Found = list[tuple[str, Mapping[str, Value]]]
_WRONG_MARKER = ApiError("ValidationError", "Invalid marker")

# What a target group has that says nothing of it. Source, read 2026-11-24:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
_GROUP: Mapping[str, Any] = {
    "Protocol": "HTTP", "Port": 80, "HealthCheckProtocol": "HTTP",
    "HealthCheckPort": "traffic-port", "HealthCheckEnabled": True,
    "HealthCheckIntervalSeconds": 30, "HealthCheckTimeoutSeconds": 5, "HealthyThresholdCount": 5,
    "UnhealthyThresholdCount": 2, "HealthCheckPath": "/", "TargetType": "instance",
    "ProtocolVersion": "HTTP1", "IpAddressType": "ipv4",
}  # fmt: skip
# The attributes of an Application Load Balancer's target group of instances or addresses that
# have a default. Source, read 2026-11-24:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
_GROUP_ATTRIBUTES = {
    "deregistration_delay.timeout_seconds": "300",
    "load_balancing.algorithm.anomaly_mitigation": "off",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "slow_start.duration_seconds": "0",
    "stickiness.app_cookie.duration_seconds": "86400",
    "stickiness.enabled": "false",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
}
# The same of the balancer. Source, read 2026-11-24:
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
_BALANCER_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "client_keep_alive.seconds": "3600",
    "connection_logs.s3.enabled": "false",
    "deletion_protection.enabled": "false",
    "health_check_logs.s3.enabled": "false",
    "idle_timeout.timeout_seconds": "60",
    "load_balancing.cross_zone.enabled": "true",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http2.enabled": "true",
    "waf.fail_open.enabled": "false",
    "zonal_shift.config.enabled": "false",
}


def describe_load_balancers(account: Account, asked: Asked) -> Answer:
    """Give the load balancers, at the address where they can be reached on this machine."""
    found = _named(account, asked, "LoadBalancer", "LoadBalancerArns", "Names", _name)
    shown, marker = _page(found, asked)
    return {
        "LoadBalancers": [_balancer(account, arn, one) for arn, one in shown],
        "NextMarker": marker,
    }


def describe_target_groups(account: Account, asked: Asked) -> Answer:
    """Give target groups, by balancer, ARN or name."""
    found = _named(account, asked, "TargetGroup", "TargetGroupArns", "Names", _name)
    if balancer := asked.get("LoadBalancerArn"):
        _need(account, "LoadBalancer", balancer)
        found = [(arn, one) for arn, one in found if balancer in _balancers_of(account, arn)]
    shown, marker = _page(found, asked)
    return {"TargetGroups": [_group(account, *one) for one in shown], "NextMarker": marker}


def describe_listeners(account: Account, asked: Asked) -> Answer:
    """Give listeners, by balancer or ARN."""
    found = _named(account, asked, "Listener", "ListenerArns")
    if balancer := asked.get("LoadBalancerArn"):
        _need(account, "LoadBalancer", balancer)
        found = [(arn, one) for arn, one in found if one.get("LoadBalancerArn") == balancer]
    shown, marker = _page(found, asked)
    listeners = [
        account.read("elbv2", "Listener", one) | {"ListenerArn": arn} for arn, one in shown
    ]
    return {"Listeners": listeners, "NextMarker": marker}


def describe_rules(account: Account, asked: Asked) -> Answer:
    """Give rules, by listener or ARN, with the default ones and the weights of this moment."""
    found = _named(account, asked, "ListenerRule", "RuleArns")
    listener = asked.get("ListenerArn")
    rules = [
        _rule(account, arn, one) for arn, one in found if listener in (None, one.get("ListenerArn"))
    ]
    if listener:
        properties = _need(account, "Listener", listener)
        actions = account.read("elbv2", "Listener", properties).get("DefaultActions", [])
        rules.append(
            {
                "RuleArn": listener.replace(":listener/", ":listener-rule/") + "/default",
                "Priority": "default",
                "Conditions": [],
                "Actions": actions,
                "IsDefault": True,
            }
        )
    shown, marker = page(
        rules,
        lambda one: [int(LAST if one["IsDefault"] else one["Priority"]), one["RuleArn"]],
        size=asked.get("PageSize", PAGE),
        token=asked.get("Marker"),
        wrong_token=_WRONG_MARKER,
    )
    return {"Rules": shown, "NextMarker": marker}


def describe_target_health(account: Account, asked: Asked) -> Answer:
    """Give the targets of a group as the balancer sees them now."""
    group = asked["TargetGroupArn"]
    properties = _need(account, "TargetGroup", group)
    seen = {target: one for (arn, target), one in _health(account).items() if arn == group}
    wanted = asked.get("Targets")
    if wanted:
        chosen: dict[tuple[str, int], TargetHealth] = {}
        for one in wanted:
            same = {
                key: health
                for key, health in _keyed(seen).items()
                if key[0] == one["Id"] and one.get("Port") in (None, key[1])
            }
            port = int(one.get("Port") or properties.get("Port") or 80)
            chosen |= same or {(one["Id"], port): NOT_REGISTERED}
    else:
        chosen = _keyed(seen)
    check_port = str(properties.get("HealthCheckPort") or "traffic-port")
    return {
        "TargetHealthDescriptions": [
            {
                "Target": {"Id": target, "Port": port},
                "HealthCheckPort": str(port) if check_port == "traffic-port" else check_port,
                "TargetHealth": {
                    "State": health.state,
                    "Reason": health.reason,
                    "Description": health.description,
                },
            }
            for (target, port), health in sorted(chosen.items())
        ]
    }


def describe_target_group_attributes(account: Account, asked: Asked) -> Answer:
    """Give what the template says of a target group's attributes, and AWS's defaults."""
    properties = _need(account, "TargetGroup", asked["TargetGroupArn"])
    return {"Attributes": _attributes(_GROUP_ATTRIBUTES, properties.get("TargetGroupAttributes"))}


def describe_load_balancer_attributes(account: Account, asked: Asked) -> Answer:
    """Give what the template says of a balancer's attributes, and AWS's defaults."""
    properties = _need(account, "LoadBalancer", asked["LoadBalancerArn"])
    return {
        "Attributes": _attributes(_BALANCER_ATTRIBUTES, properties.get("LoadBalancerAttributes"))
    }


def describe_tags(account: Account, asked: Asked) -> Answer:
    """Give the tags of the template."""
    every = {
        arn: properties
        for kind in ("LoadBalancer", "Listener", "ListenerRule", "TargetGroup")
        for _, arn, properties in account.resources(KIND + kind)
    }
    found = []
    for arn in asked["ResourceArns"]:
        if arn not in every:
            raise ApiError("LoadBalancerNotFound", f"'{arn:.500}' was not found")
        found.append({"ResourceArn": arn, "Tags": tags.to_others(tags_of(every[arn]))})
    return {"TagDescriptions": found}


def _health(account: Account) -> dict[tuple[str, str], TargetHealth]:
    """Give the balancer's view, with the checks that a fault makes fail."""
    seen = dict(account.world.balancer.health())
    for task_id in account.world.unchecked:
        record = account.world.tasks.get(task_id)
        target = record.target if record else None
        if target in seen and seen[target].state == "healthy":
            seen[target] = TIMED_OUT
    return seen


def _keyed(seen: Mapping[str, TargetHealth]) -> dict[tuple[str, int], TargetHealth]:
    found = {}
    for target, health in seen.items():
        name, _, port = target.rpartition(":")
        found[name, int(port)] = health
    return found


def _named(
    account: Account,
    asked: Asked,
    kind: str,
    by_arn: str,
    by_name: str = "",
    name_of: Callable[[str], str] = str,
) -> Found:
    """Give the resources that are asked for; raise ApiError for one that there is not."""
    every = [(arn, properties) for _, arn, properties in account.resources(KIND + kind)]
    arns, names = asked.get(by_arn), asked.get(by_name)
    if not arns and not names:
        return every
    known = dict(every)
    for arn in arns or ():
        if arn not in known:
            raise _not_found(kind, arn)
    by_names = {name_of(arn): arn for arn in known}
    for name in names or ():
        if name not in by_names:
            raise _not_found(kind, name)
    wanted = {*(arns or ()), *(by_names[name] for name in names or ())}
    return [(arn, one) for arn, one in every if arn in wanted]


def _need(account: Account, kind: str, arn: str) -> Mapping[str, Value]:
    for _, physical, properties in account.resources(KIND + kind):
        if physical == arn:
            return properties
    raise _not_found(kind, arn)


def _not_found(kind: str, what: str) -> ApiError:
    named = {"ListenerRule": "Rule"}.get(kind, kind)
    words = {"LoadBalancer": "Load balancers", "TargetGroup": "target groups",
             "Listener": "listeners", "Rule": "rules"}[named]  # fmt: skip
    return ApiError(f"{named}NotFound", f"One or more {words} not found: {what:.500}")


def _page(found: Found, asked: Asked) -> tuple[Found, str | None]:
    return page(
        found,
        lambda one: [one[0]],
        size=asked.get("PageSize", PAGE),
        token=asked.get("Marker"),
        wrong_token=_WRONG_MARKER,
    )


def _name(arn: str) -> str:
    """Take the name of a balancer or a target group out of its ARN."""
    return arn.split("/")[-2]


def _balancer(account: Account, arn: str, properties: Mapping[str, Value]) -> dict[str, Any]:
    subnets = properties.get("Subnets") or []
    zones = account.zones_of([str(one) for one in subnets])
    return {
        "LoadBalancerArn": arn,
        "DNSName": account.world.stacks.address,
        "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
        "CreatedTime": account.began,
        "LoadBalancerName": _name(arn),
        "Scheme": properties.get("Scheme") or "internet-facing",
        "VpcId": account.vpc_id() or None,
        "State": {"Code": "active"},
        "Type": properties.get("Type") or "application",
        "AvailabilityZones": [
            {"ZoneName": zone, "SubnetId": subnet} for subnet, zone in zones.items()
        ],
        "SecurityGroups": [str(one) for one in properties.get("SecurityGroups") or []],
        "IpAddressType": properties.get("IpAddressType") or "ipv4",
    }


def _group(account: Account, arn: str, properties: Mapping[str, Value]) -> dict[str, Any]:
    found = account.read("elbv2", "TargetGroup", properties)
    return {
        **_GROUP,
        "Matcher": {"HttpCode": "200"},
        **found,
        "TargetGroupArn": arn,
        "TargetGroupName": _name(arn),
        "LoadBalancerArns": sorted(_balancers_of(account, arn)),
    }


def _balancers_of(account: Account, group: str) -> set[str]:
    """Give the balancers whose listeners or rules forward to a target group."""
    of_listener = {
        arn: str(properties.get("LoadBalancerArn"))
        for _, arn, properties in account.resources(f"{KIND}Listener")
    }
    found = {
        of_listener[arn]
        for _, arn, properties in account.resources(f"{KIND}Listener")
        if _forwards(properties.get("DefaultActions") or [], group)
    }
    for _, _, properties in account.resources(f"{KIND}ListenerRule"):
        listener = str(properties.get("ListenerArn"))
        if listener in of_listener and _forwards(properties.get("Actions") or [], group):
            found.add(of_listener[listener])
    return found


def _forwards(actions: Sequence[Mapping[str, Value]], group: str) -> bool:
    return any(
        one.get("TargetGroupArn") == group
        or any(
            other.get("TargetGroupArn") == group
            for other in (one.get("ForwardConfig") or {}).get("TargetGroups") or []
        )
        for one in actions
    )


def modify_rule(account: Account, asked: Asked) -> Answer:
    """Give a rule other actions; its conditions are the templates'."""
    arn = asked["RuleArn"]
    properties = _need(account, "ListenerRule", arn)
    if asked.get("Conditions"):
        raise validation("The rehearsal changes a rule's actions only; deploy another template.")
    if asked.get("Actions"):
        try:
            account.world.modify_rule(arn, asked["Actions"])
        except BalancerError as error:
            raise ApiError("InvalidLoadBalancerAction", str(error)) from error
    return {"Rules": [_rule(account, arn, properties)]}


def _rule(account: Account, arn: str, properties: Mapping[str, Value]) -> dict[str, Any]:
    found = account.read("elbv2", "Rule", properties)
    weights = _weights(account, arn)
    if arn in account.world.modified:
        found["Actions"] = list(account.world.modified[arn])
    elif weights:
        found["Actions"] = [
            {
                "Type": "forward",
                "ForwardConfig": {
                    "TargetGroups": [
                        {"TargetGroupArn": group, "Weight": weight}
                        for group, weight in weights.items()
                    ]
                },
            }
        ]
    return found | {"RuleArn": arn, "IsDefault": False}


def _weights(account: Account, rule: str) -> dict[str, int]:
    """Give what a service's deployment has set of the weights of a rule; nothing before it has."""
    for record in account.world.services.values():
        rules = [
            (one.get("AdvancedConfiguration") or {}).get("ProductionListenerRule")
            for one in record.properties.get("LoadBalancers") or []
        ]
        if rule not in rules or account.service_status(record) != "ACTIVE":
            continue
        # One that has just begun, or is gone back to, has moved nothing yet.
        moved = next((one for one in account.service_of(record).deployments if one.stage), None)
        groups = moved.definition.target_groups if moved else ()
        if moved and len(groups) > 1:
            part = round(moved.percent)
            # In the order of the template, whichever of the two is the new one's.
            return {
                group: part if index == moved.target_group else 100 - part
                for index, group in enumerate(groups)
            }
    return {}


def _attributes(
    defaults: Mapping[str, str], found: Sequence[Mapping[str, Value]] | None
) -> list[dict[str, str]]:
    said = {str(one["Key"]): str(one["Value"]) for one in found or ()}
    return [{"Key": key, "Value": value} for key, value in {**defaults, **said}.items()]


OPERATIONS: Mapping[str, Operation] = {
    "DescribeListeners": describe_listeners,
    "DescribeLoadBalancerAttributes": describe_load_balancer_attributes,
    "DescribeLoadBalancers": describe_load_balancers,
    "DescribeRules": describe_rules,
    "DescribeTags": describe_tags,
    "DescribeTargetGroupAttributes": describe_target_group_attributes,
    "DescribeTargetGroups": describe_target_groups,
    "DescribeTargetHealth": describe_target_health,
    "ModifyRule": modify_rule,
}
