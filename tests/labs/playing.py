"""The sandbox as the tests of the labs play it, and the course's commands about it."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING

from botocore.loaders import Loader

from labs.__main__ import main
from tests.conftest import GRACE_SECONDS, PROJECT, Values, cdk, sandbox_project
from tests.labs.pages import PAGES, Done, Shell, follow

if TYPE_CHECKING:
    from tests.rehearsal.playing import Played

SPEED = 60.0
# How a sandbox is that nobody has touched.
SIZES = (
    "runs 2 tasks, as at the start",
    "scales between 2 and 6 tasks, as at the start",
    "runs 2 tasks, as at the start",
    "scales between 2 and 4 tasks, as at the start",
)
STEADY = "the service is steady, with 2 tasks as at the start"
# At this speed a request would have half a second. What a container takes to stop is made shorter.
DEREGISTRATION_SECONDS = 120
DRAIN_SECONDS = 1
# Pages that deploy with other settings do so by the sandbox's own templates.
DEPLOYING_SPEED = 20.0
# Between two checks of a container there, of this machine's.
CHECK_SECONDS = 6
COMMAND_SECONDS = 180.0
KINDS = frozenset({"", "failing", "rehearsal"})
WARM = Path(__file__).with_name("warm_aws.py")


@dataclass(frozen=True)
class Course:
    """The course's commands, asked about a sandbox that is played in a folder of its own."""

    played: Played
    progress: Path
    waiters: Path
    # What makes a shell's `aws` one that is loaded already.
    aws: str
    # Where a page's commands run.
    folder: Path = PROJECT

    @property
    def where(self) -> list[str]:
        """The options by which the course finds this sandbox, and keeps its records here."""
        endpoint = self.played.folder.status()["endpoint"]
        return [f"--endpoint={endpoint}", f"--state={self.played.state}",
                f"--progress={self.progress}"]  # fmt: skip

    def run(self, verb: str, number: int) -> Done:
        """Run a verb; give its exit code and what it said."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = main([verb, str(number), *self.where])
        return Done(code, said.getvalue())

    def start(self, number: int, *, right: Sequence[str] = ()) -> None:
        """Begin a lab, and see that of what it checks only that is right before anything is done.

        `right` has of each right item, in their order, words that are in it.
        """
        done = self.run("start", number)
        assert done.code == 0, done.said
        untouched = self.run("check", number)
        assert untouched.code == 1, untouched.said
        lines = untouched.said.splitlines()
        found = [line for line in lines if line.startswith("right  ")]
        assert len(found) == len(right), untouched.said
        for line, words in zip(found, right, strict=True):
            assert words in line, untouched.said
        assert [line for line in lines if line.startswith("missing  ")], untouched.said

    def shell(self) -> Shell:
        """Give a shell in which the page's commands find this sandbox and no other."""
        rehearsal = shlex.quote(f"--state={self.played.state}")
        labs = shlex.join(self.where)
        return Shell(
            f"export AWS_DATA_PATH={shlex.quote(str(self.waiters))}\n{self.aws}\n"
            "python() {\n"
            'if [ "$1 $2" = "-m labs" ]; then command python "$@" ' + labs + "\n"
            'elif [ "$1 $2" = "-m rehearsal" ]; then shift 2\n'
            "command python -m rehearsal " + rehearsal + ' "$@"\n'
            'else command python "$@"; fi; }',
            folder=self.folder,
        )

    def follow(self, page: str) -> list[Done]:
        """Run every command of a page that is not for an account alone."""
        with self.shell() as shell:
            return follow(PAGES / page, shell, seconds=COMMAND_SECONDS, kinds=KINDS)


@contextlib.contextmanager
def warm_aws() -> Iterator[str]:
    """Load the AWS CLI; give the shell's function by which `aws` is that one."""
    python = str(PROJECT / ".venv-awscli" / "bin" / "python")
    # A socket's path may not be as long as those of pytest's folders.
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/socket"
        serving = [python, str(WARM), "serve", address]
        with subprocess.Popen(serving, stdin=PIPE, stdout=PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            yield f'aws() {{ {shlex.join([python, "-S", str(WARM), address])} "$@"; }}'


def patient(assembly: Path, to: Path) -> Path:
    """Copy an assembly, with a sandbox whose waits fit SPEED on a busy machine."""
    shutil.copytree(assembly, to)
    for path in to.glob("assembly-Sandbox/Sandbox*.template.json"):
        template = json.loads(path.read_text(encoding="utf-8"))
        make_patient(template["Resources"])
        path.write_text(json.dumps(template), encoding="utf-8")
    return to


def make_patient(resources: Values) -> None:
    """Give a stack's services, target groups and containers their longer and shorter waits."""
    for resource in resources.values():
        if "HealthCheckGracePeriodSeconds" in resource.get("Properties", {}):
            resource["Properties"]["HealthCheckGracePeriodSeconds"] = GRACE_SECONDS
        if resource["Type"] == "AWS::ElasticLoadBalancingV2::TargetGroup":
            for attribute in resource["Properties"]["TargetGroupAttributes"]:
                if attribute["Key"] == "deregistration_delay.timeout_seconds":
                    attribute["Value"] = str(DEREGISTRATION_SECONDS)
        if resource["Type"] == "AWS::ECS::TaskDefinition":
            (container,) = resource["Properties"]["ContainerDefinitions"]
            container["HealthCheck"]["Interval"] = round(CHECK_SECONDS * SPEED)
            for variable in container["Environment"]:
                if variable["Name"] == "DRAIN_SECONDS":
                    variable["Value"] = str(DRAIN_SECONDS)


def patient_project(to: Path) -> Path:
    """Copy the project and synthesize it, with a sandbox whose waits fit a busy machine."""

    sandbox_project(to, lambda _: None, check_seconds=CHECK_SECONDS * round(DEPLOYING_SPEED))
    done = cdk("synth", "--quiet", cwd=to)
    assert done.returncode == 0, done.stderr
    return to


def quick_waiters(to: Path) -> Path:
    """Write the AWS CLI's waiters for ECS so that they look each second, not each 6 or 15."""
    loader = Loader()
    found = loader.load_service_model("ecs", "waiters-2")
    for waiter in found["waiters"].values():
        waiter |= {"delay": 1, "maxAttempts": 120}
    folder = to / "ecs" / str(loader.determine_latest_version("ecs", "waiters-2"))
    folder.mkdir(parents=True)
    (folder / "waiters-2.json").write_text(json.dumps(found), encoding="utf-8")
    return to
