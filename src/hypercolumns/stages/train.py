"""Stage train: images and a pretrained classifier in, the complete model out."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from hypercolumns.data import DatasetIndex, Example, ImageDataModule
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.io.images import IGNORE_INDEX
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs import run as runs
from hypercolumns.runs.results import score_and_write
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import Sampler, UniformSampler
from hypercolumns.settings import build
from hypercolumns.tasks import SegmentationTask

SCRATCH = "scratch"
STATISTICS_IMAGES, STATISTICS_PIXELS = 100, 200  # what mean and std come from, where there are no samples


def train(cfg: DictConfig) -> runs.Run:
    """Train the segmenter and score it on the val images; returns the run."""
    build.check_settings(cfg)
    images = build.image_set(cfg)
    start = _named_start(cfg)
    if cfg.start_share and cfg.init_from == SCRATCH:
        raise HypercolumnsError(
            f"start_share={cfg.start_share} keeps some of the weights of a trained model, and with init_from=scratch "
            f"there is none; use start_share=null, or leave out init_from=scratch"
        )
    with setting_prefix("init_from="):
        like = Segmenter.load(start).backbone if start else None
    backbone = build.backbone(cfg, like=like)
    wanted = runs.shared_settings(cfg, images, backbone)
    if cfg.init_from is None:
        shape = {"classifier": _shape(build.identified(build.plain(cfg.classifier)))}
        own = runs.sweep_requirements(cfg, images, wanted)
        start = runs.find_pretrained(cfg, images, wanted | shape | own).model
    identity = wanted | {
        "trainable": cfg.cnn.trainable,
        "start": hashlib.sha256(start.read_bytes()).hexdigest()[:16] if start else SCRATCH,
        **runs.result_settings(cfg, "train"),
    }
    with runs.Run.begin(cfg, runs.stage_dir(cfg, images, "train"), identity) as run:
        if not run.model.is_file():
            console.print(f"train: from {start or 'scratch'}", markup=False)
            _train(cfg, images, backbone, start, run)
        score_and_write(cfg, run, images, len(images.splits["val"]), {})
    return run


def _train(cfg: DictConfig, images: DatasetIndex, backbone: Backbone, start: Path | None, run: runs.Run) -> None:
    data = build.image_data(cfg, images)
    classifier = _from_scratch(cfg, backbone, data) if start is None else _from_model(start, backbone, images, cfg)
    segmenter = build.segmenter(cfg, backbone, classifier, images)
    begun = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()} if cfg.start_share else {}
    build.configure_inference(segmenter, cfg)
    if distributed.is_distributed():
        with setting_prefix("cnn."):
            backbone.to(distributed.device(cfg)).synchronize_batch_norm()
    task = SegmentationTask(
        segmenter,
        sampler=_sampler(cfg),
        loss=build.loss(cfg, partial(_count, cfg, data)),
        seed=cfg.seed,
        **build.optimization(cfg),
    )
    build.fit(cfg, task, data, segmenter, run.folder, run.events)
    if cfg.start_share:
        _keep_share_of_start(segmenter, begun, cfg.start_share)
    run.save(segmenter)


def _keep_share_of_start(segmenter: Segmenter, begun: Mapping[str, Tensor], share: float) -> None:
    """Give the weights a share of those that the training began with.

    Wortsman et al., Robust fine-tuning of zero-shot models (CVPR 2022), equation 1, with alpha = 1 - share.
    """
    for name, tensor in segmenter.state_dict().items():
        if tensor.is_floating_point():  # not a count of batches
            tensor.lerp_(begun[name].to(tensor), share)


def _sampler(cfg: DictConfig) -> Sampler | None:
    """What the setting `pixels` means."""
    if cfg.pixels == "all":
        return None
    if cfg.pixels == runs.SAMPLER:
        chosen: Sampler = build.part("sampler", cfg.sampler)
        return chosen
    if isinstance(cfg.pixels, int) and cfg.pixels > 0:
        return UniformSampler(cfg.pixels)
    raise HypercolumnsError(f"pixels={cfg.pixels} must be all, a number of pixels an image, or {runs.SAMPLER}")


def _named_start(cfg: DictConfig) -> Path | None:
    """The model that `init_from` names, if it names one."""
    if cfg.init_from in (None, SCRATCH):
        return None
    with setting_prefix("init_from="):
        return model_file.find_model(expand_path("init_from", cfg.init_from))


def _from_model(path: Path, backbone: Backbone, images: DatasetIndex, cfg: DictConfig) -> Classifier:
    """A classifier with the weights of a model's; refused if the model does not fit."""
    with setting_prefix("init_from="):
        model = Segmenter.load(path)
    classifier = build.classifier(cfg, model.backbone.channels, len(model.classes))
    wanted_extractor = build.extractor(cfg, backbone, build.resize(cfg))
    found, wanted = (
        {
            "cnn": part.fingerprint(),
            **extraction,
            "classes": classes,
            "classifier": _shape({"kind": head.kind, **head.settings()}),
        }
        for part, extraction, classes, head in (
            (model.backbone, model.extractor.settings(), model.classes, model.classifier),
            (backbone, wanted_extractor.settings(), images.classes, classifier),
        )
    )
    differing = runs.differences(found, wanted)
    if differing:
        raise HypercolumnsError(f"init_from={path} does not fit: {'; '.join(differing)}; choose another model")
    classifier.load_state_dict(model.classifier.state_dict())
    mean, std = (classifier.get_buffer(name).clone() for name in ("mean", "std"))
    classifier.set_statistics(mean, std)  # models of older versions may have a std of 0
    return classifier


