"""Deploys an environment and does not call it done before its services answer."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from ops.clock import Clock, wait
from ops.environment import SERVICE, TARGET_GROUP, TASK_DEFINITION, Failed, of_kind, resources

if TYPE_CHECKING:
    from types_boto3_ecs import ECSClient
    from types_boto3_ecs.type_defs import ServiceDeploymentBriefTypeDef, ServiceTypeDef

    from ops.aws import Aws
    from ops.cli import Cdk
    from ops.environment import Environment
    from ops.preflight import Cleared

WAIT_SECONDS = 300
EVERY_SECONDS = 5
ANSWER_SECONDS = 10
# Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
NOT_DEPLOYED = {
    "STOPPED",
    "STOP_REQUESTED",
    "ROLLBACK_REQUESTED",
    "ROLLBACK_IN_PROGRESS",
    "ROLLBACK_SUCCESSFUL",
    "ROLLBACK_FAILED",
}

# Asks a URL; the HTTP status, or an OSError where nothing answers.
Fetch = Callable[[str], int]


def deploy(
    cleared: Cleared,
    *,
    cdk: Cdk,
    clock: Clock,
    fetch: Fetch,
    say: Callable[[str], None],
    approve: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> tuple[int, str | None]:
    """Run `cdk deploy` on every stack of the environment, then wait until its services answer.

    Gives the CLI's exit code, and the URL where that is 0. With `approve` the CLI does not ask
    before it broadens permissions. Raises Failed where the CLI succeeded and the service did not.
    """
    environment = cleared.environment
    approval = ["--require-approval", "never"] if approve else []
    code = cdk(["deploy", f"{environment.stage}/*", *approval])
    if code:
        say(
            f"cdk deploy ended with {code}, as it says above. Mend that and go on with: "
            f"make deploy ENV={environment.name}"
        )
        return code, None
    url = find_url(cleared.aws, environment)
    await_services(
        cleared.aws,
        environment,
        url,
        clock=clock,
        fetch=fetch,
        say=say,
        wait_seconds=wait_seconds,
    )
    say(
        f"{environment.name} is deployed. Look at it: curl {url}/ - and when you are done with "
        f"it: make destroy ENV={environment.name}"
    )
    return 0, url


def find_url(aws: Aws, environment: Environment) -> str:
    """Read the balancer's address from the Ingress stack's output."""
    name = environment.stack("Ingress")
    (stack,) = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
    for output in stack.get("Outputs", []):
        if output.get("OutputKey") == "Url":
            return output["OutputValue"]
    raise Failed(f"{name}: has no output Url; expected the stack that this project makes")


def await_services(
    aws: Aws,
    environment: Environment,
    url: str,
    *,
    clock: Clock,
    fetch: Fetch,
    say: Callable[[str], None],
    wait_seconds: float,
) -> None:
    """Wait until each service's newest deployment is the wanted one, complete, and answers.

    Raises Failed at once where ECS rolled one back, and after `wait_seconds` otherwise.
    """
    sleeping: list[str] = []
    # What answered once is not asked again: the wait is for the first sign of life of each.
    done: set[str] = set()

    def look() -> str:
        missing = []
        for name in environment.settings.services:
            if name in done:
                continue
            state, sleeps = service_state(aws, environment, url, name, fetch=fetch)
            if state:
                missing.append(f"{name}: {state}")
                continue
            done.add(name)
            if sleeps:
                sleeping.append(name)
        return "; ".join(missing)

    missing = wait(look, clock=clock, seconds=wait_seconds, every=EVERY_SECONDS, say=say)
    if missing:
        raise Failed(
            f"deployed, but not answering after {wait_seconds:.0f} seconds: {missing}",
            "see which task fails and why: the service's events in the ECS console; and whether "
            f"this machine's address is in {environment.name}.ingress.allowed_cidrs",
        )
    for name in sleeping:
        say(f"{name} has no task at present, by its scaling or its schedule, and was not asked.")


def service_state(
    aws: Aws, environment: Environment, url: str, name: str, *, fetch: Fetch
) -> tuple[str, bool]:
    """Say what a service's rollout or health lacks, or nothing; and whether it has no task now.

    A service without a task is not asked for its health. Raises Failed where ECS rolled its newest
    deployment back.
    """
    service, targets, wanted = _deployed(aws, environment, name)
    state = _rollout(aws, service, wanted, name)
    if not state and service["desiredCount"] == 0:
        return "", True
    return state or _health(aws, environment, url, name, targets, fetch), False


def _deployed(
    aws: Aws, environment: Environment, name: str
) -> tuple[ServiceTypeDef, list[str], list[str]]:
    """Give a service as ECS sees it, its target groups, and the task definitions of its stack."""
    found = resources(aws.cloudformation, [environment.service_stack(name)])
    for arn in of_kind(found, SERVICE):
        services = aws.ecs.describe_services(cluster=arn.split("/")[-2], services=[arn])["services"]
        if services:
            return services[0], of_kind(found, TARGET_GROUP), of_kind(found, TASK_DEFINITION)
    raise Failed(f"{name}: {environment.service_stack(name)} has no ECS service; deploy it anew")


def _rollout(aws: Aws, service: ServiceTypeDef, wanted: list[str], name: str) -> str:
    """Say what a rollout still lacks; raise where it went back to what was there before.

    CloudFormation can report success over a service that ECS then rolled back, since alarms go on
    watching; so ECS is asked (compare fabfuel/ecs-deploy #185).
    """
    primary = next((one for one in service["deployments"] if one["status"] == "PRIMARY"), None)
    newest = _newest_deployment(aws.ecs, service)
    # A rollback that is over is history where what is wanted now is what it went back to.
    over = newest and newest.get("status") in {"ROLLBACK_SUCCESSFUL", "STOPPED"}
    if over and primary and primary["taskDefinition"] in wanted:
        newest = None
    if newest and newest.get("status") in NOT_DEPLOYED:
        why = newest.get("statusReason", "no reason given")
        raise _rolled_back(name, f"its newest deployment is {newest.get('status')}: {why}")
    if primary is None:
        return "no deployment yet"
    if primary["taskDefinition"] not in wanted:
        running = primary["taskDefinition"].rsplit("/", 1)[-1]
        expected = ", ".join(arn.rsplit("/", 1)[-1] for arn in wanted)
        raise _rolled_back(name, f"it runs {running}, not {expected}")
    state = primary.get("rolloutState")
    if state == "FAILED":
        raise _rolled_back(name, primary.get("rolloutStateReason", "its deployment failed"))
    if state != "COMPLETED":
        return f"deployment {state}, {primary['runningCount']}/{primary['desiredCount']} tasks"
    return ""


def _newest_deployment(
    ecs: ECSClient, service: ServiceTypeDef
) -> ServiceDeploymentBriefTypeDef | None:
    """Find the youngest deployment that ECS remembers; the API promises no order."""
    cluster, arn = service["clusterArn"], service["serviceArn"]
    page = ecs.list_service_deployments(cluster=cluster, service=arn)
    found = page["serviceDeployments"]
    while token := page.get("nextToken"):
        page = ecs.list_service_deployments(cluster=cluster, service=arn, nextToken=token)
        found += page["serviceDeployments"]
    return max(found, key=lambda deployment: deployment["createdAt"], default=None)


def _rolled_back(name: str, why: str) -> Failed:
    return Failed(
        f"{name} was rolled back: {why}",
        f"the version before it is running; see why its tasks stopped: aws logs or the events of "
        f"{name} in the ECS console, then deploy what mends it",
    )


def _health(
    aws: Aws, environment: Environment, url: str, name: str, targets: list[str], fetch: Fetch
) -> str:
    """Say what a service's health lacks: through the balancer where its route leads there.

    A health path outside the service's own route (route.path /quotes/*, health_path
    /health/ready) would be answered by another service or by nobody, and a certificate without a
    domain never fits the balancer's own name; there the balancer's health checks are asked. A
    service that has no route lacks nothing more once its rollout is complete.
    """
    ingress, route = environment.settings.ingress, environment.settings.services[name].route
    if route is None:
        return ""
    path = route.health_path
    if _answering(environment, path) != name or (ingress.https and ingress.domain is None):
        return _target_health(aws, targets)
    try:
        status = fetch(url + path)
    except OSError as error:
        return f"{url}{path} does not answer ({error})"
    return "" if status == http.HTTPStatus.OK else f"{url}{path} answers {status}"


def _answering(environment: Environment, path: str) -> str | None:
    """Find the service that the balancer sends `path` to: the first rule that fits.

    Source: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
    """
    routes = [
        (one.route.priority, name, one.route.path)
        for name, one in environment.settings.services.items()
        if one.route is not None
    ]
    return next((name for _, name, fits in sorted(routes) if fnmatchcase(path, fits)), None)


def _target_health(aws: Aws, targets: list[str]) -> str:
    states = [
        description["TargetHealth"]["State"]
        for target in targets
        for description in aws.elbv2.describe_target_health(TargetGroupArn=target)[
            "TargetHealthDescriptions"
        ]
    ]
    if "healthy" in states:
        return ""
    return f"no healthy target ({', '.join(sorted(set(states))) or 'none registered'})"


def fetch_status(url: str) -> int:
    """Ask a URL once and give the HTTP status; an OSError where nothing answers."""
    try:
        # The URL is our own stack's output, and begins with http.
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except http.client.HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from None
