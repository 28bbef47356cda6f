"""What must hold before a command changes anything; all that does not, said at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, not the built-in
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)

from ops import cli
from ops.aws import Aws
from ops.engine import Engine
from ops.environment import (
    BALANCER,
    Environment,
    Failed,
    is_half_destroyed,
    of_kind,
    resources,
    stacks,
)
from settings import SettingsError, load, placeholders

# Where `cdk bootstrap` says that it was there; the qualifier is the CDK's default.
# Source: https://docs.aws.amazon.com/cdk/v2/guide/bootstrapping-env.html
BOOTSTRAP_PARAMETER = "/cdk-bootstrap/hnb659fds/version"
EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}

# Makes the clients for a region; None where the settings could not say one.
Connect = Callable[[str | None], Aws]


@dataclass(frozen=True)
class Cleared:
    """An environment that a command may change, and the account that it is in."""

    environment: Environment
    aws: Aws
    account: str


def clear_deploy(
    name: str, *, connect: Connect, engine: Engine, project: Path = cli.PROJECT
) -> Cleared:
    """Find everything that would make a deploy of environment `name` fail or mislead.

    Raises Failed with a line for each reason.
    """
    environment, faults = read_environment(name, project)
    settings = environment.settings if environment else None
    own = "set yours in cdk.local.json"
    faults += [f"{name}.{line}; {own}" for line in placeholders(settings)] if settings else []
    faults += engine.faults(name, settings.cluster.architecture if settings else None)
    faults += _tool_faults(project)
    aws, account, refusals = identify(name, environment, connect)
    faults += refusals
    if environment and aws and account:
        faults += _bootstrap_faults(aws, account)
        faults += _image_faults(aws, environment)
        faults += _leftover_faults(aws, environment)
    if faults or not (environment and aws and account):
        raise Failed(*faults)
    return Cleared(environment, aws, account)


def clear_destroy(name: str, *, connect: Connect, project: Path = cli.PROJECT) -> Cleared:
    """Find everything that would stop a teardown of environment `name` halfway.

    Raises Failed with a line for each reason.
    """
    environment, faults = read_environment(name, project)
    if environment and environment.settings.deletion_protection:
        faults.append(
            f"{name}.deletion_protection: is true, so {name} is kept; to give it up, set it to "
            f"false, run: make deploy ENV={name}, then destroy"
        )
    faults += _tool_faults(project)
    aws, account, refusals = identify(name, environment, connect)
    faults += refusals
    if environment and aws and account:
        faults += _stack_faults(aws, environment)
    if faults or not (environment and aws and account):
        raise Failed(*faults)
    return Cleared(environment, aws, account)


def read_environment(name: str, project: Path) -> tuple[Environment | None, list[str]]:
    """Give an environment by its name in the settings, or why there is none."""
    try:
        environments = load(project / "cdk.json", project / "cdk.local.json")
    except SettingsError as error:
        return None, [f"{fault}; mend it in cdk.json or cdk.local.json" for fault in error.faults]
    if name not in environments:
        known = ", ".join(environments)
        return None, [f"{name!r}: no such environment; expected one of {known}"]
    return Environment(name, environments[name]), []


def _tool_faults(project: Path) -> list[str]:
    return [] if cli.is_installed(project) else ["the CDK CLI: is not installed; run: make setup"]


def identify(
    name: str, environment: Environment | None, connect: Connect
) -> tuple[Aws | None, str | None, list[str]]:
    """Ask AWS who we are; the account only where it is the right one."""
    settings = environment.settings if environment else None
    try:
        aws = connect(settings.region if settings else None)
        account = aws.sts.get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        return None, None, [credentials_fault(error)]
    expected = settings.account if settings else None
    if expected and expected != account:
        fault = (
            f"{name}.account: expected {expected}, but the credentials are those of {account}; "
            "choose the right ones with AWS_PROFILE, or change the setting"
        )
        return aws, None, [fault]
    return aws, account, []


def credentials_fault(error: BotoCoreError | ClientError) -> str:
    """Say why AWS does not know who asks, and what to do about it."""
    login = "log in (aws login, or aws sso login), or choose others with AWS_PROFILE"
    if isinstance(error, NoCredentialsError):
        return f"credentials: none found; {login}"
    if isinstance(error, PartialCredentialsError):
        return f"credentials: incomplete ({error}); {login}"
    if isinstance(error, (ConnectionError, HTTPClientError)):
        return f"AWS did not answer: {error}; check the connection and the region"
    if isinstance(error, ClientError):
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
        said = "expired" if code in EXPIRED else "refused by AWS"
        return f"credentials: {said} ({code}: {message}); {login}"
    # Sessions that ran out, profiles that do not exist, helpers that fail: each says which.
    return f"credentials: not usable ({error}); {login}"


def _bootstrap_faults(aws: Aws, account: str) -> list[str]:
    try:
        aws.parameters.get_parameter(Name=BOOTSTRAP_PARAMETER)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "ParameterNotFound":
            return [
                f"account {account} is not bootstrapped in {aws.region}; run: "
                f"npx cdk bootstrap aws://{account}/{aws.region}"
            ]
        # Where people may only assume the CDK's roles, the CLI reads the parameter by one of them.
        if code in DENIED:
            return []
        return [_unreadable(error)]
    except BotoCoreError as error:
        return [_unreadable(error)]
    return []


def _image_faults(aws: Aws, environment: Environment) -> list[str]:
    """Ask for the pinned image, which would otherwise be missed when the network is paid for."""
    cluster = environment.settings.cluster
    folder = "arm64/" if cluster.architecture == "arm64" else ""
    name = f"/aws/service/ecs/optimized-ami/amazon-linux-2023/{folder}{cluster.ami}/image_id"
    try:
        aws.parameters.get_parameter(Name=name)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ParameterNotFound":
            return [
                f"{environment.name}.cluster.ami: {aws.region} has no image of the name "
                f"{cluster.ami}; take one of https://github.com/aws/amazon-ecs-ami/releases"
            ]
    except BotoCoreError as error:
        return [_unreadable(error)]
    return []


def _leftover_faults(aws: Aws, environment: Environment) -> list[str]:
    try:
        names = [stack["StackName"] for stack in stacks(aws.cloudformation, environment)]
        found = resources(aws.cloudformation, names)
        begun = is_half_destroyed(found, aws.autoscaling, aws.scalable_targets)
    except (BotoCoreError, ClientError) as error:
        return [_unreadable(error)]
    name = environment.name
    return (
        [
            f"{name} is half destroyed: its instances and tasks are held at 0, which a deploy "
            f"does not undo; first finish with: make destroy ENV={name}"
        ]
        if begun
        else []
    )


def _stack_faults(aws: Aws, environment: Environment) -> list[str]:
    """Find what CloudFormation would refuse to delete after everything was scaled to nothing."""
    name = environment.name
    try:
        found = stacks(aws.cloudformation, environment)
        balancers = of_kind(
            resources(aws.cloudformation, [stack["StackName"] for stack in found]), BALANCER
        )
        faults = [
            f"{stack['StackName']}: is being changed ({stack['StackStatus']}); wait for that to end"
            for stack in found
            if stack["StackStatus"].endswith("_IN_PROGRESS")
            and not stack["StackStatus"].startswith(("DELETE", "REVIEW"))
        ]
        faults += [
            f"{stack['StackName']}: has termination protection; run: aws cloudformation "
            "update-termination-protection --no-enable-termination-protection --stack-name "
            f"{stack['StackName']} --region {aws.region}"
            for stack in found
            if stack.get("EnableTerminationProtection")
        ]
        # It imports from the others, so they cannot go before it, and the CLI does not know it.
        faults += [
            f"{stack['StackName']}: is {name}'s by its tag, but the settings no longer make it; "
            f"run: aws cloudformation delete-stack --stack-name {stack['StackName']} "
            f"--region {aws.region}"
            for stack in found
            if stack["StackName"] not in environment.stacks
        ]
        faults += [
            f"the load balancer has deletion protection, whatever the settings say now; run: "
            f"make deploy ENV={name}, then destroy"
            for balancer in balancers
            if not environment.settings.deletion_protection and _is_protected(aws, balancer)
        ]
    except (BotoCoreError, ClientError) as error:
        return [_unreadable(error)]
    return faults


def _is_protected(aws: Aws, balancer: str) -> bool:
    try:
        attributes = aws.elbv2.describe_load_balancer_attributes(LoadBalancerArn=balancer)
    except aws.elbv2.exceptions.LoadBalancerNotFoundException:
        return False
    return {"Key": "deletion_protection.enabled", "Value": "true"} in attributes["Attributes"]


def _unreadable(error: BotoCoreError | ClientError) -> str:
    return f"the account could not be read: {error}; nothing was changed, so try again"
