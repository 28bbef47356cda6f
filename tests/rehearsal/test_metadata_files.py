"""A container's metadata are where it looks for them, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rehearsal.metadata_files import MetadataFiles
from rehearsal.records import Definition, TaskRecord
from scheduler.model import TaskDefinition

DEFINITION = Definition("arn:1", "web", 1, {}, TaskDefinition("arn:1", 1, 1), 0)
RECORD = TaskRecord("a1b2", "arn:task", DEFINITION, "service:web", 0)


def test_a_container_finds_it_where_the_mount_has_it(tmp_path: Path) -> None:
    files = MetadataFiles(tmp_path, mounts=True)
    (option,) = files.begin(RECORD, "web", cluster="c", instance="arn:instance")
    source = tmp_path / "metadata" / "a1b2" / "web"
    assert option == f"--mount=type=bind,source={source},target=/opt/ecs/metadata/a1b2,readonly"
    inside = files.path_inside(RECORD, "web")
    assert inside == "/opt/ecs/metadata/a1b2/ecs-container-metadata.json"
    assert json.loads((source / Path(inside).name).read_text(encoding="utf-8")) == {
        "Cluster": "c",
        "ContainerInstanceARN": "arn:instance",
        "TaskARN": "arn:task",
        "ContainerName": "web",
    }


def test_a_process_finds_it_in_the_folder_itself(tmp_path: Path) -> None:
    files = MetadataFiles(tmp_path, mounts=False)
    assert files.begin(RECORD, "web", cluster="c", instance="i") == ()
    path = Path(files.path_inside(RECORD, "web"))
    assert path.is_file()
    files.remove(RECORD)
    assert not path.exists()


@pytest.mark.parametrize("name", ["../../up", "/etc", "", "a,b"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    files = MetadataFiles(tmp_path / "state", mounts=True)
    with pytest.raises(ValueError, match="a1b2: expected a container's name, got"):
        files.begin(RECORD, name, cluster="c", instance="i")
    assert list(tmp_path.iterdir()) == []
