"""The names of an environment are those that app.py gives."""

from __future__ import annotations

from ops.environment import Environment
from settings import parse
from tests.conftest import PROJECT, Values


def test_the_stacks_are_those_that_are_synthesized(values: Values) -> None:
    for name, settings in parse(values).items():
        environment = Environment(name, settings)
        synthesized = {
            f"{environment.stage}-{path.stem}"
            for path in (PROJECT / "tests" / "snapshots" / environment.stage).glob("*.json")
        }
        assert set(environment.stacks) == synthesized


def test_a_prefix_goes_before_stacks_and_tag(values: Values) -> None:
    values["sandbox"]["prefix"] = "mine"
    values["sandbox"]["services"] = {"big-quotes": values["sandbox"]["services"]["quotes"]}
    environment = Environment("sandbox", parse(values)["sandbox"])
    assert environment.stacks[0] == "mine-Sandbox-Network"
    assert environment.stacks[-1] == "mine-Sandbox-BigQuotes"
    assert environment.tag == "mine-sandbox"
    assert environment.stage == "Sandbox"
