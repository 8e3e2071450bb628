"""Stage train: train the complete model on images, usually from a pretrained classifier."""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from hypercolumns.data import DatasetIndex, Example, ImageDataModule
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.loggers import RunLoggers
from hypercolumns.models import model_file
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.fit import fit
from hypercolumns.runs.lookup import differences
from hypercolumns.runs.results import ValImages, score_and_write
from hypercolumns.runs.run import Run
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import UniformSampler
from hypercolumns.settings import data, model, training
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import plain
from hypercolumns.settings.continuation import continued, earlier_run, refuse_changes
from hypercolumns.settings.fingerprint import (
    classifier_shape,
    result_settings,
    shared_settings,
    stage_dir,
)
from hypercolumns.settings.hyperparameters import hyperparameters
from hypercolumns.settings.inference import configure_inference, load_for_inference, quiet_libraries
from hypercolumns.settings.loggers import run_loggers
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.stage_inputs import find_pretrained, sweep_requirements
from hypercolumns.tasks import SegmentationTask

SCRATCH = "scratch"  # value of `init_from` for a new classifier
# A new classifier standardises hypercolumns by the statistics of 200 pixels of each of up to 100 train images.
STATISTICS_IMAGES, STATISTICS_PIXELS = 100, 200


def train(cfg: DictConfig) -> Run:
    """Train the complete model, score it on all val images, and return the run.

    If the command is repeated, it does only what is missing in the run.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    training.check_training(cfg)
    images = data.image_index(cfg)
    earlier = earlier_run(cfg)
    start = _named_start(cfg)
    with setting_prefix("init_from="):
        like = Segmenter.load(start).backbone if start else None
    backbone = model.backbone(cfg, like, images.decoding)
    shared = shared_settings(cfg, images, backbone)
    refuse_changes(cfg, earlier, shared | result_settings(cfg, "train"))
    if cfg.init_from is None:
        shape = {"classifier": classifier_shape(plain(cfg.classifier))}
        wanted = shared | shape | sweep_requirements(cfg, images, shared)
        start = find_pretrained(cfg, images, wanted, earlier.fingerprint["start"] if earlier else None).model
    fingerprint = shared | {
        "trainable": cfg.cnn.trainable,
        "start": hashlib.sha256(start.read_bytes()).hexdigest()[:16] if start else SCRATCH,
        **result_settings(cfg, "train"),
    }
    parent = stage_dir(cfg, images, "train")
    fingerprint = continued(cfg, parent, fingerprint, earlier)
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, hyperparameters(cfg, {})) as loggers,
    ):
        if not run.model.is_file():
            console.print(f"train: start from {start or SCRATCH}", markup=False)
            loggers.open()
            run.save(train_model(cfg, images, backbone, start, run, loggers, earlier))
        results = training.results(cfg, loggers)
        val = ValImages(images, len(images.splits["val"]), cfg.data.get("val_group"))
        score_and_write(run, val, results, cfg.stage, cfg.monitor, partial(load_for_inference, cfg))
    return run


def train_model(
    cfg: DictConfig,
    images: DatasetIndex,
    backbone: Backbone,
    start: Path | None,
    run: Run,
    loggers: RunLoggers,
    earlier: EarlierRun | None = None,
) -> Segmenter:
    """Build the complete model, train it on images, and return it.

    Args:
        cfg: the config of stage train.
        images: the data set.
        backbone: the backbone of the model; its layers that `cnn.trainable` chooses are trained.
        start: the model file whose classifier is trained further; None: train a new classifier.
        run: the run, to whose folder checkpoints are written.
        loggers: the loggers of the run.
        earlier: the run that the training goes on from; None: it starts from the beginning.

    Returns:
        The trained model. If `wise_ft_alpha` is set, its weights are averages of the initial and the trained weights.
    """
    batches = data.image_data(cfg, images)
    classifier = (
        new_classifier(cfg, backbone, batches) if start is None else _classifier_of(start, backbone, images, cfg)
    )
    segmenter = model.segmenter(cfg, backbone, classifier, images)
    averages = cfg.wise_ft_alpha not in (None, 1)  # with alpha = 1, the average is equal to the trained weights
    initial = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()} if averages else {}
    configure_inference(segmenter, cfg)
    if distributed.is_distributed():
        with setting_prefix("cnn."):
            backbone.to(machine(cfg).device()).synchronize_batch_norm()
    task = SegmentationTask(
        segmenter,
        sampler=training.pixel_sampler(cfg),
        loss=training.loss(cfg, partial(_class_counts, batches)),
        seed=cfg.seed,
        **training.optimization(cfg, earlier),
    )
    fit(task, batches, run.folder, partial(training.trainer, cfg, run, loggers, batches, segmenter), earlier)
    if averages:
        average_with_initial(segmenter, initial, cfg.wise_ft_alpha)
    return segmenter


def average_with_initial(segmenter: Segmenter, initial: Mapping[str, Tensor], alpha: float) -> None:
    """Replace the trained weights of a model by their average with the initial weights (WiSE-FT).

    See Wortsman et al., Robust fine-tuning of zero-shot models (CVPR 2022), equation 1.

    Args:
        segmenter: the trained model; its floating-point tensors become (1 - alpha) * initial + alpha * trained.
        initial: the state dict of the model before the training.
        alpha: the share of the trained weights in the average, from 0 to 1.
    """
    for name, tensor in segmenter.state_dict().items():
        if tensor.is_floating_point():  # BatchNorm's counter of batches is an integer, and keeps its final value
            tensor.lerp_(initial[name].to(tensor), 1 - alpha)


def _named_start(cfg: DictConfig) -> Path | None:
    """Return the model file that `init_from` names; None if `init_from` is null or scratch.

    Raises:
        HypercolumnsError: if the file does not exist, or init_from=scratch is combined with `wise_ft_alpha`.
    """
    if cfg.wise_ft_alpha is not None and cfg.init_from == SCRATCH:
        raise HypercolumnsError(
            f"wise_ft_alpha={cfg.wise_ft_alpha} averages the trained weights with those of the model that the training "
            f"starts from, but init_from=scratch starts without a model; use wise_ft_alpha=null, or leave out "
            f"init_from=scratch"
        )
    if cfg.init_from in (None, SCRATCH):
        return None
    with setting_prefix("init_from="):
        return model_file.find_model(expand_path("init_from", cfg.init_from))


def _classifier_of(path: Path, backbone: Backbone, images: DatasetIndex, cfg: DictConfig) -> Classifier:
    """Return a copy of the classifier in a model file, for further training.

    Args:
        path: the model file.
        backbone: the backbone that the classifier is to be trained with.
        images: the data set.
        cfg: the config of stage train.

    Raises:
        HypercolumnsError: if the backbone, the alignment, the classes or the classifier differ from those in the file.
    """
    with setting_prefix("init_from=" if cfg.init_from else "the pretrained model "):
        start = Segmenter.load(path)
    classifier = model.classifier(cfg, start.backbone.channels, len(start.classes))
    wanted = model.segmenter(cfg, backbone, classifier, images)
    differing = differences(model.settings_of(start), model.settings_of(wanted))
    if differing:
        prefix = "init_from=" if cfg.init_from else "the pretrained model "
        raise HypercolumnsError(
            f"{prefix}{path} does not fit this command: {'; '.join(differing)}; choose another model by init_from=, or "
            f"change these settings"
        )
    classifier.load_state_dict(start.classifier.state_dict())
    mean, std = (classifier.get_buffer(name).clone() for name in ("mean", "std"))
    classifier.set_statistics(mean, std)  # replaces standard deviations of 0, which the model file may contain
    return classifier


def new_classifier(cfg: DictConfig, backbone: Backbone, batches: ImageDataModule) -> Classifier:
    """Build a classifier with random weights that standardises hypercolumns by the statistics of train images.

    Args:
        cfg: the config of stage train.
        backbone: the backbone, which computes the hypercolumns.
        batches: the data module, which gives the train images.

    Returns:
        The classifier. Its mean and standard deviation are those of 200 random pixels of each of up to 100 random
        images (of all pixels if an image has fewer). In an image with at least 200 labelled pixels, only labelled
        pixels are used; in other images, void pixels too.
    """
    extractor = model.extractor(cfg, backbone)
    dataset = batches.dataset("train")
    generator = randomness.generator(cfg.seed, "statistics")
    order = torch.randperm(len(dataset), generator=generator)[:STATISTICS_IMAGES]
    count, total, squares = 0, torch.zeros(backbone.channels).double(), torch.zeros(backbone.channels).double()
    sampler = UniformSampler(STATISTICS_PIXELS)
    for index in track(order.tolist(), "measure mean and std"):
        image, mask, image_id, _ = dataset[index]
        if (mask != IGNORE_INDEX).sum() < STATISTICS_PIXELS:
            mask = torch.zeros_like(mask)  # allows all pixels, because the statistics need no labels
        points = sampler(mask, randomness.generator(cfg.seed, "statistics", image_id))
        with torch.inference_mode():
            values = extractor.at(image[None].to(backbone.device), points[None])[0].double()
        count, total, squares = count + len(values), total + values.sum(0), squares + values.square().sum(0)
    mean = total / max(count, 1)
    classifier = model.classifier(cfg, backbone.channels, len(batches.image_set.classes))
    classifier.set_statistics(mean, (squares / max(count, 1) - mean.square()).clamp(min=0).sqrt())
    return classifier


def _class_counts(batches: ImageDataModule) -> Tensor:
    """Count the pixels of each class in the masks of the train split, without augmentation: (classes,) int64."""
    loader: DataLoader[Example] = DataLoader(
        batches.dataset("train"),
        batch_size=None,
        num_workers=batches.num_workers,
        worker_init_fn=ignore_signals_in_worker,
    )
    counts = torch.zeros(len(batches.image_set.classes), dtype=torch.int64)
    for _, mask, *_ in track(loader, "count classes", len(loader)):
        counts += torch.bincount(mask[mask != IGNORE_INDEX], minlength=len(counts))
    return counts
