"""What happens before the first job of a sweep and after the last one.

Every command loads this module, but only a sweep needs the others of this package, which import torch.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from hypercolumns.cli.app import exit_on_user_error

LOCK_SECONDS = 1.0  # stage=clean holds the lock of a sweep for less than this


class SweepTable(Callback):
    """A Hydra callback that checks a sweep before its first job and shows the table of all jobs after the last job.

    The command ends with exit code 1 if a job failed. In between, the process holds the lock of the sweep, by which
    stage=status and stage=clean know that the sweep runs.
    """

    _lock: FileLock | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return no state: launchers send the callback to other processes, and a lock can't be sent."""
        return {}

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Name the sweep's folder, and refuse before the first job what no job can run.

        If a launcher runs the jobs on other machines, each job checks this itself on its machine.
        """
        from hypercolumns.sweeps.identity import name_sweep, sweep_overrides, write_record
        from hypercolumns.sweeps.jobs import refuse_several_processes, refuse_stages_without_jobs

        with exit_on_error():
            record = name_sweep(config)
            overrides = [str(override.input_line) for override in sweep_overrides(config)]
            refuse_stages_without_jobs([f"stage={config.get('stage')}", *overrides])
            if "basic_launcher" in config.hydra.launcher._target_:
                refuse_several_processes(config, overrides)
            self._hold(Path(config.hydra.sweep.dir))
            try:
                write_record(config, record, alone=self._lock is not None)
            except BaseException:
                self._release()
                raise

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print and write the table of all jobs; exit with code 1 if a job failed."""
        from hypercolumns.sweeps.jobs import FAILED, read_records
        from hypercolumns.sweeps.table import rank_jobs, show_sweep

        with exit_on_error():
            records = rank_jobs(read_records(Path(config.hydra.sweep.dir)))
            show_sweep(records, Path(config.hydra.sweep.dir))
        self._release()
        if any(record.status == FAILED for record in records):
            sys.exit(1)

    def _hold(self, sweep: Path) -> None:
        """Lock the sweep. If another process runs the same sweep, this one goes on without the lock.

        Several processes can share a sweep, and each of them has locks for its jobs.
        """
        from hypercolumns.runs.inventory import lock_of

        sweep.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_of(sweep))
        with suppress(Timeout):
            lock.acquire(timeout=LOCK_SECONDS)
            self._lock = lock

    def _release(self) -> None:
        from hypercolumns.io.files import release_lock

        if self._lock is not None:
            release_lock(self._lock)
            self._lock = None


@contextmanager
def exit_on_error() -> Iterator[None]:
    """End the program if the `with` block raises an error that the user can fix.

    Otherwise, Hydra would only print a warning about the error.
    """
    try:
        yield
    except Exception as error:
        exit_on_user_error(error)
        raise
