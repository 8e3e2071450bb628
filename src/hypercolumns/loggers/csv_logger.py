"""A CSV logger that adds its rows to those of an earlier command."""

import csv
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter

from hypercolumns.io.files import atomic_write
from hypercolumns.runtime import distributed


class ResumableCSVLogger(CSVLogger):
    """Lightning's CSVLogger, which keeps the rows of an earlier command. Lightning's own logger deletes them."""

    @property
    def experiment(self) -> Any:
        """The writer of the two files, `metrics.csv` and `hparams.yaml`."""
        if self._experiment is None and distributed.is_rank_zero():
            Path(self.root_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ResumableWriter(self.log_dir)
        return super().experiment


class _ResumableWriter(ExperimentWriter):
    """Lightning's writer of the two files, which adds to an existing table."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.metrics_keys = _complete_rows(Path(self.metrics_file_path))

    def _check_log_dir_exists(self) -> None:
        """Leave the earlier files as they are; Lightning's method deletes the table."""


def _complete_rows(table: Path) -> list[str]:
    """Remove the rows of a table that a kill has cut off, and return the names of its columns; [] without a table."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    if not rows or not all(rows[0]):
        table.unlink()
        return []
    with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(row for row in rows if len(row) == len(rows[0]))
    return rows[0]
