"""No finding without an answer, and no answer without a reason and a day."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from checks.audit import Acceptance, Finding, acceptances, faults, findings, table
from tests.conftest import PROJECT, Assembly, cdk, sandbox_project

CHECKOV = PROJECT / ".venv-checkov" / "bin" / "checkov"


def templates(*assemblies: Assembly) -> list[str]:
    """Give the templates that CloudFormation would get; a stack without resources is skipped."""
    paths = [one.path(name) for one in assemblies for name in one.stacks()]
    return [str(path) for path in paths if '"Resources"' in path.read_text(encoding="utf-8")]


def test_a_finding_that_nobody_accepted_fails_cdk_synth(tmp_path: Path) -> None:
    """The CLI passes by stacks inside a Stage unless told otherwise, so this runs the CLI."""
    project = sandbox_project(tmp_path / "project", lambda _: None)
    source = project / "stacks" / "constructs" / "container_instances.py"
    damaged = source.read_text(encoding="utf-8").replace('"AwsSolutions-AS3"', '"AwsSolutions-S1"')
    source.write_text(damaged, encoding="utf-8")
    done = cdk("synth", "--quiet", cwd=project)
    assert done.returncode == 1
    assert "Acknowledge with 'AwsSolutions::AwsSolutions-AS3'" in done.stdout + done.stderr


def test_cfn_lint_finds_nothing(synthesized: Assembly, variants: Assembly) -> None:
    # A prefix changes names only, and the linter is slow.
    paths = [one for one in templates(synthesized, variants) if "Prefixed" not in one]
    command = [str(Path(sys.executable).parent / "cfn-lint"), *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkov_finds_nothing(synthesized: Assembly) -> None:
    files = [argument for path in templates(synthesized) for argument in ("--file", path)]
    done = subprocess.run(
        [str(CHECKOV), "--framework", "cloudformation", "--quiet", "--compact",
         "--skip-download", "--output", "json", *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    summary = json.loads(done.stdout)["summary"]
    assert summary["passed"] > 200, "checkov read no template"
    assert summary["failed"] == 0, done.stdout
    assert done.returncode == 0


def test_every_acceptance_has_a_reason_and_a_day(synthesized: Assembly, variants: Assembly) -> None:
    accepted = acceptances(synthesized.directory) + acceptances(variants.directory)
    assert len(accepted) > 50
    for one in accepted:
        assert len(one.reason.split()) >= 8, one
        assert date(2026, 1, 1) < one.until < date(2029, 1, 1), one


def test_nothing_is_accepted_but_through_the_one_function() -> None:
    """So that no acceptance is without a reason and a day."""
    for path in [PROJECT / "app.py", *(PROJECT / "stacks").rglob("*.py")]:
        if path.name != "findings.py":
            text = path.read_text(encoding="utf-8")
            for word in ("acknowledge", "add_metadata", "NagSuppressions"):
                assert word not in text, f"{path.name}: {word}"


def test_an_acceptance_is_known_to_the_scanner_that_it_names(synthesized: Assembly) -> None:
    """A checkov rule in a template was accepted with reason and day, and the other way round."""
    in_templates: set[str] = set()
    for name in synthesized.stacks():
        for resource in synthesized.stack(name).body.get("Resources", {}).values():
            skipped = resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
            in_templates |= {one["id"] for one in skipped}
    accepted = acceptances(synthesized.directory)
    assert in_templates == {one.rule for one in accepted if one.rule.startswith("CKV")}


REASONS = {"Known": {"verdict": "as intended", "reason": "Because.", "until": date(2027, 1, 1)}}
FOUND = [Finding("Known", ("HIPAA",), ("Production/Web/Service",))]
NEW = Finding("New", ("HIPAA",), ())
OLD = Acceptance("/S/R", "CKV_1", "why", date(2026, 5, 1))
PAST = "Known: its reason in reasons.toml was good until 2027-01-01"
UNANSWERED = "New: fires on production without a reason in reasons.toml"
GONE = "Known: has a reason in reasons.toml, but no longer fires; delete the reason"


@pytest.mark.parametrize(
    ("found", "accepted", "today", "said"),
    [
        (FOUND, [OLD], date(2026, 5, 1), []),
        (FOUND, [OLD], date(2026, 5, 2), ["/S/R: CKV_1 was accepted until 2026-05-01"]),
        (FOUND, [], date(2027, 1, 1), []),
        (FOUND, [], date(2027, 1, 2), [PAST]),
        ([], [], date(2026, 1, 1), [GONE]),
        ([*FOUND, NEW], [], date(2026, 1, 1), [UNANSWERED]),
    ],
)
def test_an_audit_says_what_expired_and_what_is_new(
    found: list[Finding], accepted: list[Acceptance], today: date, said: list[str]
) -> None:
    assert list(faults(found, accepted, REASONS, today)) == said


def test_the_table_of_findings_names_rule_place_and_reason() -> None:
    last = table(FOUND, REASONS).splitlines()[-1]
    assert last == "| Known | HIPAA | Web/Service | as intended | Because. | 2027-01-01 |"


def test_findings_are_read_from_the_packs_reports(tmp_path: Path) -> None:
    report = {
        "pluginReports": [
            pack("AwsSolutions", ("S1", "Production/A")),
            pack("HIPAA.Security", ("Rule", "Production/B"), ("Other", "Sandbox/B")),
            pack("PCI.DSS.321", ("Rule", "Production/C")),
        ]
    }
    (tmp_path / "validation-report.json").write_text(json.dumps(report), encoding="utf-8")
    assert findings(tmp_path) == [
        Finding("Rule", ("HIPAA", "PCI DSS 3.2.1"), ("Production/B", "Production/C"))
    ]


def pack(name: str, *found: tuple[str, str]) -> dict[str, object]:
    """Make a pack's report of rules, each on one construct."""
    violations = [
        {"ruleName": f"{name}-{rule}", "violatingConstructs": [{"constructPath": construct}]}
        for rule, construct in found
    ]
    return {"pluginName": name, "violations": violations}
