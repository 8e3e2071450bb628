"""The end of a run: its figures, tables and pictures, and what a person sees."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from hypercolumns.callbacks.tensorboard import ImageTensorBoardLogger
from hypercolumns.data import DatasetIndex
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.evaluation import Evaluation, intervals
from hypercolumns.evaluation.metrics import float_or_none, metrics_from_confusion
from hypercolumns.io.files import atomic_write, read_json, write_json
from hypercolumns.io.images import encode_png
from hypercolumns.labels import Palette
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA
from hypercolumns.reports import tables
from hypercolumns.runs.hyperparameters import hyperparameters
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import score_images
from hypercolumns.runtime import distributed
from hypercolumns.settings import build
from hypercolumns.tasks import LabelPredictor
from hypercolumns.visualization.panels import LabelledImage, evenly_spaced, panels
from hypercolumns.visualization.plots import confusion_picture

FINAL_METRICS = "miou boundary_miou pixel_accuracy mean_accuracy frequency_weighted_iou".split()
MAX_PANELS = 4  # images of each kind in panels.png

ImageLookup = Callable[[int], tuple[Tensor | None, Tensor, Tensor]]


class ScoredImages(NamedTuple):
    """An evaluation, and what it takes to look at its images.

    `look` gives, of the image of a number, its pixels (3, H, W) uint8 if there are any, its true and its predicted
    class indices (H, W).
    """

    evaluation: Evaluation
    look: ImageLookup
    palette: Palette


def score_and_write(cfg: DictConfig, run: Run, images: DatasetIndex, limit: int, also: Mapping[str, Any]) -> None:
    """Score a trained run's model on `limit` val images, and write all there is to see of it.

    A run that is finished already, with as many images or more, is only shown. `also` are settings that it was trained
    with, other than those of the config.
    """
    val_group = cfg.data.get("val_group")  # of train images, in place of the set's own val images
    if not _is_scored(cfg, run, limit):
        pairs = images.splits["val"]
        chosen = evenly_spaced(len(pairs), limit)
        scored = None
        if limit:
            segmenter = Segmenter.load(run.model)
            build.configure_inference(segmenter, cfg)
            dataset = ImageDataset([pairs[index] for index in chosen], images.palette, len(images.classes))
            scored = score_model(cfg, LabelPredictor(segmenter, NO_TTA), dataset, images)
        evaluated = {
            "model": run.model.name,
            "data": images.name,
            "split": "val",
            **({} if val_group is None else {"val_group": str(val_group)}),
            "resolution": "original",
            "ids": "all" if limit == len(pairs) else [pairs[index].id for index in chosen],
        }
        figures = {"stage": cfg.stage, **build.best(run.folder, cfg.monitor), "evaluated": evaluated}
        write_results(cfg, run, figures, scored, hyperparameters(cfg, also))
    else:
        refresh_intervals(cfg, run)
    distributed.barrier()
    which = "val" if val_group is None else f"left-out ({val_group})"
    print_results(run, f"{cfg.stage}: {read_json(run.metrics)['images'] or 'no'} {which} images of {images.name}")


def _is_scored(cfg: DictConfig, run: Run, limit: int) -> bool:
    """Whether a run has the figures that are asked for, of `limit` images or more."""
    if not run.scored:
        return False
    figures = read_json(run.metrics)
    kept = run.counts.is_file() and figures.get("boundary_width") == cfg.boundary
    return bool(figures["images"] >= limit and (kept or not figures["images"]))


def score_model(cfg: DictConfig, labeller: nn.Module, dataset: ImageDataset, images: DatasetIndex) -> ScoredImages:
    """How a model labels the images of a dataset."""
    device = distributed.device(cfg)

    def look(index: int) -> tuple[Tensor, Tensor, Tensor]:
        image, mask, *_ = dataset[index]
        with torch.inference_mode():
            labels = labeller.to(device)(image[None].to(device))[0].cpu()
        return (image * 255).round().byte(), mask, labels

    return ScoredImages(score_images(cfg, labeller, dataset, images.classes), look, images.palette)


def write_results(
    cfg: DictConfig, run: Run, about: Mapping[str, Any], scored: ScoredImages | None, settings: Mapping[str, Any]
) -> None:
    """Write a run's figures, tables and pictures, to its folder and for TensorBoard, and mark it as finished.

    The first process does so, the others nothing.

    `about` goes into `metrics.json` before the figures, `settings` into TensorBoard's table of hyperparameters.
    """
    if not distributed.is_rank_zero():
        return
    figures: dict[str, Any] = {**about, "images": 0, "miou": None}
    pictures: dict[str, bytes] = {}
    if scored is not None:
        evaluation = scored.evaluation
        counts = evaluation.all_pixels.sum(0)
        figures |= evaluation.figures()
        figures["intervals"] = intervals(evaluation, cfg.groups, cfg.bootstrap, cfg.seed)
        evaluation.save(run.counts)
        tables.write_confusion(run.folder / "confusion.csv", counts, evaluation.classes)
        confusion = confusion_picture(counts, evaluation.classes)
        pictures = {"confusion": encode_png(confusion), "panels": encode_png(np.asarray(_panels(scored)))}
        for name, picture in pictures.items():
            with atomic_write(run.folder / f"{name}.png") as temporary:
                temporary.write_bytes(picture)
    logger = instantiate(cfg.logger, save_dir=str(run.events))
    values = {f"final/{name}": figures[name] for name in FINAL_METRICS if figures.get(name) is not None}
    logger.log_hyperparams(dict(settings), values)
    if cfg.stage == "evaluate":  # a training's metrics.csv has its epochs
        tables.write_classes(run.folder / "metrics.csv", figures)
    if isinstance(logger, ImageTensorBoardLogger):
        for name, picture in pictures.items():
            logger.log_picture(f"final_images/{name}", picture)
    logger.finalize("success")
    run.finish(figures)


def refresh_intervals(cfg: DictConfig, run: Run) -> None:
    """Bring the intervals of a run that was finished before in line with the settings, in the first process."""
    if distributed.is_rank_zero() and run.counts.is_file():
        figures = read_json(run.metrics)
        uncertainty = intervals(Evaluation.load(run.counts), cfg.groups, cfg.bootstrap, cfg.seed)
        if figures.get("intervals", {}) != uncertainty:
            figures["intervals"] = uncertainty
            write_json(run.metrics, figures)
            if cfg.stage == "evaluate":
                tables.write_classes(run.folder / "metrics.csv", figures)


def print_results(run: Run, title: str) -> None:
    """Print a finished run's figures and where its files are."""
    figures = read_json(run.metrics)
    files = {"model": run.model, "metrics": run.metrics, "panels": run.panels}
    tables.print_metrics(figures, title, {name: path for name, path in files.items() if path.is_file()})


def _panels(scored: ScoredImages) -> Image.Image:
    """A picture of some images, evenly spread, and of the worst."""
    evaluation = scored.evaluation
    miou = metrics_from_confusion(evaluation.all_pixels)["miou"]
    chosen = [(index, "") for index in evenly_spaced(len(evaluation.ids), MAX_PANELS)]
    chosen += [(index, f"worst {rank}: ") for rank, index in enumerate(evaluation.worst(MAX_PANELS), 1)]
    rows = [
        LabelledImage(
            *scored.look(index),
            f"{which}{evaluation.ids[index]}   mIoU {tables.format_number(float_or_none(miou[index]))}",
        )
        for index, which in chosen
    ]
    return panels(rows, evaluation.classes, scored.palette)
