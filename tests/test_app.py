"""The app, as the CDK's own CLI meets it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import app
from tests.conftest import PROJECT, Assembly, cdk, copy_project

# Another day: a clock a year ahead for Node, where everything of a template is made.
SHIFTED_CLOCK = """
const Real = Date;
const ahead = 400 * 24 * 3600 * 1000;
globalThis.Date = class extends Real {
  constructor(...given) { given.length ? super(...given) : super(Real.now() + ahead); }
  static now() { return Real.now() + ahead; }
};
"""


def without_network() -> list[str]:
    """Give the command that runs another one with no network at all, where the kernel allows it."""
    command = ["unshare", "--map-root-user", "--net"]
    works = (
        shutil.which("unshare") and not subprocess.run([*command, "true"], check=False).returncode
    )
    return command if works else []


def cli_context(project: Path) -> str:
    """Give what the CLI hands to an app: cdk.json's context, and that it wants paths."""
    values = json.loads((project / "cdk.json").read_text(encoding="utf-8"))["context"]
    wanted = {"aws:cdk:enable-path-metadata": True, "aws:cdk:enable-asset-metadata": True}
    return json.dumps(values | wanted)


def contents(assembly: Path) -> dict[str, str]:
    """Give the templates, asset manifests and assets of an assembly by name, each as a hash."""
    found = {}
    for path in sorted(assembly.rglob("*")):
        name = path.relative_to(assembly).as_posix()
        if path.is_file() and (
            name.endswith((".template.json", ".assets.json")) or "/asset." in f"/{name}"
        ):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def test_a_synth_elsewhere_on_another_day_without_credentials_or_network_is_the_same(
    synthesized: Assembly, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "some where" / "else")
    clock = tmp_path / "clock.js"
    clock.write_text(SHIFTED_CLOCK)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    # Whoever asks for anything over the network reaches a closed port of this machine.
    nowhere = "http://127.0.0.1:9"
    environment = kept | {
        "NODE_OPTIONS": f"--require {clock}",
        "CDK_OUTDIR": str(tmp_path / "out"),
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        # What the CLI tells an app, so that both write the same metadata.
        "CDK_CONTEXT_JSON": cli_context(project),
    }
    done = subprocess.run(
        [*without_network(), sys.executable, "-c", "import app; app.main()"],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = contents(synthesized.directory), contents(tmp_path / "out")
    assert len(here) > 20
    assert there == here


def test_cdk_ls_shows_the_architecture(synthesized: Assembly) -> None:
    done = cdk("ls", "--show-dependencies", "--app", str(synthesized.directory))
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    for environment in ("Sandbox", "Production"):
        for stack in ("Network", "Registry", "Cluster", "Ingress", "Quotes", "Web"):
            assert f"- id: {environment}/{stack}" in shown
    web = shown.split("- id: Sandbox/Web (Sandbox-Web)")[1].split("\n- id: ")[0]
    for stack in ("Network", "Registry", "Cluster", "Ingress", "Quotes"):
        assert f"Sandbox/{stack}" in web


def test_production_cannot_be_deleted_by_a_slip(synthesized: Assembly) -> None:
    for environment, protected in (("Sandbox", False), ("Production", True)):
        path = synthesized.directory / f"assembly-{environment}" / "manifest.json"
        artifacts = json.loads(path.read_text(encoding="utf-8"))["artifacts"].values()
        stacks = [one for one in artifacts if one["type"] == "aws:cloudformation:stack"]
        assert len(stacks) == 6
        for one in stacks:
            assert one["properties"].get("terminationProtection", False) is protected


def test_every_stack_carries_its_environments_tag(synthesized: Assembly) -> None:
    for environment in ("Sandbox", "Production"):
        path = synthesized.directory / f"assembly-{environment}" / "manifest.json"
        artifacts = json.loads(path.read_text(encoding="utf-8"))["artifacts"].values()
        for one in artifacts:
            if one["type"] == "aws:cdk:stack" or one["type"] == "aws:cloudformation:stack":
                assert one["properties"]["tags"]["drydock:environment"] == environment.lower()


def test_wrong_settings_end_a_synth_in_their_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cdk.json").write_bytes((PROJECT / "cdk.json").read_bytes())
    (tmp_path / "cdk.local.json").write_text('{"sandbox": {"prefix": "Big Name"}}')
    monkeypatch.setattr(app, "PROJECT", tmp_path)
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert "sandbox.prefix: expected nothing, or at most 12 lower-case letters" in str(caught.value)


def test_the_app_tests_itself_with_the_flags_of_cdk_json(context: dict[str, object]) -> None:
    assert len(context) > 80
    assert (PROJECT / "cdk.json").read_text(encoding="utf-8").count('"environments"') == 1
