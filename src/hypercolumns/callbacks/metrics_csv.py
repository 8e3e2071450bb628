"""Write the metrics of each epoch of a training to the run's folder, as a table and as curves."""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytorch_lightning as pl

from hypercolumns.errors import HypercolumnsError, summarize_error
from hypercolumns.io.files import atomic_write
from hypercolumns.visualization.plots import PER_CLASS, save_curves

CurvePlot = Callable[[Path, Sequence[Mapping[str, str]]], None]
# The first columns of the table, in this order.
LEADING = ("epoch", "step", "seconds", "train/learning_rate")


class MetricsCSV(pl.Callback):
    """Write `metrics.csv`, with a row per epoch and a column per metric, and plot it in `curves.png`.

    The row of an epoch is written at the end of the epoch. The plot is drawn when the training ends, even if it ends
    with an error. A resumed training adds its rows to the existing table. If an epoch is trained again, its row is
    replaced.

    Args:
        folder: the folder of the two files.
        plot: a function that draws the curves, given the path of `curves.png` and the rows of the table.
    """

    def __init__(self, folder: Path, plot: CurvePlot = save_curves) -> None:
        self.table, self.picture, self.plot = folder / "metrics.csv", folder / "curves.png", plot

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # Lightning does not call this hook for an epoch that it resumes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start, self._validated = time.monotonic(), False

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validated = True  # if an epoch has no validation, Lightning keeps the val metrics of an earlier epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._start, 3),
            "train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
        }
        for name, value in trainer.callback_metrics.items():
            # train/loss is the loss of the last logged step; train/epoch_loss is the loss of the epoch.
            known = name in row or name == "train/loss"
            if not known and not value.isnan() and (self._validated or not name.startswith("val")):
                row[name] = float(value)
        try:
            before = [old for old in read_metrics_csv(self.table) if int(old["epoch"]) < trainer.current_epoch]
        except (KeyError, ValueError) as error:
            raise _invalid_table(self.table, error) from error
        rows = [*before, {name: str(value) for name, value in row.items()}]
        names = dict.fromkeys(name for row in rows for name in row if name not in LEADING)
        columns = [*LEADING, *sorted(names, key=lambda name: PER_CLASS in name)]  # per-class metrics come last
        with atomic_write(self.table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._draw(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        with suppress(HypercolumnsError):  # the error that stopped the training says more than one of the plot
            self._draw(trainer)

    def _draw(self, trainer: pl.Trainer) -> None:
        if trainer.is_global_zero and (rows := read_metrics_csv(self.table)):
            self.plot(self.picture, rows)


def read_metrics_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `metrics.csv`.

    Returns:
        A dictionary for each row: the text of each cell by the name of its column. Empty cells are left out. The list
        is empty if the file does not exist.

    Raises:
        HypercolumnsError: if the file is not a valid CSV table in UTF-8.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    except (AttributeError, ValueError, csv.Error) as error:
        raise _invalid_table(path, error) from error


def _invalid_table(path: Path, error: Exception) -> HypercolumnsError:
    reason = summarize_error(error)
    return HypercolumnsError(
        f"{path} is not the table of a training's epochs ({reason}); remove it, and run the command again"
    )
