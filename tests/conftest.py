"""What every test stands on: fake credentials, and each configuration synthesized once a run."""

from __future__ import annotations

import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).parent.parent
# Node comes with the environment, whether or not it is activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
for variable in [name for name in os.environ if name.startswith("AWS_")]:
    if variable != "AWS_CA_BUNDLE":
        del os.environ[variable]
os.environ |= {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

# The same examples in each run, on whatever machine, however busy that is.
settings.register_profile(
    "project",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

# What a wait says that came to its end: this project's own, and Playwright's. And what Chromium
# says of a request that was under way while an engine beside it made a network, or removed one.
TOO_LATE = [
    r"(did not come to hold|expected \S+) within", r"Timeout.* exceeded", "Locator expected",
    "ERR_NETWORK_CHANGED",
]  # fmt: skip

# Until a new task has to pass the balancer's checks, in AWS's seconds. A rehearsal speeds them up,
# and not what a container takes to start, which on a busy machine may be ten seconds.
GRACE_SECONDS = 900

# The files that take minutes and would begin when the others are over; they come first.
LONG_AND_LAST = {"test_findings.py", "test_shifts.py"}

Values = dict[str, Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--accept-snapshots", action="store_true", help="write snapshots, diagrams anew"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a test with a real engine or browser again, twice, where a wait was too short for it.

    Not where what it looked at was wrong: one failed request of many is a failure at once. Their
    files, which take minutes, are spread among the others, so that what waits and what computes
    go together, and no worker is left alone with one at the end.
    """
    slow = [item for item in items if any(map(item.get_closest_marker, ("engine", "browser")))]
    for item in slow:
        item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=TOO_LATE))
    slow_files = list(dict.fromkeys(item.path for item in slow))
    files = dict.fromkeys(item.path for item in items)
    quick_files = [path for path in files if path not in slow_files]
    places = {path: 0.8 * place / len(slow_files) for place, path in enumerate(slow_files)}
    places |= {path: place / len(quick_files) for place, path in enumerate(quick_files)}
    places |= {path: 0.0 for path in files if path.name in LONG_AND_LAST}
    items.sort(key=lambda item: places[item.path])


def pytest_collection_finish() -> None:
    gc.enable()  # app.py, once imported, has switched it off, which is good for a synth only


def hear_ctrl_c() -> None:
    """Let a child, before it begins, heed SIGINT: a shell in the background has all ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(holds: Callable[[], object], *, seconds: float, pause: float = 0.1) -> float:
    """Wait until something holds; give how long that took, in seconds. Fail after `seconds`."""
    started = time.monotonic()
    while not holds():
        took = time.monotonic() - started
        assert took < seconds, f"did not come to hold within {seconds} s"
        time.sleep(pause)
    return time.monotonic() - started


@dataclass(frozen=True)
class Template:
    """One stack's synthesized template, as tests ask it."""

    body: Values

    def resources(self, kind: str) -> dict[str, Values]:
        """Give the resources of one type by their logical ids."""
        found = self.body.get("Resources", {}).items()
        return {name: resource for name, resource in found if resource["Type"] == kind}

    def all(self, kind: str) -> list[Values]:
        """Give the properties of every resource of one type."""
        return [resource.get("Properties", {}) for resource in self.resources(kind).values()]

    def one(self, kind: str) -> Values:
        """Give the properties of the only resource of that type."""
        (properties,) = self.all(kind)
        return properties


@dataclass(frozen=True)
class Assembly:
    """A cloud assembly: what `cdk synth` wrote, by environment and stack."""

    directory: Path

    def stack(self, name: str) -> Template:
        """Read the template of a stack by its name, like Sandbox/Web."""
        return Template(json.loads(self.path(name).read_text(encoding="utf-8")))

    def path(self, name: str) -> Path:
        """Give the path of a stack's template."""
        environment, stack = name.split("/")
        (found,) = self.directory.glob(
            f"assembly-{environment}/{environment}{stack}????????.template.json"
        )
        return found

    def stacks(self) -> list[str]:
        """Name every stack as Environment/Stack."""
        names = []
        for manifest in sorted(self.directory.glob("assembly-*/manifest.json")):
            artifacts = json.loads(manifest.read_text(encoding="utf-8"))["artifacts"].values()
            names += [
                artifact["displayName"].split(" ")[0]
                for artifact in artifacts
                if artifact["type"] == "aws:cloudformation:stack"
            ]
        return names


def cdk(*arguments: str, cwd: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    """Run the real CDK CLI, without a learner's own cdk.local.json."""
    command = [str(PROJECT / "node_modules" / ".bin" / "cdk"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def tracked() -> list[str]:
    """Give the project's files: what git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = filter(None, listed.stdout.split("\0"))
    return [name for name in names if (PROJECT / name).is_file()]


def copy_project(to: Path) -> Path:
    """Copy the project's files to another directory, with the installed tools linked."""
    for name in tracked():
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((PROJECT / name).read_bytes())
    for tools in (".venv", "node_modules"):
        (to / tools).symlink_to(PROJECT / tools)
    return to


def sandbox_project(
    to: Path, change: Callable[[Values], object], *, check_seconds: int = 60
) -> Path:
    """Copy the project without production, and with what `change` does to its environments.

    So each `cdk synth` there, a deploy's too, takes half the time. A sandbox that is played from it
    has its containers checked each `check_seconds` of AWS's: what the checks of many cost is what
    the tests have to do without. And each service has GRACE_SECONDS.
    """
    settings = copy_project(to) / "cdk.json"
    values = json.loads(settings.read_text(encoding="utf-8"))
    environments = values["context"]["environments"]
    del environments["production"]
    change(environments)
    for environment in environments.values():
        for service in environment["services"].values():
            service["deployment"]["grace_seconds"] = GRACE_SECONDS
    settings.write_text(json.dumps(values), encoding="utf-8")
    task = to / "stacks" / "constructs" / "hardened_task.py"
    own, rarer = "interval=Duration.seconds(10)", f"interval=Duration.seconds({check_seconds})"
    source = task.read_text(encoding="utf-8")
    assert source.count(own) == 1
    task.write_text(source.replace(own, rarer), encoding="utf-8")
    return to


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Let one of the workers of a run `make` a directory, and all of them read it."""
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    directory, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            directory.mkdir()
            make(directory)
            done.touch()
    return directory


@pytest.fixture(scope="session")
def synthesized(tmp_path_factory: pytest.TempPathFactory) -> Assembly:
    """Both environments, as the real `cdk synth` writes them in a fresh clone, findings and all."""

    def synthesize(directory: Path) -> None:
        done = cdk("synth", "--quiet", cwd=copy_project(directory))
        assert done.returncode == 0, done.stdout + done.stderr

    return Assembly(once(tmp_path_factory, "clone", synthesize) / "cdk.out")


@pytest.fixture(scope="session")
def assembly(synthesized: Assembly) -> Path:
    """The directory of `synthesized`, for what reads assemblies by path."""
    return synthesized.directory


@pytest.fixture(scope="session")
def context() -> Values:
    """The feature flags of cdk.json, without which tests would see other templates."""
    values = json.loads((PROJECT / "cdk.json").read_text(encoding="utf-8"))["context"]
    return {key: value for key, value in values.items() if key != "environments"}


@pytest.fixture
def values() -> Values:
    """The plain values of cdk.json's environments, free to be damaged."""
    environments: Values = json.loads((PROJECT / "cdk.json").read_text(encoding="utf-8"))
    found: Values = environments["context"]["environments"]
    return found


@pytest.fixture(scope="session")
def described(context: Values, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every variant that tests/variants.py describes, synthesized."""
    from tests.variants import synthesize

    return once(tmp_path_factory, "described", lambda directory: synthesize(directory, context))


@pytest.fixture(scope="session")
def variants(described: Path) -> Assembly:
    """Every value of every setting that the two environments leave out."""
    return Assembly(described / "variants")


@pytest.fixture(scope="session")
def added(described: Path) -> Assembly:
    """The sandbox with a second microservice."""
    return Assembly(described / "added")


@pytest.fixture(scope="session")
def learners(context: Values, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Assembly]:
    """The sandboxes of two learners on one account and in one VPC, by their prefixes."""
    from tests.variants import LEARNERS, synthesize_learners

    made = once(
        tmp_path_factory, "learners", lambda directory: synthesize_learners(directory, context)
    )
    return {name: Assembly(made / name) for name in LEARNERS}
