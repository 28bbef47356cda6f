"""Each folder stands on what design.md lets it, so that the CDK project is whole by itself."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
OURS = {
    "interpreter",
    "templates",
    "stacks",
    "rehearsal",
    "scheduler",
    "checks",
    "ops",
    "labs",
    "bench",
    "handbook",
}
CDK = {"aws_cdk", "cdk_nag", "constructs"}
STANDARD = set(sys.stdlib_module_names)
# The code of a Lambda function, which is sent, not imported.
NOT_IMPORTED = {"stacks/constructs/trunking_function.py"}


def imported(*patterns: str) -> dict[str, set[str]]:
    """Give the top-level modules that each file of the patterns imports."""
    found: dict[str, set[str]] = {}
    for pattern in patterns:
        for path in PROJECT.glob(pattern):
            name = path.relative_to(PROJECT).as_posix()
            if name in NOT_IMPORTED:
                continue
            nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            names = {
                alias.name for one in nodes if isinstance(one, ast.Import) for alias in one.names
            }
            names |= {one.module for one in nodes if isinstance(one, ast.ImportFrom) and one.module}
            found[name] = {one.split(".")[0] for one in names}
    return found


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        (["settings.py"], {"pydantic", "pydantic_core"}),
        (["templates.py"], {"yaml"}),
        (["stacks/**/*.py"], {"aws_cdk", "constructs", "settings", "stacks"}),
        (["scheduler/**/*.py"], {"scheduler", "templates"}),
        (["labs/kubernetes/*.py"], {"labs", "scheduler", "templates", "yaml"}),
        (["handbook/[!s]*.py"], {"handbook", "templates", "sphinx"}),
        # It runs in the service's container, where none of the project is.
        (["labs/kubernetes/identify.py"], set()),
        (["ops/watch/*.py"], {"boto3", "botocore", "ops", "types_boto3_cloudwatch"}),
    ],
)
def test_these_stand_on_nothing_else(patterns: list[str], allowed: set[str]) -> None:
    for name, modules in imported(*patterns).items():
        assert modules <= STANDARD | allowed, f"{name}: {modules - STANDARD - allowed}"


def test_whatever_the_project_imports_it_declares() -> None:
    pyproject = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {re.split(r"[=\[]", line)[0] for line in pyproject["project"]["dependencies"]}
    made_of = packages_distributions()
    # The baselines of a benchmark bring their own; the site is built with what develops.
    folders = [
        f"{folder}/**/*.py"
        for folder in sorted(OURS - {"interpreter", "templates", "bench", "handbook"})
    ]
    for name, modules in imported("*.py", "bench/*.py", *folders).items():
        for module in modules - STANDARD - OURS - {"app", "settings"}:
            if module.startswith("types_boto3"):
                continue  # in the eyes of a type checker only
            found = {one.lower().replace("_", "-") for one in made_of[module]}
            assert found & declared, f"{name} imports {module}, which is of {', '.join(found)}"


def test_what_looks_after_templates_never_makes_them() -> None:
    for folder in ("checks", "rehearsal", "ops", "labs"):
        for name, modules in imported(f"{folder}/**/*.py").items():
            assert not modules & (CDK | {"app", "stacks"}), name


def test_nothing_stands_on_the_rehearsal_the_upkeep_or_the_course() -> None:
    for folder in ("stacks", "checks", "scheduler", "rehearsal", "ops"):
        for name, modules in imported(f"{folder}/**/*.py").items():
            assert not modules & ({"rehearsal", "ops", "labs"} - {folder}), name
    for name, modules in imported("app.py", "settings.py", "templates.py").items():
        assert not modules & {"rehearsal", "ops", "labs", "checks", "scheduler"}, name
    for name, modules in imported("labs/**/*.py").items():
        assert not modules & {"rehearsal", "checks", "bench"}, name


def test_a_microservice_stands_on_nothing_of_the_project() -> None:
    for name, modules in imported("service/*/**/*.py").items():
        assert not modules & (OURS | CDK), name
