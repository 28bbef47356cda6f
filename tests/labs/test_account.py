"""Lab 11: an environment is seen whole on an account, and gone from it, in moto."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID

from labs import account
from labs.__main__ import main
from labs.place import Place
from ops.environment import TAG, Failed
from ops.preflight import BOOTSTRAP_PARAMETER
from ops.watch.connection import Connection
from ops.watch.rehearsal import Rehearsal
from tests.conftest import Assembly, copy_project
from tests.labs.pages import PAGES, Shell, follow
from tests.labs.playing import KINDS
from tests.ops.world import CLUSTER, World, microservice

PAGE = PAGES / account.LAB.page
NOTHING = {"Nothing": {"Type": "AWS::SQS::Queue"}}
URL = "http://balancer.example"
ON_AWS = f"AWS account {DEFAULT_ACCOUNT_ID}, us-east-1"
SECONDS = 120.0
# An endpoint at which nobody answers: no page's test may ask an account.
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def world(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """An account with nothing in it, whose load balancer would answer."""
    monkeypatch.setattr(account, "fetch_status", lambda _: 200)
    return world


def place(world: World, words: str = ON_AWS, rehearsal: Rehearsal | None = None) -> Place:
    """Give the sandbox there, as a new command finds it."""
    endpoint = rehearsal.endpoint if rehearsal else None
    connection = Connection(world.environment, world.aws, words, rehearsal, endpoint)
    return Place(world.environment, lambda: connection)


def bootstrap(world: World, version: int = account.BOOTSTRAP_VERSION) -> None:
    world.make_stack(account.BOOTSTRAP_STACK, NOTHING, tag="none")
    world.session.client("ssm").put_parameter(
        Name=BOOTSTRAP_PARAMETER, Value=str(version), Type="String", Overwrite=True
    )


def budget(world: World, dollars: int, unit: Literal["MONTHLY", "DAILY"] = "MONTHLY") -> None:
    world.session.client("budgets").create_budget(
        AccountId=DEFAULT_ACCOUNT_ID,
        Budget={"BudgetName": f"of-{dollars}", "BudgetType": "COST", "TimeUnit": unit,
                "BudgetLimit": {"Amount": str(dollars), "Unit": "USD"}},
    )  # fmt: skip


def deploy(world: World) -> None:
    """Make what `cdk bootstrap` and `make deploy` make, as far as moto and the check know it."""
    bootstrap(world)
    budget(world, world.environment.settings.alerts.monthly_budget_usd)
    for name in ("Network", "Registry"):
        world.make_stack(f"Sandbox-{name}", NOTHING)
    world.make_stack("Sandbox-Cluster", CLUSTER)
    world.make_ingress(URL)
    for name in ("Quotes", "Web"):
        world.make_stack(f"Sandbox-{name}", microservice(name.lower()))
    world.deployed({"status": "SUCCESSFUL"})


def destroy(world: World) -> None:
    world.cdk(["destroy", "Sandbox/*", "--force"])


def status_is(world: World, name: str, status: str) -> None:
    """Have CloudFormation tell a status that no stack has in moto."""

    def described(given: dict[str, Any]) -> dict[str, Any] | None:
        del world.answers["DescribeStacks"]
        asked = {"StackName": given["StackName"]} if "StackName" in given else {}
        found: Any = world.aws.cloudformation.describe_stacks(**asked)
        world.answer("DescribeStacks", described)
        for stack in found["Stacks"]:
            if stack["StackName"] == name:
                stack["StackStatus"] = status
        return {"Stacks": found["Stacks"]}

    world.answer("DescribeStacks", described)


def lines(where: Place, remembered: dict[str, Any]) -> tuple[list[str], str]:
    """Give what a check finds right, and all that it finds missing."""
    items = list(account.check(where, remembered))
    right = [item.words for item in items if item.right]
    return right, "\n".join(item.words for item in items if not item.right)


def begin(world: World) -> dict[str, Any]:
    return dict(account.begin(place(world)))


def test_nothing_deployed_passes_nothing_and_says_what_to_do(world: World) -> None:
    right, missing = lines(place(world), begin(world))
    assert right == [f"{ON_AWS} answers"]
    assert "sandbox is not deployed, and was not seen deployed" in missing
    assert "make deploy ENV=sandbox, and check before you destroy it" in missing


def test_deployed_and_destroyed_passes_it(world: World) -> None:
    remembered = begin(world)
    deploy(world)
    right, missing = lines(place(world), remembered)
    assert missing.startswith("sandbox is still there: ")
    assert missing.endswith("; make destroy ENV=sandbox")
    assert right == [
        f"{ON_AWS} answers",
        f"stack CDKToolkit is there, of version {account.BOOTSTRAP_VERSION}",
        "all 6 stacks are complete",
        f"web: is steady, and {URL} answers",
        "quotes: is steady",
        "a budget writes to you about $50 a month",
    ]
    destroy(world)
    remembered = json.loads(json.dumps(remembered))  # as it is kept between two commands
    right, missing = lines(place(world), remembered)
    assert missing == ""
    assert "sandbox was seen whole on it, in an earlier check" in right
    assert "no stack of sandbox is left" in right


def test_what_was_only_destroyed_was_not_seen_deployed(world: World) -> None:
    deploy(world)
    destroy(world)
    _, missing = lines(place(world), begin(world))
    assert "was not seen deployed since the lab's start" in missing


def test_a_rehearsal_is_no_account(world: World, tmp_path: Path) -> None:
    rehearsal = Rehearsal("sandbox", "http://127.0.0.1:4566", tmp_path)
    deploy(world)
    where = place(world, f"the rehearsal at {rehearsal.endpoint}", rehearsal)
    right, missing = lines(where, begin(world))
    assert right == []
    assert missing.startswith(
        "this is the rehearsal at http://127.0.0.1:4566; lab 11 is done on an"
    )
    assert list(account.reset(where, {})) == [
        "This is the rehearsal at http://127.0.0.1:4566; whether an account has anything was not "
        "asked."
    ]


@pytest.mark.parametrize(
    "status", ["ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "CREATE_FAILED"]
)
def test_a_stack_whose_change_failed_is_not_whole(world: World, status: str) -> None:
    deploy(world)
    status_is(world, "Sandbox-Web", status)
    remembered = begin(world)
    right, missing = lines(place(world), remembered)
    assert (
        f"stack Sandbox-Web is {status}: its last change failed, and aws cloudformation" in missing
    )
    assert "describe-stack-events --stack-name Sandbox-Web says why" in missing
    assert "sandbox is not whole yet" in missing
    assert "all 6 stacks are complete" not in right
    assert remembered == {}


def test_a_stack_that_is_not_there_yet_or_on_its_way_is_named(world: World) -> None:
    deploy(world)
    world.aws.cloudformation.delete_stack(StackName="Sandbox-Registry")
    status_is(world, "Sandbox-Web", "UPDATE_IN_PROGRESS")
    _, missing = lines(place(world), begin(world))
    assert "stack Sandbox-Registry: is not there; make deploy ENV=sandbox" in missing
    assert "stack Sandbox-Web is UPDATE_IN_PROGRESS; wait for its end" in missing


def test_a_bootstrap_that_is_missing_or_old_is_told(world: World) -> None:
    deploy(world)
    again = "npx cdk bootstrap aws://ACCOUNT/us-east-1"
    bootstrap_parameter = world.session.client("ssm")
    bootstrap_parameter.put_parameter(
        Name=BOOTSTRAP_PARAMETER, Value="5", Type="String", Overwrite=True
    )
    _, missing = lines(place(world), begin(world))
    assert f"is of version 5, and the templates need {account.BOOTSTRAP_VERSION}" in missing
    assert again in missing
    bootstrap_parameter.delete_parameter(Name=BOOTSTRAP_PARAMETER)
    _, missing = lines(place(world), begin(world))
    assert f"parameter {BOOTSTRAP_PARAMETER}: is not there; bootstrap the account" in missing
    world.aws.cloudformation.delete_stack(StackName=account.BOOTSTRAP_STACK)
    _, missing = lines(place(world), begin(world))
    assert f"stack CDKToolkit: is not there; bootstrap the account: {again}" in missing


def test_the_bootstrap_that_is_wanted_is_what_the_assembly_asks_for(
    synthesized: Assembly,
) -> None:
    asked = [
        artifact["properties"]["requiresBootstrapStackVersion"]
        for manifest in synthesized.directory.glob("assembly-*/manifest.json")
        for artifact in json.loads(manifest.read_text(encoding="utf-8"))["artifacts"].values()
        if "requiresBootstrapStackVersion" in artifact.get("properties", {})
    ]
    assert max(asked) == account.BOOTSTRAP_VERSION


def test_a_service_that_does_not_answer_or_was_rolled_back_is_not_seen_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(world)
    monkeypatch.setattr(account, "fetch_status", lambda _: 503)
    remembered = begin(world)
    _, missing = lines(place(world), remembered)
    assert f"web: {URL}/health/ready answers 503" in missing
    world.deployed({"status": "ROLLBACK_FAILED", "statusReason": "it never got healthy"})
    _, missing = lines(place(world), remembered)
    assert "web was rolled back: its newest deployment is ROLLBACK_FAILED" in missing
    assert remembered == {}


def test_another_budget_is_not_the_one_of_the_settings(world: World) -> None:
    deploy(world)
    budgets = world.session.client("budgets")
    budgets.delete_budget(AccountId=DEFAULT_ACCOUNT_ID, BudgetName="of-50")
    budget(world, 900)
    budget(world, 50, unit="DAILY")
    _, missing = lines(place(world), begin(world))
    assert "no monthly budget of $50 is there, and the Cluster stack makes one" in missing


def gone(world: World) -> dict[str, Any]:
    """Deploy, check, and destroy; give what is remembered."""
    remembered = begin(world)
    deploy(world)
    lines(place(world), remembered)
    destroy(world)
    return remembered


def test_a_repository_that_was_left_is_named_with_what_deletes_it(world: World) -> None:
    remembered = gone(world)
    arn = f"arn:aws:ecr:us-east-1:{DEFAULT_ACCOUNT_ID}:repository/sandbox/web"
    # Of the kinds that are asked for, moto's tagging API knows keys and buckets.
    world.answer("GetResources", lambda _: {"ResourceTagMappingList": [{"ResourceARN": arn}]})
    _, missing = lines(place(world), remembered)
    assert missing == (
        f"{arn} is left: aws ecr delete-repository --force --repository-name sandbox/web"
    )


def test_a_log_group_that_was_left_is_named_with_what_deletes_it(world: World) -> None:
    remembered = gone(world)
    name = "/aws/ecs/containerinsights/Sandbox-Cluster-Cluster1/performance"
    world.aws.logs.create_log_group(logGroupName=name)
    _, missing = lines(place(world), remembered)
    assert missing == (
        f"log group {name} is left: aws logs delete-log-group --log-group-name {name}"
    )


def test_an_instance_a_volume_and_an_address_that_still_cost_are_named(world: World) -> None:
    remembered = gone(world)
    for kind, tag in (("volume", "sandbox"), ("volume", "production"), ("elastic-ip", "sandbox")):
        tags: Any = [{"ResourceType": kind, "Tags": [{"Key": TAG, "Value": tag}]}]
        if kind == "volume":
            world.aws.ec2.create_volume(
                AvailabilityZone="us-east-1a", Size=1, TagSpecifications=tags
            )
        else:
            world.aws.ec2.allocate_address(Domain="vpc", TagSpecifications=tags)
    ec2 = world.aws.ec2
    instances = ec2.run_instances(
        ImageId="ami-0123456789abcdef0", MinCount=2, MaxCount=2,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": TAG, "Value": "sandbox"}]}
        ],
    )["Instances"]  # fmt: skip
    # EC2 goes on naming what has ended for an hour.
    ec2.terminate_instances(InstanceIds=[instances[0]["InstanceId"]])
    _, missing = lines(place(world), remembered)
    assert [line.split()[0] for line in missing.splitlines()] == ["instance", "volume", "address"]
    assert instances[1]["InstanceId"] in missing


def test_what_could_not_be_asked_for_is_not_called_gone(world: World) -> None:
    remembered = gone(world)

    def refuse(_: dict[str, Any]) -> None:
        error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise world.aws.sts.exceptions.ClientError(error, "GetResources")

    world.answer("GetResources", refuse)
    right, missing = lines(place(world), remembered)
    assert f"What carries the tag {TAG}=sandbox could not be listed" in missing
    assert not any("is left that names" in line for line in right)


def test_another_account_says_nothing_of_the_one_that_was_seen(world: World) -> None:
    remembered = gone(world)
    right, missing = lines(place(world, "AWS account 999988887777, us-east-1"), remembered)
    assert right == []
    assert f"but the environment was seen whole on {ON_AWS}: choose the same" in missing


def test_reset_changes_nothing_and_says_what_still_costs(world: World) -> None:
    deploy(world)
    before = len(world.aws.cloudformation.describe_stacks()["Stacks"])
    (said,) = account.reset(place(world), {})
    assert said == f"6 stacks are still on {ON_AWS}, and cost; make destroy ENV=sandbox ends that."
    assert len(world.aws.cloudformation.describe_stacks()["Stacks"]) == before
    destroy(world)
    assert list(account.reset(place(world), {})) == [f"No stack of sandbox is on {ON_AWS}."]


def test_reset_without_an_account_says_so(world: World) -> None:
    def connect() -> Connection:
        raise Failed("credentials: none found")

    (said,) = account.reset(Place(world.environment, connect), {})
    assert "was not seen" in said


@pytest.mark.usefixtures("world")
def test_its_verbs_ask_the_account_and_need_nothing_deployed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody else whom the shell may still name, and who is not meant.
    monkeypatch.setenv("AWS_ENDPOINT_URL", NOBODY)
    where = [f"--progress={tmp_path}", f"--state={tmp_path}", "--on-aws"]
    codes = [main([verb, "11", *where]) for verb in ("start", "check", "hint", "reset")]
    out, err = capsys.readouterr()
    assert codes == [0, 1, 0, 0]
    assert f"right    {ON_AWS} answers\nmissing  sandbox is not deployed" in out
    assert f"No stack of sandbox is on {ON_AWS}." in err


def test_what_its_page_does_without_an_account_works(tmp_path: Path) -> None:
    # Its own clone, since the page synthesizes, and others read what is shared.
    folder = copy_project(tmp_path / "clone")
    labs = f"--progress={tmp_path} --state={tmp_path}"
    prelude = (
        # What is installed is, and a clone of the tests has only links to it.
        'make() { command make --old-file=.venv/ready --old-file=.venv-awscli/ready "$@"; }\n'
        f'python() {{ if [ "$1 $2" = "-m labs" ]; then command python "$@" {labs}\n'
        'else command python "$@"; fi; }'
    )
    here = Shell(prelude, folder=folder, environment={"AWS_ENDPOINT_URL": NOBODY})
    with here as shell:
        answers = follow(PAGE, shell, seconds=SECONDS, kinds=KINDS)
    whole = "\n".join(done.said for done in answers)
    assert "Lab 11, Your own account, is started." in whole
    assert f"this is the endpoint {NOBODY}; lab 11 is done on an account" in whole
    assert "| **an hour** | | **$0.13** |" in whole
    assert "AWS::EC2::NatGateway" in whole
    assert "Lab 11 is forgotten" in whole
