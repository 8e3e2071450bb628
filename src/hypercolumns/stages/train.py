"""Stage train: train the complete model on images, usually from a pretrained classifier."""

from collections.abc import Mapping
from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from hypercolumns.data import DatasetIndex, Example, ImageDataModule
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.loggers import RunLoggers
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.fit import fit
from hypercolumns.runs.results import ValImages, score_and_write
from hypercolumns.runs.run import Fingerprint, Run
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
from hypercolumns.settings.named_model import NamedModel, show_weights_model
from hypercolumns.settings.stage_inputs import find_pretrained, sweep_requirements
from hypercolumns.settings.start import SCRATCH, Start, named_start, start_from
from hypercolumns.tasks import SegmentationTask

# A new classifier standardises hypercolumns by the statistics of 200 pixels of each of up to 100 train images.
STATISTICS_IMAGES, STATISTICS_PIXELS = 100, 200


def train(cfg: DictConfig, pretrained: Run | None = None, *, averaged: bool = False) -> Run:
    """Train the complete model, score it on all val images, and return the run.

    If the command is repeated, it does only what is missing in the run.

    Args:
        cfg: the config of the stage.
        pretrained: the run of stage pretrain to start from if `init_from` is null; None: the newest one that fits.
        averaged: whether the weights are going to be averaged with those of other trainings from the same start.

    Returns:
        The run, finished and scored.

    Raises:
        HypercolumnsError: if a setting is invalid or does not fit the start; or if the weights are going to be
            averaged, and the classifier starts from random weights.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    training.check_training(cfg)
    if averaged and cfg.init_from == SCRATCH:
        raise _no_common_start(cfg)
    named = named_start(cfg)  # refuses a wrong model before the images are read
    images = data.image_index(cfg)
    earlier = earlier_run(cfg)
    backbone = model.backbone(cfg, named, images.decoding)
    shared = shared_settings(cfg, images, backbone)
    refuse_changes(cfg, earlier, shared | result_settings(cfg, "train"))
    if cfg.init_from is None:
        pretrained = pretrained or _find_pretrained(cfg, images, shared, earlier)
        named = NamedModel("the pretrained model ", pretrained.model)
    start = start_from(cfg, named, backbone, images) if named else None
    if averaged and start is not None and start.obstacles:
        raise _no_common_start(cfg)
    fingerprint = shared | {
        "trainable": cfg.cnn.trainable,
        **({"drop_path": cfg.cnn.drop_path} if cfg.cnn.get("drop_path") and cfg.cnn.trainable else {}),
        "start": start.record() if start else SCRATCH,
        **result_settings(cfg, "train"),
    }
    parent = stage_dir(cfg, images, "train")
    fingerprint = continued(cfg, parent, fingerprint, earlier)
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, hyperparameters(cfg, {})) as loggers,
    ):
        if not run.model.is_file():
            if earlier is None:
                _show_start(cfg, start)
            loggers.open()
            run.save(train_model(cfg, images, backbone, start, run, loggers, earlier))
        else:
            console.print(f"train: already trained, the run is {run.folder}", markup=False)
        results = training.results(cfg, loggers)
        val = ValImages(images, len(images.splits["val"]), cfg.data.get("val_group"))
        score_and_write(run, val, results, cfg.stage, cfg.monitor, partial(load_for_inference, cfg))
    return run


def _no_common_start(cfg: DictConfig) -> HypercolumnsError:
    """Return the error about trainings that are averaged, but whose classifiers start from different random weights."""
    return HypercolumnsError(
        f"init_from={cfg.init_from} starts with a new classifier, but trainings above 1 are averaged, so all must "
        f"start with the weights of one classifier; set trainings=1, or leave out init_from"
    )


def _find_pretrained(cfg: DictConfig, images: DatasetIndex, shared: Fingerprint, earlier: EarlierRun | None) -> Run:
    """Find the newest run of stage pretrain that fits; if the training goes on from an earlier run, the start of that.

    Args:
        cfg: the config of the stage.
        images: the data set.
        shared: the result of `fingerprint.shared_settings`.
        earlier: the run that the training goes on from; None: it starts from the beginning.

    Returns:
        The run.

    Raises:
        MissingInputError: if no finished run fits.
    """
    shape = {"classifier": classifier_shape(plain(cfg.classifier))}
    wanted = shared | shape | sweep_requirements(cfg, images, shared)
    return find_pretrained(cfg, images, wanted, _model_before(earlier))


def _show_start(cfg: DictConfig, start: Start | None) -> None:
    """Print what the training starts from; if `init_from` names it, also what the training keeps of it."""
    console.print(f"train: start from {start.model.path if start else SCRATCH}", markup=False)
    if start is None:
        show_weights_model(cfg)
    elif cfg.init_from is not None:
        start.show(cfg)


def _model_before(earlier: EarlierRun | None) -> str | None:
    """Return the hash of the model that an earlier run started from; None if there is no such run, or no such model."""
    start: str | dict[str, str] = earlier.fingerprint["start"] if earlier else SCRATCH
    return start["model"] if isinstance(start, dict) else None


def train_model(
    cfg: DictConfig,
    images: DatasetIndex,
    backbone: Backbone,
    start: Start | None,
    run: Run,
    loggers: RunLoggers,
    earlier: EarlierRun | None = None,
) -> Segmenter:
    """Build the complete model, train it on images, and return it.

    Args:
        cfg: the config of stage train.
        images: the data set.
        backbone: the backbone of the model; its layers that `cnn.trainable` chooses are trained.
        start: the model whose classifier is trained further, if it fits; None: train a new classifier.
        run: the run, to whose folder checkpoints are written.
        loggers: the loggers of the run.
        earlier: the run that the training goes on from; None: it starts from the beginning.

    Returns:
        The trained model. If `wise_ft_alpha` is set, its weights are averages of the initial and the trained weights.
    """
    batches = data.image_data(cfg, images)
    kept = start is not None and not start.obstacles
    classifier = start.classifier(cfg) if start and kept else new_classifier(cfg, backbone, batches)
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
        loss=training.loss(cfg, partial(class_counts, batches)),
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
    extractor, trains = model.extractor(cfg, backbone), backbone.training
    extractor.eval()  # neither drop path nor the statistics of BatchNorm layers have a part in the features
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
    extractor.train(trains)
    mean = total / max(count, 1)
    classifier = model.classifier(cfg, backbone.channels, len(batches.image_set.classes))
    classifier.set_statistics(mean, (squares / max(count, 1) - mean.square()).clamp(min=0).sqrt())
    return classifier


def class_counts(batches: ImageDataModule) -> Tensor:
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
