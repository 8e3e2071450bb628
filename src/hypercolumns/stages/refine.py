"""Stage refine: train a second pass of a finished model, and score the model with it."""

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader

from hypercolumns.data import DatasetIndex, Example
from hypercolumns.data.modules.image_data import ImageDataset
from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import Evaluation
from hypercolumns.io.files import expand_path, file_hash, read_json
from hypercolumns.models.model_file import find_model
from hypercolumns.models.second_pass import FEATURES, SecondPass, features_at
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA
from hypercolumns.reports.format import format_number
from hypercolumns.runs.results import ValImages, print_results
from hypercolumns.runs.run import Run
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import UniformSampler
from hypercolumns.settings import training
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path, plain
from hypercolumns.settings.data import image_index
from hypercolumns.settings.hyperparameters import words
from hypercolumns.settings.inference import configure_inference, quiet_libraries
from hypercolumns.settings.loggers import check_loggers, run_loggers
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.model import check_classes, check_decoding, folder_name, trained_model
from hypercolumns.tasks import LabelPredictor
from hypercolumns.tasks.second_pass_training import train_second_pass

MAX_FEATURES = 1 << 29  # numbers in the features of all pixels, 2 GiB


def refine(cfg: DictConfig, scored: Run | None = None) -> Run:
    """Train a second pass of the model `model` on the train images, score both passes on val, and return the run.

    Args:
        cfg: the config of the stage.
        scored: the run of the model, if it has just been scored with the settings of `cfg`. The first pass is then not
            scored again. None: it is scored.

    Raises:
        HypercolumnsError: if the model can't be loaded, has a second pass already, or does not fit the data set; or if
            the train images have no labelled pixel.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    check_loggers(cfg)
    if cfg.model is None:
        raise HypercolumnsError("stage=refine needs model=<the folder of a finished run, or its model.safetensors>")
    segmenter, path = trained_model(cfg), find_model(expand_path("model", cfg.model))
    if segmenter.second_pass is not None:
        raise HypercolumnsError(
            f"model={path} has a second pass already; give the model that it was made from, to train another one"
        )
    images = image_index(cfg, segmenter.decoding)
    check_classes(segmenter, images, f"model={path}")
    check_decoding(segmenter, images, f"model={path}")
    settings = {"refine": plain(cfg.refine), "seed": cfg.seed}
    about = {"model": file_hash(path)[:16], "precision": cfg.trainer.precision}
    fingerprint = {"data": images.fingerprint(), **about, **settings}
    columns = words({"stage": cfg.stage, **about})
    val = ValImages(images, len(images.splits["val"]), cfg.data.get("val_group"))
    parent = local_path(cfg, "runs") / images.name / folder_name(cfg, segmenter) / cfg.stage
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, columns) as loggers,
    ):
        results = training.results(cfg, loggers)
        if not distributed.broadcast_from_rank_zero(run.model.is_file):
            if distributed.is_rank_zero():
                segmenter.second_pass = _second_pass(cfg, segmenter, images)
            run.save(segmenter)
            segmenter.second_pass = None
        if not results.reuse(run, val.limit):
            loggers.open()
            before = Evaluation.load(scored.counts) if scored and scored.counts.is_file() else None
            first = results.scorer.score_model(LabelPredictor(segmenter, NO_TTA), val.dataset(), images, before)
            refined = Segmenter.load(run.model)
            configure_inference(refined, cfg)
            both = results.scorer.score_model(LabelPredictor(refined, NO_TTA), val.dataset(), images)
            about_scores = {
                "evaluated": {"model": str(path), **val.describe()},
                "first_pass": {"miou": first.evaluation.figures()["miou"]},
            }
            results.write(run, {"stage": cfg.stage, **about_scores}, both)
        distributed.barrier()
        print_results(run, f"{path} with a second pass: {val.limit} {val.kind} images of {images.name}")
        alone = read_json(run.metrics)["first_pass"]["miou"]
        console.print(f"the first pass alone: mIoU {format_number(alone)}", markup=False)
    return run


def _second_pass(cfg: DictConfig, segmenter: Segmenter, images: DatasetIndex) -> SecondPass:
    """Train a second pass of a model on pixels of the train images."""
    segmenter.to(machine(cfg).device()).eval()
    features, labels = _pixels(cfg, segmenter, images)
    settings = plain(cfg.refine)
    del settings["pixels"], settings["images"]

    def report(step: int, loss: float) -> None:
        console.print(f"refine: step {step}/{cfg.refine.steps}  train/loss {loss:.3f}", markup=False)

    return train_second_pass(features, labels, len(images.classes), **settings, seed=cfg.seed, report=report)


def _pixels(cfg: DictConfig, segmenter: Segmenter, images: DatasetIndex) -> tuple[Tensor, Tensor]:
    """Return the features (N, F) and the labels (N,) of random labelled pixels of random train images."""
    pairs = images.splits["train"]
    order = torch.randperm(len(pairs), generator=randomness.generator(cfg.seed, "refine"))[: cfg.refine.images]
    pixels = _pixels_of_image(cfg, len(order), len(images.classes))
    dataset = ImageDataset([pairs[index] for index in order.tolist()], images.scheme, decoding=images.decoding)
    loader: DataLoader[Example] = DataLoader(
        dataset, batch_size=None, num_workers=cfg.num_workers, worker_init_fn=ignore_signals_in_worker
    )
    sampler, device = UniformSampler(pixels), segmenter.backbone.device
    features = torch.empty(len(order) * pixels, len(images.classes) * FEATURES, device=device)
    labels = torch.empty(len(features), dtype=torch.int64, device=device)
    count = 0
    for image, mask, id, _ in track(loader, "refine: classify train images", len(dataset)):
        points = sampler(mask, randomness.generator(cfg.seed, "refine", id))
        if not len(points):
            continue
        with torch.no_grad():
            found = features_at(segmenter.extractor, segmenter.classifier, image[None].to(device), points[None])[0]
        features[count : count + len(found)] = found
        labels[count : count + len(found)] = mask[points[:, 0].long(), points[:, 1].long()]
        count += len(found)
    if not count:
        raise HypercolumnsError(
            f"the train images of data {images.name} have no labelled pixel to train on; label some"
        )
    return features[:count], labels[:count]


def _pixels_of_image(cfg: DictConfig, images: int, classes: int) -> int:
    """Return how many pixels of each image to take; say so if these are fewer than `refine.pixels`."""
    wanted: int = cfg.refine.pixels
    most = max(MAX_FEATURES // (images * classes * FEATURES), 1)
    if most < wanted:
        console.print(
            f"refine: {most} pixels of each image in place of refine.pixels={wanted}, because the features "
            f"of {classes} classes in {images} images would take more than 2 GiB; fewer refine.images allow more",
            markup=False,
        )
    return min(most, wanted)
