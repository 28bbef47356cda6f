"""Settings are read strictly, and what is wrong is said in our words, all at once."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from settings import SettingsError, instance_architecture, load, parse, placeholders

CDK_JSON = Path(__file__).parent.parent / "cdk.json"
Values = dict[str, Any]


def faults(values: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(values)
    return caught.value.faults


def put(values: Values, place: str, value: object) -> Values:
    """Set the value at a dotted place."""
    *parents, last = place.split(".")
    inner: Any = values
    for key in parents:
        inner = inner[int(key) if isinstance(inner, list) else key]
    inner[int(last) if isinstance(inner, list) else last] = value
    return values


def test_both_environments_are_read() -> None:
    assert list(load(CDK_JSON)) == ["sandbox", "production"]


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    sandbox = load(CDK_JSON)["sandbox"]
    with pytest.raises(ValueError, match="frozen"):
        sandbox.cluster.max_instances = 7


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("cluster.min_instances", "2", "an integer from 0 to 1000"),
        ("cluster.min_instances", 2.5, "an integer from 0 to 1000"),
        ("alerts.monthly_budget_usd", 0, "an integer of 1 or more"),
        ("retain_data", 1, "true or false"),
        ("network.egress", "nat", "one of one-nat-gateway, nat-gateway-per-az, endpoints"),
        ("network.availability_zones.1", "b", "an availability zone's name, like us-east-1a"),
        ("account", "123", "an account id of 12 digits, or null"),
        ("logs.retention_days", 8, "one of 1, 3, 7, 14, 30, 90, 180, 365, 731"),
        (
            "permissions_boundary",
            "arn:aws:iam::1:policy/x",
            "the name of an IAM policy, like Learner, or null",
        ),
        ("alerts.email", "me", "an e-mail address, like you@example.com"),
        ("network", 3, "an object"),
        (
            "network.availability_zones",
            ["us-east-1a"],
            "a list of 2 to 3 entries, each an availability zone's name, like us-east-1a",
        ),
    ],
)
def test_a_mistyped_value_is_refused_with_place_value_and_expectation(
    values: Values, place: str, value: object, expected: str
) -> None:
    put(values, f"sandbox.{place}", value)
    assert faults(values) == (f"sandbox.{place}: expected {expected}, got {value!r}",)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ("cluster.instance_types.0", "t4g.small", "a type of architecture x86_64"),
        (
            "cluster.ami",
            "al2023-ami-ecs-hvm-2023.0.20261113-kernel-6.1-arm64",
            "an image for x86_64",
        ),
        ("cluster.min_instances", 7, "at most max_instances, 6"),
        ("cluster.agent.host_ports.first", 30000, "at most last, 20255"),
        ("network.availability_zones.0", "eu-west-1a", "a zone of us-east-1"),
        ("network.availability_zones", ["us-east-1a", "us-east-1a"], "each zone once"),
        ("network.cidr", "10.0.0.0/24", "a prefix from /16 to /22, as subnets need"),
        (
            "network.cidr",
            "10.0.0.1/16",
            "an IPv4 range with no host bits set, like 10.0.0.0/16",
        ),
        (
            "ingress.allowed_cidrs.0",
            "300.0.0.0/8",
            "an IPv4 range with no host bits set, like 10.0.0.0/16",
        ),
        ("services.web.task.drain_seconds", 30, "less than stop_timeout_seconds, 30"),
        (
            "services.web.task.keep_alive_seconds",
            60,
            "more than ingress.idle_timeout_seconds, 60",
        ),
        ("services.web.task.memory_reservation_mib", 128, "less than memory_mib, 128"),
        ("services.web.scaling.min_tasks", 7, "at most max_tasks, 6"),
        ("services.web.route.health_path", "/health/*", "a path without * and ?"),
        (
            "ingress.certificate_arn",
            "arn:aws:acm:eu-west-1:111122223333:certificate/0a1b",
            "one of us-east-1",
        ),
        (
            "prefix",
            "ecs-lab",
            "not to begin with aws, ecs or fargate, which ECS refuses in a capacity provider",
        ),
    ],
)
def test_a_value_that_contradicts_another_is_refused(
    values: Values, place: str, value: object, expected: str
) -> None:
    put(values, f"sandbox.{place}", value)
    assert faults(values) == (f"sandbox.{place}: expected {expected}, got {value!r}",)


def test_a_drain_may_not_outlast_the_deregistration(values: Values) -> None:
    put(values, "sandbox.services.web.route.deregistration_delay_seconds", 5)
    expected = "expected at most route.deregistration_delay_seconds, 5, got 10"
    assert faults(values) == (f"sandbox.services.web.task.drain_seconds: {expected}",)


def test_trunking_is_refused_where_no_instance_type_has_it(values: Values) -> None:
    put(values, "sandbox.cluster.eni_trunking", True)
    expected = "expected a type that supports cluster.eni_trunking, as no t1 to t4 does"
    assert faults(values) == (f"sandbox.cluster.instance_types.0: {expected}, got 't3.small'",)


def test_the_agents_own_ports_are_no_host_ports(values: Values) -> None:
    put(values, "sandbox.cluster.agent.host_ports.last", 60000)
    expected = "expected a range without the agent's own ports, 51678 to 51680, got [20000, 60000]"
    assert faults(values) == (f"sandbox.cluster.agent.host_ports: {expected}",)


def test_an_existing_vpc_has_one_subnet_of_each_kind_in_each_zone(values: Values) -> None:
    two, three = [[f"subnet-0a1b2c{count}{i}" for i in range(count)] for count in (2, 3)]
    put(
        values,
        "sandbox.network.existing_vpc",
        {"vpc_id": "vpc-0a1b2c3d", "public_subnet_ids": three, "private_subnet_ids": two},
    )
    expected = f"2 subnets, one for each of network.availability_zones, got {three}"
    place = "sandbox.network.existing_vpc.public_subnet_ids"
    assert faults(values) == (f"{place}: expected {expected}",)


def test_a_subnet_is_not_public_and_private_at_once(values: Values) -> None:
    ids = ["subnet-0a1b2c01", "subnet-0a1b2c02"]
    put(
        values,
        "sandbox.network.existing_vpc",
        {"vpc_id": "vpc-0a1b2c3d", "public_subnet_ids": ids, "private_subnet_ids": ids},
    )
    expected = f"expected no subnet that is also in public_subnet_ids, got {ids}"
    place = "sandbox.network.existing_vpc.private_subnet_ids"
    assert faults(values) == (f"{place}: {expected}",)


@pytest.mark.parametrize("name", ["cluster", "ingress", "web-", "a--b", "1st"])
def test_a_service_is_not_named_as_something_refuses_later(values: Values, name: str) -> None:
    services = values["sandbox"]["services"]
    services[name] = services.pop("web")
    (fault,) = faults(values)
    assert fault.startswith(f"sandbox.services.{name}: expected a name ")


def test_two_services_do_not_end_in_one_stack(values: Values) -> None:
    services = values["sandbox"]["services"]
    for priority, name in enumerate(["web1a", "web1-a"], 1):
        services[name] = copy.deepcopy(services["web"])
        services[name]["route"]["priority"] = priority
    (fault,) = faults(values)
    assert "web1-a: expected a name that differs from web1a in more than a hyphen" in fault


def test_a_secret_is_not_named_as_a_variable_of_the_task(values: Values) -> None:
    arn = "arn:aws:secretsmanager:us-east-1:111122223333:secret:key-AbCdEf"
    put(values, "sandbox.services.web.task.secrets", {"PORT": arn})
    (fault,) = faults(values)
    assert fault.startswith("sandbox.services.web.task.secrets.PORT: expected none of ")


def test_a_domain_lies_in_its_zone(values: Values) -> None:
    put(
        values,
        "sandbox.ingress.domain",
        {
            "name": "a.example.org",
            "hosted_zone_id": "Z012345",
            "hosted_zone_name": "example.com",
        },
    )
    expected = "expected a name in hosted_zone_name, example.com, got 'a.example.org'"
    assert faults(values) == (f"sandbox.ingress.domain.name: {expected}",)


def test_two_services_cannot_have_one_priority(values: Values) -> None:
    services = values["sandbox"]["services"]
    services["other"] = copy.deepcopy(services["web"])
    expected = "services.other.route.priority: expected a priority of its own, not that of web"
    assert faults(values) == (f"sandbox.{expected}, got 100",)


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (
            "web.calls",
            ["quote"],
            "web.calls.0: expected another service with connect, one of",
        ),
        ("web.calls", ["web"], "web.calls.0: expected another service with connect, one of"),
        ("web.calls", ["quotes"] * 2, "web.calls.1: expected each service once"),
        (
            "quotes.calls",
            ["web"],
            "quotes.calls.0: expected another service with connect, one of",
        ),
        ("web.calls", "quotes", "web.calls: expected a list of each a string"),
        ("quotes.connect", None, "web.calls.0: expected another service with connect, one of"),
        (
            "web.task.proxy",
            None,
            "web.task.proxy: expected an object, since the service has",
        ),
        (
            "web.calls",
            [],
            "web.task.proxy: expected null, since the service has",
        ),
        (
            "quotes.connect.request_timeout_seconds",
            61,
            "quotes.connect.request_timeout_seconds: expected at most idle_timeout_seconds, 60",
        ),
        (
            "quotes.task.keep_alive_seconds",
            60,
            "quotes.task.keep_alive_seconds: expected more than connect.idle_timeout_seconds, 60",
        ),
        (
            "quotes.scaling.requests_per_target_per_minute",
            9,
            "quotes.scaling.requests_per_target_per_minute: expected null, since without a route",
        ),
        (
            "web.scaling.requests_per_target_per_minute",
            None,
            "web.scaling.requests_per_target_per_minute: expected an integer of 1 or more, since",
        ),
        (
            "web.task.secrets",
            {"QUOTES_URL": "arn:aws:secretsmanager:us-east-1:111122223333:secret:key-AbCdEf"},
            "web.task.secrets.QUOTES_URL: expected none of DRAIN_SECONDS, KEEP_ALIVE_SECONDS",
        ),
    ],
)
def test_services_that_cannot_reach_each_other_are_refused(
    values: Values, place: str, value: object, expected: str
) -> None:
    put(values, f"sandbox.services.{place}", value)
    assert any(line.startswith(f"sandbox.services.{expected}") for line in faults(values))


def test_services_do_not_call_each_other_in_a_circle(values: Values) -> None:
    services = values["sandbox"]["services"]
    services["web"]["connect"] = copy.deepcopy(services["quotes"]["connect"])
    services["middle"] = copy.deepcopy(services["quotes"]) | {"calls": ["web"]}
    services["quotes"]["calls"] = ["middle"]
    assert [line.split(" got ")[0] for line in faults(values)] == [
        f"sandbox.services.{name}.calls.0: expected a service that does not call this one in turn,"
        for name in ("web", "quotes", "middle")
    ]


@pytest.mark.parametrize("strategy", ["blue-green", "canary", "linear"])
def test_traffic_is_not_shifted_where_nothing_reaches_the_service(
    values: Values, strategy: str
) -> None:
    services = values["sandbox"]["services"]
    services["quotes"]["deployment"]["strategy"] = strategy
    parse(values)
    services["quotes"] |= {"connect": None}
    services["web"]["calls"] = []
    services["quotes"]["task"]["proxy"] = services["web"]["task"]["proxy"] = None
    (fault,) = faults(values)
    assert fault.startswith("sandbox.services.quotes.deployment.strategy: expected rolling, since")


def test_a_service_comes_after_those_that_it_calls(values: Values) -> None:
    services = values["sandbox"]["services"]
    services["quotes"] |= {"calls": ["under"]}
    services["under"] = copy.deepcopy(services["quotes"]) | {"calls": []}
    assert list(services) == ["web", "quotes", "under"]
    assert parse(values)["sandbox"].callees_first == ["under", "quotes", "web"]


@pytest.mark.parametrize(
    ("web", "quotes", "balancer", "instances"),
    [
        ("bridge", "bridge", True, True),
        ("awsvpc", "bridge", False, False),
        ("bridge", "awsvpc", True, False),
        ("awsvpc", "awsvpc", False, False),
    ],
)
def test_host_ports_are_opened_only_to_those_that_need_them(
    values: Values, web: str, quotes: str, balancer: bool, instances: bool
) -> None:
    put(values, "sandbox.services.web.task.network_mode", web)
    put(values, "sandbox.services.quotes.task.network_mode", quotes)
    sandbox = parse(values)["sandbox"]
    ports = sandbox.cluster.agent.host_ports
    assert sandbox.bridge_ports == (ports if balancer else None)
    assert sandbox.connect_ports == (ports if instances else None)
    assert sandbox.called_from_instances("quotes") == (web == "bridge")


def test_an_environment_may_not_be_named_as_ecs_refuses(values: Values) -> None:
    values["fargate1"] = values.pop("sandbox")
    assert faults(values)[0].startswith("fargate1.name: expected not to begin with aws, ecs or")


def test_all_faults_of_all_environments_are_said_at_once(values: Values) -> None:
    values["sandbox"]["surprise"] = 1
    del values["sandbox"]["cluster"]["ami"]
    values["sandbox"]["region"] = 7
    values["production"]["services"]["web"]["scaling"]["min_tasks"] = 99
    found = faults(values)
    assert sorted(line.split(":")[0] for line in found) == [
        "production.services.web.scaling.min_tasks",
        "sandbox.cluster.ami",
        "sandbox.region",
        "sandbox.surprise",
    ]


def test_an_unknown_key_names_the_known_ones(values: Values) -> None:
    values["sandbox"]["logs"]["days"] = 7
    expected = "unknown key; expected one of retention_days, encrypted"
    assert faults(values) == (f"sandbox.logs.days: {expected}",)


@pytest.mark.parametrize("key", ["sandbox", "sandbox.logs", "sandbox.services.web.task.port"])
def test_every_value_of_an_environment_must_be_written_out(values: Values, key: str) -> None:
    *parents, last = key.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    if not parents:
        inner[last] = {}
        assert all(": missing; expected " in line for line in faults(values))
        return
    del inner[last]
    (fault,) = faults(values)
    assert fault.startswith(f"{key}: missing; expected ")


def test_service_and_secret_names_are_checked(values: Values) -> None:
    services = values["sandbox"]["services"]
    services["Two Words"] = copy.deepcopy(services["web"])
    services["web"]["task"]["secrets"] = {"lower": "no arn"}
    places = [line.split(": ")[0] for line in faults(values)]
    secret = "sandbox.services.web.task.secrets.lower"
    assert places == [secret, secret, "sandbox.services.Two Words"]


def test_local_values_lie_over_those_of_cdk_json(tmp_path: Path) -> None:
    local = tmp_path / "cdk.local.json"
    local.write_text('{"sandbox": {"account": "111122223333", "logs": {"retention_days": 1}}}')
    sandbox = load(CDK_JSON, local)["sandbox"]
    assert (sandbox.account, sandbox.logs.retention_days) == ("111122223333", 1)
    assert sandbox.logs.encrypted is False


def test_a_missing_local_file_changes_nothing(tmp_path: Path) -> None:
    assert load(CDK_JSON, tmp_path / "cdk.local.json") == load(CDK_JSON)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "cdk.local.json: expected JSON, got: "),
        ("[]", "cdk.local.json: expected an object, got []"),
        ('{"sandbox": {"account": null, "account": null}}', "the same key twice: account"),
        ('{"sandbox": 3}', "sandbox: expected an object, got 3"),
    ],
)
def test_an_unreadable_local_file_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    local = tmp_path / "cdk.local.json"
    local.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(fault)):
        load(CDK_JSON, local)


def test_placeholders_are_allowed_and_named(values: Values) -> None:
    read = parse(values)
    assert [line.split(":")[0] for line in placeholders(read["production"])] == [
        "alerts.email",
        "ingress.domain.name",
        "ingress.domain.hosted_zone_id",
    ]
    values["sandbox"]["alerts"]["email"] = "me@drydock.test"
    assert placeholders(parse(values)["sandbox"]) == []


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("t3.small", "x86_64"), ("t4g.small", "arm64"), ("m7g.large", "arm64"),
        ("c6gn.xlarge", "arm64"), ("r8gd.2xlarge", "arm64"), ("a1.medium", "arm64"),
        ("m7i-flex.large", "x86_64"), ("g5.xlarge", "x86_64"), ("g5g.xlarge", "arm64"),
        ("im4gn.large", "arm64"), ("is4gen.large", "arm64"), ("x2gd.large", "arm64"),
        ("i4g.large", "arm64"), ("u-6tb1.metal", "x86_64"), ("m5.large", "x86_64"),
    ],
)  # fmt: skip
def test_an_instance_type_names_its_architecture(name: str, architecture: str) -> None:
    assert instance_architecture(name) == architecture


def places(values: dict[str, Any] | list[Any], at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Give the path to every value, however deep."""
    found = [at] if at else []
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        found += places(value, (*at, key)) if isinstance(value, dict | list) else [(*at, key)]
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=5,
)
ORIGINAL: Values = json.loads(CDK_JSON.read_text(encoding="utf-8"))["context"]["environments"]


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(places(ORIGINAL)), JSON, st.booleans()), min_size=1, max_size=4
    )
)
def test_damaged_settings_end_in_a_clean_error_or_work(
    damages: list[tuple[tuple[Any, ...], Any, bool]],
) -> None:
    values = copy.deepcopy(ORIGINAL)
    for path, value, remove in damages:
        inner: Any = values
        try:
            for key in path[:-1]:
                inner = inner[key]
            if remove:
                del inner[path[-1]]
            else:
                inner[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage took this place away
    found: tuple[str, ...] = ()
    try:
        parse(values)
    except SettingsError as error:
        found = error.faults or ("an error without a fault",)
    for line in found:
        assert re.match(r"(?s).+: (missing; |unknown key; )?expected .+", line), line
        assert "validation error" not in line
