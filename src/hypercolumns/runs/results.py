"""Write and print the results of a run: metrics, tables and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hypercolumns.data import DatasetIndex
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.evaluation import Evaluation
from hypercolumns.evaluation.metrics import float_or_none, metrics_from_confusion
from hypercolumns.io.files import atomic_write, read_json, write_json
from hypercolumns.io.images import encode_png
from hypercolumns.loggers import RunLoggers
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA
from hypercolumns.reports.format import format_number
from hypercolumns.reports.metric_tables import print_metrics, write_class_metrics, write_confusion
from hypercolumns.runs.fit import best_epoch, best_evaluation
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import ScoredImages, Scorer
from hypercolumns.runtime import distributed
from hypercolumns.tasks import LabelPredictor
from hypercolumns.visualization.panels import LabelledImage, evenly_spaced, panels
from hypercolumns.visualization.plots import confusion_picture

FINAL_METRICS = "miou miou_present boundary_miou pixel_accuracy mean_accuracy frequency_weighted_iou".split()
MAX_PANELS = 4  # panels.png shows at most this many evenly spaced images, and this many with the lowest mIoU


@dataclass(frozen=True)
class Results:
    """The writer of a run's results: metrics, tables and pictures, to files and to the run's loggers.

    Attributes:
        scorer: scores images, and computes the confidence intervals of the metrics.
        loggers: the loggers of the run.
        per_class: whether to write the metrics of each class to `metrics.csv`. False for a training, whose
            `metrics.csv` holds the metrics of each epoch.
        confusion_picture: draws a confusion matrix, (classes, classes) int64, as a picture (H, W, 3) uint8 RGB. Its
            second argument is the names of the classes.
        panels: draws images next to their true and predicted labels.
    """

    scorer: Scorer
    loggers: RunLoggers
    per_class: bool = False
    confusion_picture: Callable[..., Any] = confusion_picture
    panels: Callable[..., Image.Image] = panels

    def write(self, run: Run, about: Mapping[str, Any], scored: ScoredImages | None) -> None:
        """Write a run's metrics, tables and pictures, log them, and mark the run as finished.

        Rank zero writes. The other ranks do nothing.

        Args:
            run: the run.
            about: the first entries of `metrics.json`, which describe the run.
            scored: the scored images; None if no images were scored.
        """
        if not distributed.is_rank_zero():
            return
        metrics: dict[str, Any] = {**about, "images": 0, "miou": None}
        pictures: dict[str, bytes] = {}
        if scored is not None:
            evaluation = scored.evaluation
            counts = evaluation.all_pixels.sum(0)
            metrics |= evaluation.figures()
            metrics["intervals"] = self.scorer.intervals(evaluation)
            evaluation.save(run.counts)
            write_confusion(run.folder / "confusion.csv", counts, evaluation.classes)
            confusion = self.confusion_picture(counts, evaluation.classes)
            pictures = {"confusion": encode_png(confusion), "panels": encode_png(np.asarray(self.draw_panels(scored)))}
            for name, picture in pictures.items():
                with atomic_write(run.folder / f"{name}.png") as temporary:
                    temporary.write_bytes(picture)
        values = {f"final/{name}": metrics[name] for name in FINAL_METRICS if metrics.get(name) is not None}
        self.loggers.log_final(values, {f"final_images/{name}": picture for name, picture in pictures.items()})
        if self.per_class:
            write_class_metrics(run.folder / "metrics.csv", metrics)
        run.mark_finished(metrics)

    def reuse(self, run: Run, limit: int) -> bool:
        """Return whether a run has the results that a command asks for; if so, bring its metrics up to date.

        Rank zero recomputes the metrics from the confusion matrices: the confidence intervals may have other settings,
        an earlier version may have written fewer metrics, and an interrupted command older ones.

        Args:
            run: the run.
            limit: the number of images to score. Results of more images do, too.

        Returns:
            Whether the run is finished, and has scored the images with the boundary width of the scorer.
        """
        if not run.scored:
            return False
        if not run.counts.is_file():
            return limit == 0
        evaluation = Evaluation.load(run.counts)
        if limit and (len(evaluation.ids) < limit or evaluation.boundary_width != self.scorer.boundary_width):
            return False
        if distributed.is_rank_zero():
            metrics = read_json(run.metrics)
            current = metrics | evaluation.figures() | {"intervals": self.scorer.intervals(evaluation)}
            if metrics != current:
                write_json(run.metrics, current)
                if self.per_class:
                    write_class_metrics(run.folder / "metrics.csv", current)
        return True

    def draw_panels(self, scored: ScoredImages) -> Image.Image:
        """Draw some scored images with their labels: first evenly spaced images, then the images with the lowest mIoU.

        There are at most `MAX_PANELS` images of each kind. The image with the lowest mIoU comes first in its kind.

        Returns:
            One picture, with a row for each image.
        """
        evaluation = scored.evaluation
        miou = metrics_from_confusion(evaluation.all_pixels)["miou"]
        chosen = [(index, "") for index in evenly_spaced(len(evaluation.ids), MAX_PANELS)]
        chosen += [(index, f"worst {rank}: ") for rank, index in enumerate(evaluation.worst(MAX_PANELS), 1)]
        rows = (
            LabelledImage(
                *scored.lookup(index),
                f"{which}{evaluation.ids[index]}   mIoU {format_number(float_or_none(miou[index]))}",
            )
            for index, which in chosen
        )
        return self.panels(rows, evaluation.classes, scored.palette)


@dataclass(frozen=True)
class ValImages:
    """The val images that a trained model is scored on.

    Attributes:
        images: the data set.
        limit: the maximum number of val images to score. If there are more, evenly spaced images are chosen. 0: no
            image is scored.
        val_group: the setting `data.val_group`, for messages and `metrics.json`: the name of the group of train images
            that replaces the val split. None: the val split is that of the data set.
    """

    images: DatasetIndex
    limit: int
    val_group: str | None = None

    def chosen(self) -> list[int]:
        """Return the indices of the images to score, in ascending order; 0 is the first image of the val split."""
        return evenly_spaced(len(self.images.splits["val"]), self.limit)

    def dataset(self) -> ImageDataset:
        """Return a dataset of the images to score, with their masks."""
        pairs = self.images.splits["val"]
        chosen = [pairs[index] for index in self.chosen()]
        return ImageDataset(chosen, self.images.scheme, decoding=self.images.decoding)

    @property
    def kind(self) -> str:
        """What the images are, for messages: `val`, or the name of their left-out group."""
        return "val" if self.val_group is None else left_out_kind(self.val_group)

    def describe(self) -> dict[str, Any]:
        """Describe the images to score, for the entry `evaluated` of `metrics.json`."""
        pairs = self.images.splits["val"]
        return {
            "data": self.images.name,
            "split": "val",
            **({} if self.val_group is None else {"val_group": str(self.val_group)}),
            "resolution": "original",
            "ids": "all" if self.limit == len(pairs) else [pairs[index].id for index in self.chosen()],
        }


def left_out_kind(group: str) -> str:
    """Say for messages that images are a group of train images that was left out of the training."""
    return f"left-out ({group})"


def score_and_write(
    run: Run, val: ValImages, results: Results, stage: str, monitor: str, load: Callable[[Path], Segmenter]
) -> None:
    """Score the model of a run on val images, write the results and print them.

    If the run already has the metrics of at least `val.limit` images, measured with the same boundary width, the
    metrics are only computed again from the confusion matrices. If the validation of the best epoch has scored the
    images, they are not scored again.

    Args:
        run: the run, whose folder holds the model.
        val: the images to score.
        results: scores the images and writes the results.
        stage: the stage that trained the model.
        monitor: the metric that selected the best epoch.
        load: reads the model from a file and prepares it for inference on this machine.
    """
    if not results.reuse(run, val.limit):
        scored = None
        if val.limit:
            segmenter = load(run.model)
            labeller, validated = LabelPredictor(segmenter, NO_TTA), best_evaluation(run.folder, segmenter)
            scored = results.scorer.score_model(labeller, val.dataset(), val.images, validated)
        evaluated = {"model": run.model.name, **val.describe()}
        results.write(run, {"stage": stage, **best_epoch(run.folder, monitor), "evaluated": evaluated}, scored)
    distributed.barrier()
    print_results(run, f"{stage}: {read_json(run.metrics)['images'] or 'no'} {val.kind} images of {val.images.name}")


def print_results(run: Run, title: str) -> None:
    """Print the metrics of a finished run, and the paths of its model, metrics and panels if these files exist."""
    metrics = read_json(run.metrics)
    files = {"model": run.model, "metrics": run.metrics, "panels": run.panels}
    print_metrics(metrics, title, {name: path for name, path in files.items() if path.is_file()})
