"""Lab 4: running, stopping and killing tasks is told apart from what ECS did by itself."""

from __future__ import annotations

import pytest

from tests.labs.playing import STEADY, Course

pytestmark = pytest.mark.engine


def test_a_service_that_is_scaled_down_and_up_was_stopped_by_nobody(course: Course) -> None:
    course.start(4, right=(STEADY,))
    course.played.scale(1)
    course.played.settle()
    course.played.scale(2)
    course.played.settle()
    done = course.run("check", 4)
    assert done.code == 1
    assert "was stopped by the service itself" in done.said
    assert "stop one yourself: aws ecs stop-task" in done.said
    assert course.run("reset", 4).code == 0


def test_its_page_passes_it(course: Course) -> None:
    answers = course.follow("04-tasks.md")
    assert any("UserInitiated" in done.said for done in answers)
    assert any("EssentialContainerExited" in done.said and "137" in done.said for done in answers)
