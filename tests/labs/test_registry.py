"""Lab 3: a second name of what runs is told apart from another image, and from a moved tag."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from labs import registry
from tests.labs.pages import PAGES, follow
from tests.labs.playing import KINDS, Course

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

pytestmark = pytest.mark.engine

SECONDS = 120.0


class Repository(NamedTuple):
    """The sandbox's registry, one repository of it, and the manifest of the image that runs."""

    ecr: ECRClient
    name: str
    manifest: str

    def put(self, manifest: str, tag: str = registry.TAG) -> None:
        self.ecr.put_image(repositoryName=self.name, imageManifest=manifest, imageTag=tag)


@pytest.fixture
def repository(course: Course) -> Iterator[Repository]:
    """The repository of the sandbox, with the lab begun; afterwards as it was."""
    ecr = course.played.client("ecr")
    name = next(
        one["repositoryName"]
        for one in ecr.describe_repositories()["repositories"]
        if one["repositoryName"].endswith("web")
    )
    (found,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    (image,) = ecr.describe_images(repositoryName=name)["imageDetails"]
    (answer,) = ecr.batch_get_image(
        repositoryName=name, imageIds=[{"imageTag": image["imageTags"][0]}]
    )["images"]
    course.start(3, right=("still names", "is IMMUTABLE"))
    yield Repository(ecr, name, answer["imageManifest"])
    assert course.run("reset", 3).code == 0
    assert ecr.describe_images(repositoryName=name)["imageDetails"] == [image]
    (after,) = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    assert after == found


def test_another_image_under_the_new_tag_is_not_what_runs(
    course: Course, repository: Repository
) -> None:
    repository.put(repository.manifest + " ")
    done = course.run("check", 3)
    assert done.code == 1
    assert (
        "which is not what runs: put the manifest of the deployed tag, byte for byte" in done.said
    )


def test_a_repository_that_was_made_mutable_is_told_how_to_be_mended(
    course: Course, repository: Repository
) -> None:
    repository.put(repository.manifest)
    repository.ecr.put_image_tag_mutability(
        repositoryName=repository.name, imageTagMutability="MUTABLE"
    )
    done = course.run("check", 3)
    assert done.code == 1
    assert f"missing  {repository.name} is MUTABLE: aws ecr put-image-tag-mutability" in done.said


def test_a_tag_that_was_there_before_proves_nothing(course: Course, repository: Repository) -> None:
    assert course.run("reset", 3).code == 0
    repository.put(repository.manifest)
    assert course.run("start", 3).code == 0
    done = course.run("check", 3)
    repository.ecr.batch_delete_image(
        repositoryName=repository.name, imageIds=[{"imageTag": registry.TAG}]
    )
    assert done.code == 1
    assert "missing  release-1 was there before the lab's start" in done.said


def test_its_page_passes_it(course: Course, assembly: Path) -> None:
    with dataclasses.replace(course.shell(), folder=assembly.parent) as shell:
        answers = follow(PAGES / registry.LAB.page, shell, seconds=SECONDS, kinds=KINDS)
    whole = "\n".join(done.said for done in answers)
    assert "Lab 3 is passed." in whole
    assert "ImageAlreadyExistsException" in whole
    assert "tag release-1 is gone" in whole