def _shape(classifier: Mapping[str, Any]) -> dict[str, Any]:
    """Of a classifier's settings, those that decide which weights it has."""
    return {name: value for name, value in classifier.items() if name != "dropout"}


def _from_scratch(cfg: DictConfig, backbone: Backbone, data: ImageDataModule) -> Classifier:
    """A new classifier, standardised by pixels of some training images: labelled ones, where an image has enough."""
    extractor = build.extractor(cfg, backbone)
    dataset = data.dataset("train")
    order = torch.randperm(len(dataset), generator=randomness.generator(cfg.seed, "statistics"))[:STATISTICS_IMAGES]
    count, total, squares = 0, torch.zeros(backbone.channels).double(), torch.zeros(backbone.channels).double()
    sampler = UniformSampler(STATISTICS_PIXELS)
    for index in track(order.tolist(), "measure mean and std"):
        image, mask, image_id, _ = dataset[index]
        if (mask != IGNORE_INDEX).sum() < STATISTICS_PIXELS:
            mask = torch.zeros_like(mask)  # any pixels, for these need no labels
        points = sampler(mask, randomness.generator(cfg.seed, "statistics", image_id))
        with torch.inference_mode():
            values = extractor.at(image[None].to(backbone.device), points[None])[0]
        values = values.double()
        count, total, squares = count + len(values), total + values.sum(0), squares + values.square().sum(0)
    mean = total / max(count, 1)
    classifier = build.classifier(cfg, backbone.channels, len(data.image_set.classes))
    classifier.set_statistics(mean, (squares / max(count, 1) - mean.square()).clamp(min=0).sqrt())
    return classifier


def _count(cfg: DictConfig, data: ImageDataModule) -> Tensor:
    """The number of pixels of each class in the train split."""
    classes = len(data.image_set.classes)
    loader: DataLoader[Example] = DataLoader(
        data.dataset("train"), batch_size=None, num_workers=cfg.num_workers, worker_init_fn=ignore_signals_in_worker
    )
    counts = torch.zeros(classes, dtype=torch.int64)
    for _, mask, *_ in track(loader, "count classes", len(loader)):
        counts += torch.bincount(mask[mask != IGNORE_INDEX], minlength=classes)
    return counts
