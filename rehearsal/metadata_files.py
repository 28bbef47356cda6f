"""The file in which the agent tells a container of itself, its task and its instance.

Short at first, whole once the container runs. Source, read 2026-11-24:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/container-metadata.html
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.containers import NAME as CONTAINER_NAME
from rehearsal.records import TaskRecord

NAME = "ecs-container-metadata.json"
INSIDE = "/opt/ecs/metadata"


class MetadataFiles:
    """Keeps a folder for each container, which the container sees and cannot write.

    Without `mounts` the containers are processes of this machine, and see the folder itself.
    A container whose name ECS would not register raises ValueError: it could lead elsewhere.
    """

    def __init__(self, folder: Path, *, mounts: bool) -> None:
        self._folder = folder.resolve() / "metadata"
        self._mounts = mounts

    def begin(
        self, record: TaskRecord, container: str, *, cluster: str, instance: str
    ) -> Sequence[str]:
        """Write the first form; give the options with which an engine shows it."""
        short = {
            "Cluster": cluster,
            "ContainerInstanceARN": instance,
            "TaskARN": record.arn,
            "ContainerName": container,
        }
        self.write(record, container, short)
        if not self._mounts:
            return ()
        source = self._of(record, container)
        target = f"{INSIDE}/{record.id}"
        return (f"--mount=type=bind,source={source},target={target},readonly",)

    def path_inside(self, record: TaskRecord, container: str) -> str:
        """Give the path by which the container finds it."""
        if self._mounts:
            return f"{INSIDE}/{record.id}/{NAME}"
        return str(self._of(record, container) / NAME)

    def write(self, record: TaskRecord, container: str, content: Mapping[str, object]) -> None:
        """Write a form of it; a reader never sees half of one."""
        folder = self._of(record, container)
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{NAME}.new"
        new.write_text(json.dumps(content), encoding="utf-8")
        # The container's user is another, whatever this one's umask.
        folder.chmod(0o755)
        new.chmod(0o644)
        new.replace(folder / NAME)

    def remove(self, record: TaskRecord) -> None:
        """Remove those of a task that has ended."""
        shutil.rmtree(self._folder / record.id, ignore_errors=True)

    def _of(self, record: TaskRecord, container: str) -> Path:
        if not CONTAINER_NAME.fullmatch(container):
            raise ValueError(f"{record.id}: expected a container's name, got {container!r}")
        return self._folder / record.id / container
