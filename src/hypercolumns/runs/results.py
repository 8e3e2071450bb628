"""The end of a run: its figures, tables and pictures, and what a person sees."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from hypercolumns.callbacks.tensorboard import EventLogger
from hypercolumns.data import ImageSet
from hypercolumns.data.modules.images import ImageDataset
from hypercolumns.evaluation import Evaluation, intervals
from hypercolumns.evaluation.metrics import number, ratios
from hypercolumns.io.files import read_json, replacing, write_json
from hypercolumns.io.images import Palette, png
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.slices import spread
from hypercolumns.models.tta import ONE
from hypercolumns.reports import tables
from hypercolumns.runs.hyperparameters import hyperparameters
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import score
from hypercolumns.runtime import distributed
from hypercolumns.settings import build
from hypercolumns.tasks import Labeller
from hypercolumns.visualization.panels import Labelled, panels
from hypercolumns.visualization.plots import confusion_picture

FINAL = "miou boundary_miou pixel_accuracy mean_accuracy frequency_weighted_iou".split()
SHOWN = 4  # images of each kind in panels.png

Look = Callable[[int], tuple[Tensor | None, Tensor, Tensor]]


class Scored(NamedTuple):
    """An evaluation, and what it takes to look at its images.

    `look` gives, of the image of a number, its pixels (3, H, W) uint8 if there are any, its true and its predicted
    class indices (H, W).
    """

    evaluation: Evaluation
    look: Look
    palette: Palette


def finish(cfg: DictConfig, run: Run, images: ImageSet, limit: int, also: Mapping[str, Any]) -> None:
    """Score a trained run's model on `limit` val images, and write all there is to see of it.

    A run that is finished already, with as many images or more, is only shown. `also` are settings that it was trained
    with, other than those of the config.
    """
    fold = cfg.data.get("fold")  # the group of train images that is validated on, in place of the set's own val images
    if not _is_scored(cfg, run, limit):
        pairs = images.splits["val"]
        chosen = spread(len(pairs), limit)
        scored = None
        if limit:
            segmenter = Segmenter.load(run.model)
            build.tune(segmenter, cfg)
            dataset = ImageDataset([pairs[index] for index in chosen], images.palette, len(images.classes))
            scored = score_model(cfg, Labeller(segmenter, ONE), dataset, images)
        evaluated = {
            "model": run.model.name,
            "data": images.name,
            "split": "val",
            **({} if fold is None else {"fold": str(fold)}),
            "resolution": "original",
            "ids": "all" if limit == len(pairs) else [pairs[index].id for index in chosen],
        }
        figures = {"stage": cfg.stage, **build.best(run.folder, cfg.monitor), "evaluated": evaluated}
        conclude(cfg, run, figures, scored, hyperparameters(cfg, also))
    else:
        update_intervals(cfg, run)
    distributed.wait()
    which = "val" if fold is None else f"left-out ({fold})"
    show(run, f"{cfg.stage}: {read_json(run.metrics)['images'] or 'no'} {which} images of {images.name}")


def _is_scored(cfg: DictConfig, run: Run, limit: int) -> bool:
    """Whether a run has the figures that are asked for, of `limit` images or more."""
    if not run.scored:
        return False
    figures = read_json(run.metrics)
    kept = run.counts.is_file() and figures.get("boundary_width") == cfg.boundary
    return bool(figures["images"] >= limit and (kept or not figures["images"]))


def score_model(cfg: DictConfig, labeller: nn.Module, dataset: ImageDataset, images: ImageSet) -> Scored:
    """How a model labels the images of a dataset."""
    device = distributed.device(cfg)

    def look(index: int) -> tuple[Tensor, Tensor, Tensor]:
        image, mask, *_ = dataset[index]
        with torch.inference_mode():
            labels = labeller.to(device)(image[None].to(device))[0].cpu()
        return (image * 255).round().byte(), mask, labels

    return Scored(score(cfg, labeller, dataset, images.classes), look, images.palette)


def conclude(
    cfg: DictConfig, run: Run, about: Mapping[str, Any], scored: Scored | None, settings: Mapping[str, Any]
) -> None:
    """Write a run's figures, tables and pictures, to its folder and for TensorBoard, and mark it as finished.

    The first process does so, the others nothing.

    `about` goes into `metrics.json` before the figures, `settings` into TensorBoard's table of hyperparameters.
    """
    if not distributed.is_first():
        return
    figures: dict[str, Any] = {**about, "images": 0, "miou": None}
    pictures: dict[str, bytes] = {}
    if scored is not None:
        evaluation = scored.evaluation
        counts = evaluation.everywhere.sum(0)
        figures |= evaluation.figures()
        figures["intervals"] = intervals(evaluation, cfg.groups, cfg.bootstrap, cfg.seed)
        evaluation.save(run.counts)
        tables.write_confusion(run.folder / "confusion.csv", counts, evaluation.classes)
        confusion = confusion_picture(counts, evaluation.classes)
        pictures = {"confusion": png(confusion), "panels": png(np.asarray(_panels(scored)))}
        for name, picture in pictures.items():
            with replacing(run.folder / f"{name}.png") as temporary:
                temporary.write_bytes(picture)
    logger = instantiate(cfg.logger, save_dir=str(run.events))
    values = {f"final/{name}": figures[name] for name in FINAL if figures.get(name) is not None}
    logger.log_hyperparams(dict(settings), values)
    if cfg.stage == "evaluate":  # a training's metrics.csv has its epochs
        tables.write_classes(run.folder / "metrics.csv", figures)
    if isinstance(logger, EventLogger):
        for name, picture in pictures.items():
            logger.log_picture(f"final_images/{name}", picture)
    logger.finalize("success")
    run.finish(figures)


def update_intervals(cfg: DictConfig, run: Run) -> None:
    """Bring the intervals of a run that was finished before in line with the settings, in the first process."""
    if distributed.is_first() and run.counts.is_file():
        figures = read_json(run.metrics)
        uncertainty = intervals(Evaluation.load(run.counts), cfg.groups, cfg.bootstrap, cfg.seed)
        if figures.get("intervals", {}) != uncertainty:
            figures["intervals"] = uncertainty
            write_json(run.metrics, figures)
            if cfg.stage == "evaluate":
                tables.write_classes(run.folder / "metrics.csv", figures)


def show(run: Run, title: str) -> None:
    """Print a finished run's figures and where its files are."""
    figures = read_json(run.metrics)
    files = {"model": run.model, "metrics": run.metrics, "panels": run.panels}
    tables.show(figures, title, {name: path for name, path in files.items() if path.is_file()})


def _panels(scored: Scored) -> Image.Image:
    """A picture of some images, evenly spread, and of the worst."""
    evaluation = scored.evaluation
    miou = ratios(evaluation.everywhere)["miou"]
    chosen = [(index, "") for index in spread(len(evaluation.ids), SHOWN)]
    chosen += [(index, f"worst {rank}: ") for rank, index in enumerate(evaluation.worst(SHOWN), 1)]
    rows = [
        Labelled(*scored.look(index), f"{which}{evaluation.ids[index]}   mIoU {tables.number(number(miou[index]))}")
        for index, which in chosen
    ]
    return panels(rows, evaluation.classes, scored.palette)
