"""What an environment costs: the code's prices are the page's, and so are its sums."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import templates
from ops import prices
from tests.conftest import PROJECT, Assembly

PAGE = (PROJECT / "docs" / "cost.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("environment", "column"), [("sandbox", 1), ("production", 2)])
def test_an_hour_costs_what_the_page_says(assembly: Path, environment: str, column: int) -> None:
    (row,) = re.findall(r"^\| \*\*an hour\*\* .*$", PAGE, re.MULTILINE)
    said = re.findall(r"\$(\d+\.\d+)", row)[column - 1]
    cost = prices.cost_an_hour(templates.read(assembly), environment)
    assert f"{cost.least:.2f}" == said
    assert cost.most > cost.least
    assert cost.unknown == ()


def test_the_prices_are_those_of_the_page() -> None:
    for said in (
        f"| NAT gateway | ${prices.NAT_GATEWAY}/h |",
        f"| public IPv4 address | ${prices.ADDRESS}/h |",
        f"| load balancer | ${prices.BALANCER}/h |",
        f"| gp3 volume | ${prices.VOLUME_GB}/GB-month |",
        f"| firewall | ${prices.FIREWALL:.0f} + ${prices.FIREWALL_RULE:.0f} a rule |",
        f"| KMS keys | ${prices.KEY:.0f} |",
        f"| detailed monitoring | ${prices.MONITORED_INSTANCE:.2f} an instance |",
        f"| alarms | ${prices.ALARM:.2f} |",
        f"endpoints: ${prices.ENDPOINT} an hour each and",
        *(f"{kind} ${price}/h" for kind, price in prices.INSTANCES.items()),
    ):
        assert said in PAGE, said


def test_a_learner_in_a_shared_vpc_pays_for_no_gateway(
    learners: dict[str, Assembly], assembly: Path
) -> None:
    own = prices.cost_an_hour(templates.read(assembly), "sandbox").least
    shared = prices.cost_an_hour(templates.read(learners["ana"].directory), "sandbox").least
    assert own - shared == pytest.approx(prices.NAT_GATEWAY + prices.ADDRESS)
