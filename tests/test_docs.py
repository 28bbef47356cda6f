"""The documents say what is so."""

from __future__ import annotations

import re
import tomllib

from tests.conftest import PROJECT, Assembly, tracked


def text(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def test_every_alarm_has_its_lines_in_the_runbook(synthesized: Assembly) -> None:
    runbook = text("docs/operations.md")
    names = {
        resource["Metadata"]["aws:cdk:path"].split("/")[-2]
        for stack in synthesized.stacks()
        for resource in synthesized.stack(stack).resources("AWS::CloudWatch::Alarm").values()
    }
    assert len(names) == 6
    for name in {*names, "FailedDeployments", "ImpairedInstances"}:
        assert re.search(rf"^### {name}\n\S.{{40}}", runbook, re.MULTILINE), name


def test_every_dependency_has_its_reason() -> None:
    declared = tomllib.loads(text("pyproject.toml"))
    pinned = declared["project"]["dependencies"] + declared["dependency-groups"]["dev"]
    reasons = text("CONTRIBUTING.md")
    for line in pinned:
        assert "==" in line, line
        name = re.split(r"[=\[]", line)[0]
        assert re.search(rf"^\|.*\b{re.escape(name)}\b.*\|.{{15}}", reasons, re.MULTILINE), name


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*##", text("Makefile"), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/architecture.md"):
        for target in re.findall(r"(?:`|\$ )make ([a-z]+)", text(name)):
            assert target in targets, f"{name}: make {target}"


def test_every_link_between_documents_leads_somewhere() -> None:
    for path in [*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path.name}: {link}"


def test_the_repository_speaks_of_no_machine_and_no_registry_host() -> None:
    words = ("/" + "work/", "/" + "root/", "registry." + "npmjs", "files." + "pythonhosted")
    for name in tracked():
        content = (PROJECT / name).read_text(encoding="utf-8", errors="replace")
        assert not [word for word in words if word in content], name
