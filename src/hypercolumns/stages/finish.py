"""The end of a training: the model, its figures and pictures, and what a person sees."""

from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Subset

from hypercolumns.data import Example, ImageSet
from hypercolumns.data.images import ImageDataset, collate
from hypercolumns.files import read_json
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build, report
from hypercolumns.stages.evaluation import evaluate
from hypercolumns.stages.runs import Run


def finish(cfg: DictConfig, run: Run, images: ImageSet, limit: int) -> None:
    """Score a trained run's model on `limit` val images, and write all there is to see of it.

    A run that is finished already, with as many images or more, is only shown.
    """
    if not run.finished or read_json(run.metrics)["images"] < limit:
        figures = _score(cfg, run, images, limit)
        logger = instantiate(cfg.logger, save_dir=str(run.folder))
        logger.log_hyperparams(
            _flat(build.plain(cfg)), {} if figures["miou"] is None else {"final/miou": figures["miou"]}
        )
        logger.finalize("success")
        run.finish(figures)
    figures = read_json(run.metrics)
    paths = {"model": run.model, "metrics": run.metrics, "overlay": run.overlay}
    title = f"{cfg.stage}: {figures['images'] or 'no'} val images of {images.name}"
    report.show(figures, title, {name: path for name, path in paths.items() if path.is_file()})


def _score(cfg: DictConfig, run: Run, images: ImageSet, limit: int) -> dict[str, Any]:
    """The figures for `metrics.json`; writes the overlay picture too."""
    pairs = images.splits["val"]
    chosen = _spread(len(pairs), limit)
    figures: dict[str, Any] = {
        "stage": cfg.stage,
        "miou": None,
        **build.best(run.folder, cfg.monitor),
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
        segmenter = Segmenter.load(run.model)
        build.tune(segmenter, cfg)
        dataset = Subset(ImageDataset(pairs, images.palette, len(images.classes)), chosen)
        loader: DataLoader[Example] = DataLoader(dataset, num_workers=cfg.num_workers, collate_fn=collate)
        figures |= evaluate(segmenter, loader, build.device(cfg)).as_dict(images.classes)
        shown = _spread(limit, min(report.PANELS, limit))
        report.write_panels(run.overlay, segmenter, [dataset[index] for index in shown])
    return figures


def _spread(count: int, chosen: int) -> list[int]:
    """So many of the numbers from 0 to count - 1, evenly spread."""
    numbers: list[int] = torch.linspace(0, count - 1, chosen).round().int().tolist()
    return numbers


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"group.name": value}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
