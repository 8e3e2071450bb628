"""A run: the folder of a stage's result, and what identifies it.

    <runs>/<data>/<cnn>/samples/<key>/          a store of samples
    <runs>/<data>/<cnn>/<stage>/<key>/          a run of a stage; <stage>/latest leads to the last finished one
    <runs>/<data>/<cnn>/events/<stage>-<key>/   what TensorBoard reads of that run

A key is a hash of all that decides the contents, the identity, which is written beside them.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import read_json, release_lock, remove_temporaries, short_hash, write_json
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.environment import RunOrigin
from hypercolumns.runs.file_names import COUNTS, METRICS, RUN_FILE
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console

Identity = dict[str, Any]


class Run:
    """The folder of one run of a stage.

    Attributes:
        folder: of the run.
        model: the file of its model.
        metrics: the file of its figures.
        events: the folder of what TensorBoard reads; not in that of the run, or `latest` would be a run there too.
        counts: the file of the pixels of each image that was scored, see `evaluation.Evaluation`.
        panels: the picture of some predictions.
    """

    def __init__(self, folder: Path) -> None:
        """The run in `folder`."""
        self.folder = folder
        self.events = folder.parent.parent / "events" / f"{folder.parent.name}-{folder.name}"
        self.model = folder / "model.safetensors"
        self.metrics = folder / METRICS
        self.counts = folder / COUNTS
        self.panels = folder / "panels.png"

    @classmethod
    @contextmanager
    def begin(cls, parent: Path, identity: Identity, origin: RunOrigin, overwrite: bool = False) -> Iterator["Run"]:
        """The run of that identity in `parent`, new, unfinished or finished.

        Inside, it is this command's alone; others that want the same run wait, and find it finished.

        Args:
            parent: the folder of all runs of the stage.
            identity: all that decides the run's result.
            origin: what is written beside it of what it is made with.
            overwrite: whether to begin it anew in any case.
        """
        run = cls(parent / short_hash(identity))
        with run._alone() if distributed.is_rank_zero() else nullcontext():
            if distributed.is_rank_zero():
                run._prepare(identity, origin, overwrite)
            distributed.barrier()
            yield run

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            console.print(f"waiting for another process, which is at {self.folder}", markup=False)
            lock.acquire()
        try:
            yield
        finally:
            release_lock(lock)

    def _prepare(self, identity: Identity, origin: RunOrigin, overwrite: bool) -> None:
        if overwrite and self.folder.exists():
            aside = self.folder.with_name(f".{self.folder.name}.old")  # a kill must not leave half a finished run
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.replace(aside)
            shutil.rmtree(aside)
            shutil.rmtree(self.events, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / RUN_FILE).is_file():
            write_json(self.folder / RUN_FILE, {"identity": identity, "finished": None})
        if not self.finished:
            origin.write(self.folder)

    @property
    def miou(self) -> float | None:
        """Its figure, if images were scored."""
        miou: float | None = read_json(self.metrics)["miou"]
        return miou

    @property
    def identity(self) -> Identity:
        """All that decides its result."""
        return dict(self._load_run_file()["identity"])

    @property
    def finished(self) -> str | None:
        """When it was finished, if it is."""
        when: str | None = self._load_run_file()["finished"] if (self.folder / RUN_FILE).is_file() else None
        return when

    @property
    def scored(self) -> bool:
        """Whether its figures are there, too."""
        return bool(self.finished and self.metrics.is_file() and isinstance(read_json(self.metrics).get("images"), int))

    def _load_run_file(self) -> dict[str, Any]:
        path = self.folder / RUN_FILE
        contents = read_json(path)
        if not isinstance(contents.get("identity"), dict) or not isinstance(contents.get("finished", 0), str | None):
            raise HypercolumnsError(f"{path} is no record of a run; remove it and run the command again")
        return contents

    def save(self, segmenter: Segmenter) -> None:
        """Write the model, in the first process; in all of them it is there when this returns."""
        if distributed.is_rank_zero():
            remove_temporaries(self.model)
            segmenter.save(self.model)
        distributed.barrier()

    def mark_finished(self, figures: Mapping[str, object]) -> None:
        """Write the figures; if the run was not finished before, mark it as finished and make it the latest."""
        write_json(self.metrics, figures)
        if self.finished:
            return
        now = datetime.now(UTC).isoformat()
        write_json(self.folder / RUN_FILE, {"identity": self.identity, "finished": now})
        temporary = self.folder.parent / f".latest.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(self.folder.name, target_is_directory=True)
            temporary.replace(self.folder.parent / "latest")
        except OSError as error:  # no links on this system, or a folder in its place
            temporary.unlink(missing_ok=True)
            console.print(f"latest does not lead to {self.folder} ({error})", markup=False)
