"""Stage evaluate: score a finished model or predicted masks by comparison with the true masks of a split."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig
from torch import Tensor, nn

from hypercolumns.data import DatasetIndex, PredictionDataset, mask_pairs
from hypercolumns.data.class_files import class_list
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.datasets.voc import CLASSES
from hypercolumns.data.index import ImageMaskPair, check_present, make_index
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.data.pairing import find_mask
from hypercolumns.data.predictions import check_names
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import AS_STORED
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.io.images import read_image, set_max_pixels
from hypercolumns.models import model_file
from hypercolumns.models.overlap_agreement import OverlapAgreement
from hypercolumns.prediction.outputs import OUTPUTS
from hypercolumns.runs.results import left_out_kind, print_results
from hypercolumns.runs.run import Run
from hypercolumns.runs.score import ScoredImages, Scorer
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.settings import training
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.data import decide_labels, image_index
from hypercolumns.settings.hyperparameters import words
from hypercolumns.settings.inference import quiet_libraries, test_time_augmentation
from hypercolumns.settings.loggers import check_loggers, run_loggers
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.model import check_classes, folder_name, trained_model
from hypercolumns.tasks import LabelPredictor

ALL = "given"  # name of the split that all masks in the folder `masks` form


class Subject(NamedTuple):
    """The model or the predicted masks to evaluate, and the images to evaluate them on.

    Attributes:
        images: the data set, reduced to the split to score.
        split: the name of the split.
        cnn: the name <cnn> in the path of the run, <runs>/<data>/<cnn>/evaluate.
        about: the entries of the run's fingerprint that describe the model and its use, by name; {} for masks.
        name: the path of the model, or of the folder of predicted masks, for messages and tables.
        score: takes a scorer, scores the images by it, and returns the scores.
    """

    images: DatasetIndex
    split: str
    cnn: str
    about: dict[str, Any]
    name: str
    score: Callable[[Scorer], ScoredImages]


def evaluate(cfg: DictConfig) -> Run:
    """Score a model or predicted masks on a split, write the results of the run, and return the run.

    Raises:
        HypercolumnsError: if both or neither of `model` and `predictions` are set, if `masks` is set without
            `predictions`, or if the model or the predicted masks do not fit the data set.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    check_loggers(cfg)
    if (cfg.model is None) == (cfg.predictions is None):
        raise HypercolumnsError(
            "stage=evaluate needs either model=<the model.safetensors of a finished run> or predictions=<a folder of "
            "predicted masks>; give one of the two, and not both"
        )
    if cfg.masks is not None and cfg.predictions is None:
        raise HypercolumnsError(
            "masks= needs predictions=<a folder of predicted masks>; to score a model, leave out masks= and choose the "
            "images and their true masks by data="
        )
    subject = _model(cfg) if cfg.predictions is None else _masks(cfg)
    images, split, about = subject.images, subject.split, subject.about
    group = cfg.data.get("val_group") if split == "val" else None
    left_out = {} if group is None else {"val_group": str(group)}
    fingerprint = {"data": images.fingerprint(), "boundary": cfg.boundary_width, **about}
    parent = local_path(cfg, "runs") / images.name / subject.cnn / "evaluate"
    columns = words({"stage": "evaluate", "split": split, "what": subject.name, **about})
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, columns) as loggers,
    ):
        results = training.results(cfg, loggers)
        if not results.reuse(run, len(images.splits[split])):
            loggers.open()
            resolution = {"split": split, "resolution": "original"}
            evaluated = {"what": subject.name, "data": images.name, **resolution, **about, **left_out}
            results.write(run, {"stage": "evaluate", "evaluated": evaluated}, subject.score(results.scorer))
        distributed.barrier()
        kind = split if group is None else left_out_kind(group)
        print_results(run, f"{subject.name}: {len(images.splits[split])} {kind} images of {images.name}")
    return run


