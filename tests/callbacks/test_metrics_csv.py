from types import SimpleNamespace

import torch

from hypercolumns.callbacks import MetricsCSV
from hypercolumns.callbacks.metrics_csv import read_metrics_csv


def epoch(history, number, metrics, validated=True, rate=0.5):
    """Run the callback's hooks of one epoch with a stand-in trainer, and return that trainer."""
    optimizer = SimpleNamespace(param_groups=[{"lr": rate}])
    trainer = SimpleNamespace(
        is_global_zero=True,
        current_epoch=number,
        global_step=10 * number,
        optimizers=[optimizer],
        callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
    )
    history.on_train_epoch_start(trainer, None)
    if validated:
        history.on_validation_epoch_end(trainer, None)
    history.on_train_epoch_end(trainer, None)
    return trainer


def test_values_of_earlier_epochs_are_left_out(tmp_path):
    history = MetricsCSV(tmp_path)
    stale = {"train/learning_rate": 9.0, "train/loss": 1.0, "val/loss": 2.0, "val_iou/a": float("nan")}
    epoch(history, 0, stale)
    epoch(history, 1, stale, validated=False, rate=0.25)
    first, second = read_metrics_csv(history.table)
    assert (first["train/learning_rate"], second["train/learning_rate"]) == ("0.5", "0.25")
    assert first["val/loss"] == "2.0"
    assert "val/loss" not in second
    assert "val_iou/a" not in first
    assert "train/loss" not in first


def test_repeated_epoch_replaces_its_row(tmp_path):
    """A class that only the replaced row contained leaves no empty column."""
    drawn = []
    history = MetricsCSV(tmp_path, plot=lambda path, rows: drawn.append((path, rows)))
    epoch(history, 0, {"val/loss": 2.0})
    epoch(history, 1, {"val/loss": 3.0, "val_iou/a": 0.5})
    trainer = epoch(history, 1, {"val/loss": 4.0})
    rows = read_metrics_csv(history.table)
    assert [row["val/loss"] for row in rows] == ["2.0", "4.0"]
    assert "val_iou/a" not in history.table.read_text()
    history.on_train_end(trainer, None)
    assert drawn == [(tmp_path / "curves.png", rows)]


def test_curves_are_drawn_by_default(tmp_path):
    history = MetricsCSV(tmp_path)
    history.on_train_end(epoch(history, 0, {"val/loss": 2.0}), None)
    assert history.picture.is_file()
