"""The permissions boundary: on every role of an environment that names one, and on no other."""

from __future__ import annotations

from tests.conftest import Assembly, Values

BOUNDARY = "arn:aws:iam::111122223333:policy/Learner"


def roles(assembly: Assembly, environment: str) -> dict[str, Values]:
    """Give the properties of every role of an environment, by stack and logical id."""
    return {
        f"{stack}/{name}": role["Properties"]
        for stack in assembly.stacks()
        if stack.startswith(f"{environment}/")
        for name, role in assembly.stack(stack).resources("AWS::IAM::Role").items()
    }


def test_every_role_of_a_bounded_environment_has_the_boundary(variants: Assembly) -> None:
    bounded = roles(variants, "Prefixed")
    # Those that the CDK makes for its own functions are among them, and easily forgotten.
    assert any("CustomResourceProviderRole" in name for name in bounded)
    assert {
        name for name, role in bounded.items() if role.get("PermissionsBoundary") != BOUNDARY
    } == set()


def test_without_the_setting_no_role_has_a_boundary(
    synthesized: Assembly, variants: Assembly
) -> None:
    for assembly, environment in (
        (synthesized, "Sandbox"),
        (synthesized, "Production"),
        (variants, "Canary"),
    ):
        found = roles(assembly, environment)
        assert found
        assert not any("PermissionsBoundary" in role for role in found.values())