def _model(cfg: DictConfig) -> Subject:
    """Load the model that `model` names, to score it on the images of the split, which are read by its rules."""
    with setting_prefix("model="):
        path = model_file.find_model(expand_path("model", cfg.model))
    segmenter = trained_model(cfg)
    images = _of_split(image_index(cfg, segmenter.decoding), cfg.split)
    check_classes(segmenter, images, f"model={expand_path('model', cfg.model)}")
    segmenter.override_decoding(images.decoding)  # refuses images with other channels than those of the model
    tta = test_time_augmentation(cfg)
    about = {"model": file_hash(path)[:16], "tta": dataclasses.asdict(tta), "precision": cfg.trainer.precision}

    def score(scorer: Scorer) -> ScoredImages:
        dataset = ImageDataset(images.splits[cfg.split], images.scheme, decoding=images.decoding)
        agreement = segmenter.extractor.agreement = OverlapAgreement(segmenter.classifier)
        scored = scorer.score_model(LabelPredictor(segmenter, tta), dataset, images)
        if agreement.pixels:
            console.print(agreement.message, markup=False)
        return scored

    return Subject(images, cfg.split, folder_name(cfg, segmenter), about, str(path), score)


def _masks(cfg: DictConfig) -> Subject:
    """Find the predicted masks in the folder `predictions`, to score them against `masks` or the masks of `data`."""
    predictions = expand_path("predictions", cfg.predictions)
    split = cfg.split if cfg.masks is None else ALL
    if cfg.masks is not None:
        images, originals, decoding = _mask_set(cfg, predictions), {}, AS_STORED
    else:
        given = _of_split(image_index(cfg), cfg.split)
        pairs, decoding = given.splits[cfg.split], given.decoding
        originals = {pair.id: pair.image for pair in pairs}
        predicted = [ImageMaskPair(pair.id, find_mask([predictions], pair.id), pair.mask) for pair in pairs]
        images = dataclasses.replace(given, splits={cfg.split: tuple(predicted)})
    outputs = {predictions / output.file(pair.id) for pair in images.splits[split] for output in OUTPUTS.values()}
    check_names(images.splits[split], outputs)  # an overlay that predict.py wrote is no mask
    check_present(images)

    def score(scorer: Scorer) -> ScoredImages:
        dataset = PredictionDataset(images.splits[split], images.scheme)

        def lookup(index: int) -> tuple[Tensor | None, Tensor, Tensor]:
            labels, mask, id, _ = dataset[index]
            image = read_image(originals[id], mask.shape, decoding) if id in originals else None
            return image, mask, labels

        return ScoredImages(scorer.score(nn.Identity(), dataset, images.classes), lookup, images.palette)

    return Subject(images, split, "predictions", {}, str(predictions), score)


def _of_split(images: DatasetIndex, split: str) -> DatasetIndex:
    """Return the data set with one split only; raise HypercolumnsError if it does not have this split."""
    if split not in images.splits:
        splits = ", ".join(images.splits)
        raise HypercolumnsError(f"split={split} is not a split of data {images.name}; choose one of {splits}")
    return dataclasses.replace(images, splits={split: images.splits[split]})


def _mask_set(cfg: DictConfig, predictions: Path) -> DatasetIndex:
    """Pair each true mask in the folder `masks` with the predicted mask of the same name in the folder `predictions`.

    Return the pairs as a data set with the split `ALL`. The settings `data` give the classes and their colours.
    """
    set_max_pixels(cfg.max_pixels)
    pairs = mask_pairs(predictions, expand_path("masks", cfg.masks))
    if cfg.data.get("classes") is None and cfg.data.kind != "voc":
        raise HypercolumnsError(
            "masks= needs the names of the classes; give data.classes=<a text file with one class name per line> and "
            "data=folder"
        )
    with setting_prefix("data."):
        given = cfg.data.get("classes")
        classes = class_list(ClassList.of_voc(CLASSES) if given is None else given, cfg.data.get("palette"))
        images = make_index(cfg.data.get("name") or "masks", classes, {ALL: pairs})
    return decide_labels(cfg, images, all_classes=False)[0]
