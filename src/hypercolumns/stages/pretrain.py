"""Stage pretrain: sampled hypercolumns in, a pixel classifier out, and with it a complete model."""

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from hypercolumns.data import SampleData
from hypercolumns.errors import HypercolumnsError
from hypercolumns.progress import console
from hypercolumns.segmenter import Segmenter
from hypercolumns.stages import build, runs
from hypercolumns.stages.finish import finish, show_finished
from hypercolumns.tasks import PixelClassification


def pretrain(cfg: DictConfig) -> float | None:
    """Train the classifier; returns the mIoU of the complete model on the val images, if it was asked for."""
    build.quiet_libraries()
    images = build.image_set(cfg)
    backbone = build.backbone(cfg)
    wanted = runs.needs(cfg, images, backbone)
    store = runs.find_store(cfg, images, wanted)
    identity = wanted | {"samples": runs.key(store.fingerprint), **runs.deciding(cfg, "pretrain")}
    run = runs.Run.begin(cfg, images, identity)
    if run.finished:
        return show_finished(run, cfg.stage)
    console.print(f"pretrain: from the samples in {store.folder}", markup=False)

    split = store.split("train")
    classifier = build.classifier(cfg, sum(tap.channels for tap in backbone.taps), len(images.classes))
    classifier.standardise(*split.statistics())
    task = PixelClassification(
        classifier,
        len(images.classes),
        instantiate(cfg.optimizer),
        instantiate(cfg.scheduler),
        build.class_weights(cfg, torch.bincount(split.labels.long(), minlength=len(images.classes))),
        cfg.seed,
    )
    trainer = build.trainer(cfg, run.folder)
    samples = SampleData(store, cfg.batch_size, seed=cfg.seed)
    trainer.fit(task, samples, ckpt_path=run.last_checkpoint, weights_only=True)
    best = build.load_best(task, run.folder, cfg.monitor)

    segmenter = Segmenter(backbone, classifier, images.classes, images.palette, cfg.alignment, build.resize(cfg))
    return finish(cfg, run, segmenter, images, trainer, best, _limit(cfg.dense_val, len(images.splits["val"])))


def _limit(dense_val: int | str, images: int) -> int:
    """How many images the setting `dense_val` means."""
    if dense_val == "all":
        return images
    if isinstance(dense_val, int) and dense_val >= 0:
        return min(dense_val, images)
    raise HypercolumnsError(f"dense_val={dense_val} must be all, or a number of images (0 for none)")
