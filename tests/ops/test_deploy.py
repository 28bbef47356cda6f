"""python -m ops deploy: what it runs, and when it calls that a success."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from ops.deploy import WAIT_SECONDS, _health, deploy, fetch_status
from ops.environment import Environment, Failed
from settings import parse
from tests.conftest import Values
from tests.ops.world import FakeClock, World, microservice


class Balancer:
    """A real HTTP server on this machine that answers as it is told, one status a request."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.asked: list[str] = []
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                balancer.asked.append(self.path)
                statuses = balancer.statuses
                self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def balancer() -> Iterator[Balancer]:
    made = Balancer()
    yield made
    made.close()


@pytest.fixture
def deployed(world: World, balancer: Balancer, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which CloudFormation and ECS are done, and only the balancer may not be."""
    monkeypatch.setenv("MOTO_ECS_SERVICE_RUNNING", "2")  # the rollout is COMPLETED from the start
    make_sandbox(world, balancer.url)
    return world


def make_sandbox(world: World, url: str) -> None:
    world.make_stack(
        "Sandbox-Boats",
        {"Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "boats"}}},
    )
    for name in ("Web", "Quotes"):
        world.make_stack(f"Sandbox-{name}", microservice(name.lower()))
    world.make_ingress(url)
    world.deployed({"status": "SUCCESSFUL"})


def run(
    world: World,
    clock: FakeClock | None = None,
    *,
    approve: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> tuple[int, str | None]:
    return deploy(
        world.cleared,
        cdk=world.cdk,
        clock=clock or FakeClock(),
        fetch=fetch_status,
        say=world.say,
        approve=approve,
        wait_seconds=wait_seconds,
    )


def test_the_cli_deploys_every_stack_and_the_url_comes_back(
    deployed: World, balancer: Balancer
) -> None:
    balancer.statuses = [200]
    assert run(deployed) == (0, balancer.url)
    assert deployed.cdk_calls == [["deploy", "Sandbox/*"]]
    assert balancer.asked == ["/health/ready"]
    assert "make destroy ENV=sandbox" in deployed.said[-1]


def test_only_yes_waives_the_clis_approval(deployed: World, balancer: Balancer) -> None:
    balancer.statuses = [200]
    run(deployed, approve=True)
    assert deployed.cdk_calls == [["deploy", "Sandbox/*", "--require-approval", "never"]]


def test_a_failed_cli_passes_its_code_on_and_nothing_is_asked(world: World) -> None:
    world.cdk_codes = [3]
    assert run(world) == (3, None)
    assert world.calls == ["cdk deploy Sandbox/*"]
    assert "make deploy ENV=sandbox" in world.said[-1]


def test_the_health_is_asked_until_it_is_200(deployed: World, balancer: Balancer) -> None:
    balancer.statuses = [503, 404, 200]
    clock = FakeClock()
    assert run(deployed, clock) == (0, balancer.url)
    assert clock.seconds == 10
    assert f"  waiting: web: {balancer.url}/health/ready answers 503" in deployed.said


def test_health_that_does_not_come_is_a_failure_after_five_minutes(
    deployed: World, balancer: Balancer
) -> None:
    balancer.statuses = [503]
    clock = FakeClock()
    with pytest.raises(Failed, match=r"not answering after 300 seconds: web: .*answers 503"):
        run(deployed, clock)
    assert clock.seconds == 300


def test_a_name_that_does_not_answer_yet_is_waited_for(deployed: World, balancer: Balancer) -> None:
    balancer.close()
    with pytest.raises(Failed, match=r"does not answer .*\n.*ingress.allowed_cidrs"):
        run(deployed, wait_seconds=10)


@pytest.mark.parametrize(
    "status", ["ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_FAILED", "STOP_REQUESTED"]
)
def test_a_rolled_back_deployment_is_a_failure(
    deployed: World, balancer: Balancer, status: str
) -> None:
    balancer.statuses = [200]
    deployed.deployed({"status": "SUCCESSFUL"}, {"status": status, "statusReason": "alarm Errors"})
    with pytest.raises(Failed, match=f"web was rolled back: .*{status}: alarm Errors"):
        run(deployed)


@pytest.mark.parametrize("status", ["ROLLBACK_SUCCESSFUL", "STOPPED"])
def test_a_rollback_to_what_is_wanted_now_is_history(
    deployed: World, balancer: Balancer, status: str
) -> None:
    """As after a revert: nothing is deployed anew, and what runs is what the stack names."""
    balancer.statuses = [200]
    deployed.deployed({"status": status, "statusReason": "alarm Errors"})
    run(deployed)


def test_a_rollback_before_the_newest_deployment_is_history(
    deployed: World, balancer: Balancer
) -> None:
    balancer.statuses = [200]
    deployed.deployed({"status": "ROLLBACK_SUCCESSFUL"}, {"status": "SUCCESSFUL"})
    assert run(deployed) == (0, balancer.url)


def test_a_service_that_runs_another_version_was_rolled_back(
    deployed: World, balancer: Balancer
) -> None:
    balancer.statuses = [200]
    service = deployed.aws.ecs.describe_services(cluster="boats", services=[deployed.service])
    described = service["services"][0]
    described["deployments"][0]["taskDefinition"] += "1"
    deployed.answer("DescribeServices", lambda _: {"services": [described]})
    with pytest.raises(Failed, match="web was rolled back: it runs web:11, not web:1"):
        run(deployed)


def test_a_failed_rollout_is_a_failure(deployed: World, balancer: Balancer) -> None:
    balancer.statuses = [200]
    service = deployed.aws.ecs.describe_services(cluster="boats", services=[deployed.service])
    described = service["services"][0]
    described["deployments"][0] |= {"rolloutState": "FAILED", "rolloutStateReason": "breaker"}
    deployed.answer("DescribeServices", lambda _: {"services": [described]})
    with pytest.raises(Failed, match="web was rolled back: breaker"):
        run(deployed)


def test_a_rollout_in_progress_is_waited_for_before_health_counts(
    world: World, balancer: Balancer
) -> None:
    make_sandbox(world, balancer.url)  # with no task running, moto says IN_PROGRESS
    balancer.statuses = [200]
    state = "deployment IN_PROGRESS, 0/2 tasks"
    with pytest.raises(Failed, match=f"web: {state}; quotes: {state}"):
        run(world, wait_seconds=10)
    assert balancer.asked == []


def test_a_service_that_sleeps_is_not_asked(deployed: World, balancer: Balancer) -> None:
    balancer.statuses = [503]
    deployed.aws.ecs.update_service(cluster="boats", service=deployed.service, desiredCount=0)
    assert run(deployed) == (0, balancer.url)
    assert balancer.asked == []
    assert "web has no task at present" in deployed.text()
    assert "quotes has no task" not in deployed.text()


def test_a_service_without_a_route_is_waited_for_and_asked_by_nobody(
    deployed: World, balancer: Balancer
) -> None:
    balancer.statuses = [200]
    described = deployed.aws.ecs.describe_services(cluster="boats", services=["quotes"])["services"]
    described[0]["deployments"][0]["rolloutState"] = "IN_PROGRESS"
    deployed.answer(
        "DescribeServices",
        lambda given: {"services": described} if "quotes" in given["services"][0] else None,
    )
    with pytest.raises(Failed, match=r"after 10 seconds: quotes: deployment IN_PROGRESS"):
        run(deployed, wait_seconds=10)
    assert balancer.asked == ["/health/ready"]
    described[0]["deployments"][0]["rolloutState"] = "COMPLETED"
    assert run(deployed) == (0, balancer.url)


@pytest.mark.parametrize("reached", ["/quotes/*", "/*"])
def test_a_health_path_that_leads_elsewhere_is_left_to_the_balancers_own_checks(
    values: Values, deployed: World, balancer: Balancer, reached: str
) -> None:
    balancer.statuses = [200]
    if reached == "/*":  # another service's rule comes first
        services = values["sandbox"]["services"]
        services["first"] = services["web"] | {"route": services["web"]["route"] | {"priority": 1}}
    else:
        values["sandbox"]["services"]["web"]["route"]["path"] = reached
    environment = Environment("sandbox", parse(values)["sandbox"])
    state = _health(deployed.aws, environment, balancer.url, "web", [], fetch_status)
    assert state == "no healthy target (none registered)"
    assert balancer.asked == []


def test_a_certificate_without_a_domain_is_not_held_against_the_balancers_name(
    values: Values, deployed: World, balancer: Balancer
) -> None:
    arn = "arn:aws:acm:us-east-1:123456789012:certificate/0a1b"
    values["sandbox"]["ingress"]["certificate_arn"] = arn
    environment = Environment("sandbox", parse(values)["sandbox"])
    assert "no healthy target" in _health(
        deployed.aws, environment, balancer.url, "web", [], fetch_status
    )
    assert balancer.asked == []
