"""Stage evaluate: a finished model, or ready-made masks, against the true masks of a split."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor, nn

from hypercolumns.data import DatasetIndex, PredictionDataset, mask_pairs
from hypercolumns.data.datasets.voc import CLASSES
from hypercolumns.data.image_set import (
    ImageMaskPair,
    check_present,
    make_index,
    read_classes,
    read_palette,
)
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.io.images import read_image
from hypercolumns.models import model_file
from hypercolumns.runs import run as runs
from hypercolumns.runs.hyperparameters import words
from hypercolumns.runs.results import (
    ScoredImages,
    print_results,
    refresh_intervals,
    score_model,
    write_results,
)
from hypercolumns.runs.score import score_images
from hypercolumns.runtime import distributed
from hypercolumns.settings import build
from hypercolumns.tasks import LabelPredictor

ALL = "given"  # in place of a split, where masks are in a folder


def evaluate(cfg: DictConfig) -> runs.Run:
    """Score, and write all there is to see of it; returns the run.

    Raises HypercolumnsError if the settings name no model and no predictions, or both, or what does not fit the data.
    """
    build.check_settings(cfg)
    if (cfg.model is None) == (cfg.predictions is None):
        raise HypercolumnsError(
            "stage=evaluate needs model=<the model.safetensors of a finished run>, or predictions=<a folder of masks>"
        )
    if cfg.masks is not None and cfg.predictions is None:
        raise HypercolumnsError("masks= goes with predictions=; a model is scored on the images and masks of data=")
    return _evaluate_model(cfg) if cfg.predictions is None else _evaluate_masks(cfg)


def _evaluate_model(cfg: DictConfig) -> runs.Run:
    with setting_prefix("model="):
        path = model_file.find_model(expand_path("model", cfg.model))
    images = _of_split(build.image_set(cfg), cfg.split)
    segmenter = build.model(cfg, images)
    tta = build.test_time_augmentation(cfg)
    network = segmenter.backbone.network
    cnn = cfg.cnn.name if cfg.cnn.network == network else network.replace("/", "-")
    about = {"model": file_hash(path)[:16], "tta": dataclasses.asdict(tta), "precision": cfg.trainer.precision}

    def scored() -> ScoredImages:
        dataset = ImageDataset(images.splits[cfg.split], images.palette, len(images.classes))
        return score_model(cfg, LabelPredictor(segmenter, tta), dataset, images)

    return _finish(cfg, images, cfg.split, str(cnn), about, str(path), scored)


def _evaluate_masks(cfg: DictConfig) -> runs.Run:
    predictions = expand_path("predictions", cfg.predictions)
    split = cfg.split if cfg.masks is None else ALL
    if cfg.masks is not None:
        images, originals = _mask_set(cfg, predictions), {}
    else:
        given = _of_split(build.image_set(cfg), cfg.split)
        pairs = given.splits[cfg.split]
        originals = {pair.id: pair.image for pair in pairs}
        predicted = [ImageMaskPair(pair.id, predictions / f"{pair.id}.png", pair.mask) for pair in pairs]
        images = make_index(given.name, given.classes, given.palette, {cfg.split: predicted})
    check_present(images)

    def scored() -> ScoredImages:
        dataset = PredictionDataset(images.splits[split], images.palette, len(images.classes))

        def look(index: int) -> tuple[Tensor | None, Tensor, Tensor]:
            labels, mask, id, _ = dataset[index]
            image = read_image(originals[id], mask.shape) if id in originals else None
            return image, mask, labels

        return ScoredImages(score_images(cfg, nn.Identity(), dataset, images.classes), look, images.palette)

    return _finish(cfg, images, split, "predictions", {}, str(predictions), scored)


def _finish(
    cfg: DictConfig,
    images: DatasetIndex,
    split: str,
    cnn: str,
    about: dict[str, Any],
    what: str,
    scored: Callable[[], ScoredImages],
) -> runs.Run:
    identity = {"data": images.fingerprint(), "boundary": cfg.boundary, **about}
    with runs.Run.begin(cfg, runs.local_path(cfg, "runs") / images.name / cnn / "evaluate", identity) as run:
        title = f"{what}: {len(images.splits[split])} {split} images of {images.name}"
        if not run.scored:
            evaluated = {"what": what, "data": images.name, "split": split, "resolution": "original", **about}
            settings = {"stage": "evaluate", "split": split, "what": what, **about}
            write_results(cfg, run, {"stage": "evaluate", "evaluated": evaluated}, scored(), words(settings))
        else:
            refresh_intervals(cfg, run)
        distributed.barrier()
        print_results(run, title)
    return run


def _of_split(images: DatasetIndex, split: str) -> DatasetIndex:
    """The images of one split alone."""
    if split not in images.splits:
        raise HypercolumnsError(f"split={split} is not known; choose one of {', '.join(images.splits)}")
    return dataclasses.replace(images, splits={split: images.splits[split]})


def _mask_set(cfg: DictConfig, predictions: Path) -> DatasetIndex:
    """The masks in the folder that `masks` names, each with the prediction of its name in place of an image."""
    pairs = mask_pairs(predictions, expand_path("masks", cfg.masks))
    if cfg.data.get("classes") is not None:
        classes = read_classes(cfg.data.classes)
    elif cfg.data.kind == "voc":
        classes = list(CLASSES)
    else:
        raise HypercolumnsError(
            "masks= needs the names of the classes: data.classes=<a file, one a line>, with data=voc or data=folder"
        )
    palette = read_palette(cfg.data.get("palette"), len(classes))
    return make_index(cfg.data.get("name") or "masks", classes, palette, {ALL: pairs})
