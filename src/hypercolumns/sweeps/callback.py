"""What happens before the first job of a sweep and after the last one.

Every command loads this module, but only a sweep needs the others of this package, which import torch.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from hypercolumns.cli.app import exit_on_user_error


class SweepTable(Callback):
    """A Hydra callback that checks a sweep before its first job and shows the table of all jobs after the last job.

    The command ends with exit code 1 if a job failed.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Name the sweep's folder; refuse settings that ask for several processes in a job, before the first job.

        If a launcher runs the jobs on other machines, each job checks this itself on its machine.
        """
        from hypercolumns.sweeps.identity import open_sweep
        from hypercolumns.sweeps.jobs import refuse_several_processes

        with exit_on_error():
            if "basic_launcher" in config.hydra.launcher._target_:
                refuse_several_processes(config, list(config.hydra.overrides.task))
            open_sweep(config)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print and write the table of all jobs; exit with code 1 if a job failed."""
        from hypercolumns.sweeps.jobs import FAILED, read_records
        from hypercolumns.sweeps.table import rank_jobs, show_sweep

        with exit_on_error():
            records = rank_jobs(read_records(Path(config.hydra.sweep.dir)))
            show_sweep(records, Path(config.hydra.sweep.dir))
        if any(record.status == FAILED for record in records):
            sys.exit(1)


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
