"""A finished training, as `hypercolumns.train` returns it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hypercolumns.callbacks.metrics_csv import read_metrics_csv
from hypercolumns.io.files import read_json
from hypercolumns.models.predictor import SegmentationPredictor
from hypercolumns.runs.run import Run


@dataclass(frozen=True)
class TrainedRun:
    """The result of a training: its folder, and what the files in this folder say.

    The result of an earlier training can be opened again: `TrainedRun(Path("runs/folder/sqn/train/latest"))`. Where a
    path is expected, the object stands for its folder.

    Attributes:
        folder: the folder of the run.
    """

    folder: Path

    def __fspath__(self) -> str:
        """Return the path of the folder, so that settings such as `init_from` take this object."""
        return str(self.folder)

    @property
    def model_path(self) -> Path:
        """The file of the trained model, which `predict.py` and `SegmentationPredictor.load` take."""
        return Run(self.folder).model

    @cached_property
    def model(self) -> SegmentationPredictor:
        """The trained model, on the CPU. It is loaded when it is used for the first time."""
        return SegmentationPredictor.load(self.model_path)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The metrics of the model on the val images, as in `metrics.json`: `miou` and others, each in [0, 1]."""
        return read_json(Run(self.folder).metrics)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """The metrics of each epoch, as in `metrics.csv`; an epoch lacks those that it did not measure.

        Stages average and refine have no epochs, so their list is empty; their `metrics.csv` has a row for each class.
        """
        rows = read_metrics_csv(self.folder / "metrics.csv")
        return [{name: float(value) for name, value in row.items()} for row in rows if "epoch" in row]
