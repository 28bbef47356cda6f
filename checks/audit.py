"""Explains what the compliance packs still find on production, and whether explanations expired.

    python -m checks.audit ASSEMBLY [--write docs/findings.md]

ASSEMBLY is what `cdk synth --context audit=true` wrote. Exits with 1, a line a fault, when a rule
fires without a reason in checks/reasons.toml, a reason no longer has a finding, or an acceptance
in the stacks or in that file is past its day.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

REASONS = Path(__file__).with_name("reasons.toml")
# The packs by the name in their reports, and by the one that people know.
PACKS = {
    "NIST.800.53.R5": "NIST 800-53 R5",
    "PCI.DSS.321": "PCI DSS 3.2.1",
    "HIPAA.Security": "HIPAA",
}
ACCEPTED = "drydock:accepted"
HEADING = """\
# Findings

What the packs NIST 800-53 R5, PCI DSS 3.2.1 and HIPAA of cdk-nag still report on production, and
why. Written by `make audit` from checks/reasons.toml; AwsSolutions, checkov and cfn-lint leave
nothing to report, and what was accepted for them stands beside its resource in stacks/.

| rule | packs | on | verdict | reason | until |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Finding:
    """One rule that fires, in which packs, and on which constructs of production."""

    rule: str
    packs: tuple[str, ...]
    constructs: tuple[str, ...]


@dataclass(frozen=True)
class Acceptance:
    """One finding accepted beside its resource: where, which rule, why, and until when."""

    construct: str
    rule: str
    reason: str
    until: date


def findings(assembly: Path) -> list[Finding]:
    """Give every rule of the packs that fires on production, in alphabetical order."""
    report = json.loads((assembly / "validation-report.json").read_text(encoding="utf-8"))
    packs: dict[str, set[str]] = {}
    constructs: dict[str, set[str]] = {}
    for plugin in report["pluginReports"]:
        name = PACKS.get(plugin["pluginName"])
        for violation in plugin["violations"] if name else ():
            paths = {one["constructPath"] for one in violation["violatingConstructs"]}
            ours = {path for path in paths if path.startswith("Production/")}
            if name and ours:
                rule = violation["ruleName"].removeprefix(f"{plugin['pluginName']}-")
                packs.setdefault(rule, set()).add(name)
                constructs.setdefault(rule, set()).update(ours)
    return [
        Finding(rule, tuple(sorted(packs[rule])), tuple(sorted(constructs[rule])))
        for rule in sorted(packs)
    ]


def acceptances(assembly: Path) -> list[Acceptance]:
    """Give what the stacks accept beside their resources, from the assembly's metadata."""
    found: list[Acceptance] = []
    for path in sorted(assembly.glob("assembly-*/*.metadata.json")):
        for construct, entries in json.loads(path.read_text(encoding="utf-8")).items():
            for entry in entries:
                if entry["type"] == ACCEPTED:
                    data = entry["data"]
                    until = date.fromisoformat(data["until"])
                    found += [
                        Acceptance(construct, rule, data["reason"], until) for rule in data["rules"]
                    ]
    return found


def faults(
    found: list[Finding], accepted: list[Acceptance], reasons: dict[str, Any], today: date
) -> Iterator[str]:
    """Say what an audit of `today` must not let pass."""
    rules = {finding.rule for finding in found}
    for rule in sorted(rules - set(reasons)):
        yield f"{rule}: fires on production without a reason in {REASONS.name}"
    for rule in sorted(set(reasons) - rules):
        yield f"{rule}: has a reason in {REASONS.name}, but no longer fires; delete the reason"
    for rule, entry in sorted(reasons.items()):
        if entry["until"] < today:
            yield f"{rule}: its reason in {REASONS.name} was good until {entry['until']}"
    for one in accepted:
        if one.until < today:
            yield f"{one.construct}: {one.rule} was accepted until {one.until}"


def table(found: list[Finding], reasons: dict[str, Any]) -> str:
    """Write the findings as docs/findings.md has them."""
    rows = []
    for finding in found:
        entry = reasons.get(finding.rule, {"verdict": "", "reason": "", "until": ""})
        places = "<br>".join(path.removeprefix("Production/") for path in finding.constructs)
        packs = ", ".join(finding.packs)
        rows.append(
            f"| {finding.rule} | {packs} | {places} | {entry['verdict']} "
            f"| {entry['reason']} | {entry['until']} |\n"
        )
    return HEADING + "".join(rows)


def main() -> int:
    """Run the audit of an assembly; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m checks.audit", description=__doc__)
    parser.add_argument("assembly", type=Path)
    parser.add_argument("--write", type=Path, help="the file to write the table to")
    arguments = parser.parse_args()
    if not (arguments.assembly / "validation-report.json").exists():
        sys.exit(
            f"{arguments.assembly}: expected a cloud assembly, found no validation-report.json"
        )
    reasons = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    found, accepted = findings(arguments.assembly), acceptances(arguments.assembly)
    if arguments.write:
        arguments.write.write_text(table(found, reasons), encoding="utf-8")
    said = list(faults(found, accepted, reasons, datetime.now(UTC).date()))
    outcome = "\n".join(said) or f"{len(found)} rules fire, each with a reason."
    sys.stderr.write(f"{outcome}\n")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
