"""A run: the folder with the result of a stage, and the fingerprint of this result.

    <runs>/<data>/<cnn>/samples/<key>/          a store of samples
    <runs>/<data>/<cnn>/<stage>/<key>/          a run of a stage; <stage>/latest links to the last finished run
    <runs>/<data>/<cnn>/events/<stage>-<key>/   what the run's loggers write, such as event files for TensorBoard

Each run and each store has a fingerprint. It records everything that decides what the folder contains. The key is a
hash of the fingerprint. A JSON file in the folder holds the whole fingerprint.
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
from hypercolumns.runs.file_names import COUNTS, ENVIRONMENT, METRICS, RUN_FILE
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console

Fingerprint = dict[str, Any]
# The files that say how a run is made. A run with nothing else has no result, nor the beginning of one.
BEGUN = {RUN_FILE, "config.yaml", ENVIRONMENT, "changes.patch"}


class Run:
    """The folder of one run of a stage.

    Attributes:
        folder: the run's folder.
        model: the file with the model.
        metrics: the file with the metrics.
        events: the folder of what the run's loggers write, such as event files. It lies outside the run's folder.
            Inside, TensorBoard would also find the files through the link `latest`, and would list the run twice.
        counts: the file with the confusion matrices of each scored image, see `evaluation.Evaluation`.
        panels: the file with pictures of some predictions.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events = folder.parent.parent / "events" / f"{folder.parent.name}-{folder.name}"
        self.model = folder / "model.safetensors"
        self.metrics = folder / METRICS
        self.counts = folder / COUNTS
        self.panels = folder / "panels.png"

    @classmethod
    @contextmanager
    def begin(
        cls, parent: Path, fingerprint: Fingerprint, origin: RunOrigin, overwrite: bool = False
    ) -> Iterator["Run"]:
        """Open the run that has this fingerprint, and keep it locked until the `with` block ends.

        Another command that opens the same run waits until then. If a new run ends with a HypercolumnsError before any
        work is done, its folders are removed.

        Args:
            parent: the folder of all runs of the stage.
            fingerprint: everything that decides the run's result.
            origin: the config, command and device, which are written to the folder unless the run is finished.
            overwrite: whether to remove an existing run first, even if it is finished.

        Yields:
            The run, which may be new, unfinished or finished.
        """
        run = cls(parent / short_hash(fingerprint))
        with run._alone() if distributed.is_rank_zero() else nullcontext():
            new = distributed.is_rank_zero() and run._prepare(fingerprint, origin, overwrite)
            distributed.barrier()
            try:
                yield run
            except HypercolumnsError:
                if new:
                    run._remove_unused()
                raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder.with_name(f".{self.folder.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            console.print(f"waiting for another process that works on {self.folder}", markup=False)
            lock.acquire()
        try:
            yield
        finally:
            release_lock(lock)

    def _prepare(self, fingerprint: Fingerprint, origin: RunOrigin, overwrite: bool) -> bool:
        """Make the folder, if there is none, and say how the run is made. Return whether the run is new."""
        if overwrite and self.folder.exists():
            aside = self.folder.with_name(f".{self.folder.name}.old")  # a kill during rmtree must not leave half a run
            shutil.rmtree(aside, ignore_errors=True)
            self.folder.replace(aside)
            shutil.rmtree(aside)
            shutil.rmtree(self.events, ignore_errors=True)
        new = not self.folder.exists() and not self.events.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.finished:
            origin.write(self.folder)  # first, so that stage status finds the command of each run that it lists
        if not (self.folder / RUN_FILE).is_file():
            write_json(self.folder / RUN_FILE, {"fingerprint": fingerprint, "finished": None})
        return new

    def _remove_unused(self) -> None:
        """Remove the folders of a new run without a result: stage status would list it as unfinished for ever."""
        if {path.name for path in self.folder.iterdir()} <= BEGUN:
            shutil.rmtree(self.folder)
            shutil.rmtree(self.events, ignore_errors=True)

    @property
    def miou(self) -> float | None:
        """The mIoU in the metrics of the run; None if no images were scored."""
        miou: float | None = read_json(self.metrics)["miou"]
        return miou

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the run: everything that decides its result."""
        return dict(self._load_run_file()["fingerprint"])

    @property
    def finished(self) -> str | None:
        """The time at which the run finished (ISO 8601, UTC); None if it has not finished."""
        when: str | None = self._load_run_file()["finished"] if (self.folder / RUN_FILE).is_file() else None
        return when

    @property
    def scored(self) -> bool:
        """Whether the run is finished, and has scored images and their confusion matrices, or has scored none."""
        images = read_json(self.metrics).get("images") if self.finished and self.metrics.is_file() else None
        return isinstance(images, int) and (images == 0 or self.counts.is_file())

    def _load_run_file(self) -> dict[str, Any]:
        path = self.folder / RUN_FILE
        contents = read_json(path)
        if not isinstance(contents.get("fingerprint"), dict) or not isinstance(contents.get("finished", 0), str | None):
            raise HypercolumnsError(f"{path} is not the record of a run; remove this file and run the command again")
        return contents

    def save(self, segmenter: Segmenter) -> Path:
        """Write a model to the run's folder, and return its file.

        Rank zero writes, and the other ranks wait until the file is complete.
        """
        if distributed.is_rank_zero():
            remove_temporaries(self.model)
            segmenter.save(self.model)
        distributed.barrier()
        return self.model

    def mark_finished(self, metrics: Mapping[str, object]) -> None:
        """Write the metrics. If the run is not finished yet, mark it as finished and make `latest` a link to it."""
        write_json(self.metrics, metrics)
        if self.finished:
            return
        now = datetime.now(UTC).isoformat()
        write_json(self.folder / RUN_FILE, {"fingerprint": self.fingerprint, "finished": now})
        temporary = self.folder.parent / f".latest.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            temporary.symlink_to(self.folder.name, target_is_directory=True)
            temporary.replace(self.folder.parent / "latest")
        except OSError as error:  # the system does not allow links, or `latest` is a folder
            temporary.unlink(missing_ok=True)
            console.print(f"latest could not be linked to {self.folder} ({error})", markup=False)
