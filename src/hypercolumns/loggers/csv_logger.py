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
        self._begun = False

    def save(self) -> None:
        """Write the rows since the last call; the first call looks for a table, which a training may have copied."""
        if self.metrics and not self._begun:
            self.metrics_keys, self._begun = _complete_rows(Path(self.metrics_file_path)), True
        super().save()

    def _check_log_dir_exists(self) -> None:
        """Leave the earlier files as they are; Lightning's method deletes the table."""


def copy_epochs(table: Path, target: Path) -> None:
    """Copy the table of a run without its final metrics, whose columns begin with `final/`.

    Args:
        table: the table of the run; if there is none, nothing is copied.
        target: the copy.
    """
    names, *rows = _read(table) or [[]]
    final = {index for index, name in enumerate(names) if name.startswith("final/")}
    if names:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(target, [names, *(row for row in rows if not any(row[index] for index in final))])


def _complete_rows(table: Path) -> list[str]:
    """Remove the rows of a table that a kill has cut off, and return the names of its columns; [] without a table."""
    rows = _read(table)
    if rows:
        _write(table, rows)
        return rows[0]
    table.unlink(missing_ok=True)
    return []


def _read(table: Path) -> list[list[str]]:
    """Return the complete rows of a table, the names of its columns first; [] without a table."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(rows[0])] if rows and all(rows[0]) else []


def _write(table: Path, rows: list[list[str]]) -> None:
    with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
