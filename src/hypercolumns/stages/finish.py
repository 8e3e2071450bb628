"""The end of a training: the model, its figures and pictures, and what a person sees."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Subset

from hypercolumns.data import Example, ImageSet
from hypercolumns.data.images import ImageDataset, collate
from hypercolumns.files import read_json
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build, report
from hypercolumns.stages.evaluation import evaluate
from hypercolumns.stages.runs import Run


def finish(
    cfg: DictConfig,
    run: Run,
    segmenter: Segmenter,
    images: ImageSet,
    trainer: pl.Trainer,
    best: Mapping[str, Any],
    limit: int,
) -> float | None:
    """Write the model, score it on `limit` val images, mark the run as finished; returns the mIoU.

    `best` is what is known of the epoch that the model is of.
    """
    segmenter.save(run.model)
    pairs = images.splits["val"]
    chosen = torch.linspace(0, len(pairs) - 1, limit).round().int().tolist() if limit < len(pairs) else range(len(pairs))
    dataset = Subset(ImageDataset(pairs, images.palette, len(images.classes)), list(chosen))
    figures: dict[str, Any] = {
        "stage": cfg.stage,
        "miou": None,
        **best,
        "images": limit,
        "evaluated": {
            "model": run.model.name,
            "data": images.name,
            "split": "val",
            "resolution": "original",
            "ids": "all" if limit == len(pairs) else [pairs[index].id for index in chosen],
        },
    }
    if limit:
        loader: DataLoader[Example] = DataLoader(dataset, num_workers=cfg.num_workers, collate_fn=collate)
        figures |= evaluate(segmenter, loader, trainer.strategy.root_device).as_dict(images.classes)
        report.write_panels(
            run.folder / "overlay.png", segmenter, [dataset[index] for index in range(min(report.PANELS, limit))]
        )
    if trainer.logger is not None:
        trainer.logger.log_hyperparams(  # type: ignore[call-arg]
            _flat(build.plain(cfg)), {"final/miou": figures["miou"]} if limit else {}
        )
        trainer.logger.finalize("success")
    run.finish(figures)
    return show_finished(run, cfg.stage)


def show_finished(run: Run, stage: str) -> float | None:
    """Print the figures of a finished run; returns the mIoU."""
    figures = read_json(run.metrics)
    paths = {"model": run.model, "metrics": run.metrics, "overlay": run.folder / "overlay.png"}
    title = f"{stage}: {figures['images']} val images of {figures['evaluated']['data']}"
    report.show(figures, title, {name: path for name, path in paths.items() if path.is_file()})
    miou: float | None = figures["miou"]
    return miou


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"group.name": value}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
