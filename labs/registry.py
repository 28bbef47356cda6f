"""Lab 3: what a deploy pushed, under which tag, and who may change what that tag names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from labs.lab import Item, Lab, Remembered
from labs.place import Place
from ops.environment import Failed

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

# The tag that the learner gives to what runs.
TAG = "release-1"


class Deployed(NamedTuple):
    """The repository, and the tag in it, that the service's task definition names."""

    repository: str
    tag: str


def begin(place: Place) -> Remembered:
    """Remember which image the deployed tag names, and whether the repository lets it change."""
    ecr, (repository, tag) = place.aws.ecr, _deployed(place)
    return {
        "repository": repository,
        "tag": tag,
        "digest": _digest(ecr, repository, tag),
        "mutability": _mutability(ecr, repository),
        "new": _digest(ecr, repository, TAG) is None,
    }


def check(place: Place, remembered: MutableMapping[str, Any]) -> Iterable[Item]:
    """Look for a second tag of the same image, the first one as it was, and the findings of a scan.

    `repository` and `tag` are those of the start, whatever was deployed since.
    """
    ecr = place.aws.ecr
    repository, tag = remembered["repository"], remembered["tag"]
    before, now = remembered["digest"], _digest(ecr, repository, tag)
    yield _second(_digest(ecr, repository, TAG), now, is_new=remembered["new"])
    yield Item(
        now == before,
        f"{_short(tag)} still names {before}"
        if now == before
        else f"{_short(tag)} names {now or 'nothing'}, and named {before} when it was deployed: "
        "the next instance that pulls it runs something else",
    )
    mutability = _mutability(ecr, repository)
    yield Item(
        mutability == "IMMUTABLE",
        f"{repository} is IMMUTABLE: no tag can be put on another image"
        if mutability == "IMMUTABLE"
        else f"{repository} is {mutability}: aws ecr put-image-tag-mutability --repository-name "
        f"{repository} --image-tag-mutability IMMUTABLE",
    )
    yield _scanned(ecr, repository, tag)


def reset(place: Place, remembered: Remembered) -> Iterator[str]:
    """Take the second tag away, and make the repository as immutable as it was."""
    ecr, repository = place.aws.ecr, remembered["repository"]
    if remembered["new"] and _digest(ecr, repository, TAG) is not None:
        ecr.batch_delete_image(repositoryName=repository, imageIds=[{"imageTag": TAG}])
        yield f"{repository}: the tag {TAG} is gone."
    if _mutability(ecr, repository) != remembered["mutability"]:
        ecr.put_image_tag_mutability(
            repositoryName=repository, imageTagMutability=remembered["mutability"]
        )
        yield f"{repository} is {remembered['mutability']} again."


def _second(digest: str | None, deployed: str | None, *, is_new: bool) -> Item:
    if digest is None:
        return Item(False, f"no image has the tag {TAG}: aws ecr put-image ... --image-tag {TAG}")
    if not is_new:
        return Item(
            False,
            f"{TAG} was there before the lab's start: aws ecr batch-delete-image --image-ids "
            f"imageTag={TAG}, then reset and start the lab again",
        )
    if digest != deployed:
        return Item(
            False,
            f"{TAG} names {digest}, which is not what runs: put the manifest of the deployed tag, "
            "byte for byte, as batch-get-image gave it",
        )
    return Item(True, f"{TAG} names {digest}, the image that runs")


def _scanned(ecr: ECRClient, repository: str, tag: str) -> Item:
    """Whether the deployed image has a scan's findings."""
    try:
        found = ecr.describe_image_scan_findings(
            repositoryName=repository, imageId={"imageTag": tag}
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in {
            "ScanNotFoundException",
            "ImageNotFoundException",
        }:
            raise
        return Item(
            False,
            f"{_short(tag)} has no scan: aws ecr start-image-scan --repository-name {repository} "
            f"--image-id imageTag=...",
        )
    status = found.get("imageScanStatus", {}).get("status")
    if status not in {"COMPLETE", "ACTIVE"}:
        return Item(
            False, f"the scan of {_short(tag)} is {status}: aws ecr wait image-scan-complete"
        )
    counts = found.get("imageScanFindings", {}).get("findingSeverityCounts", {})
    told = ", ".join(f"{many} {severity}" for severity, many in counts.items())
    return Item(True, f"the scan of {_short(tag)} found: {told or 'nothing'}")


def _deployed(place: Place) -> Deployed:
    """Give the repository and the tag of the service's image."""
    definition = place.aws.ecs.describe_task_definition(
        taskDefinition=place.describe_service()["taskDefinition"]
    )["taskDefinition"]
    image = definition["containerDefinitions"][0]["image"]
    repository, _, tag = image.partition("/")[2].rpartition(":")
    if ".dkr.ecr." not in image or not repository:
        raise Failed(f"{image}: expected an image of a repository of ECR's, with a tag")
    return Deployed(repository, tag)


def _digest(ecr: ECRClient, repository: str, tag: str) -> str | None:
    """Give the digest of the image that a tag names; None where it names none."""
    try:
        (found,) = ecr.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])[
            "imageDetails"
        ]
    except ecr.exceptions.ImageNotFoundException:
        return None
    return found["imageDigest"]


def _mutability(ecr: ECRClient, repository: str) -> Any:  # noqa: ANN401 - the stubs' own literals
    (found,) = ecr.describe_repositories(repositoryNames=[repository])["repositories"]
    return found["imageTagMutability"]


def _short(tag: str) -> str:
    """Give the beginning of a tag that is a hash, long enough to find it by."""
    return f"{tag[:12]}..." if len(tag) > 20 else tag


LAB = Lab(
    number=3,
    title="The registry",
    minutes=20,
    page="03-the-registry.md",
    begin=begin,
    check=check,
    reset=reset,
    hints=(
        "The task definition's image is REGISTRY/REPOSITORY:TAG; the tag is the name of a folder "
        "in cdk.out, asset.TAG.",
        "An image is named by its digest, and a tag only points there. A second tag needs no push: "
        "put-image with the manifest that batch-get-image gives.",
        "Use the manifest as it came, in quotes: one space more is another image.",
        "A scan is begun by each push on AWS, and on the rehearsal by start-image-scan alone.",
    ),
)
