"""Stage pretrain: sampled hypercolumns in, a pixel classifier out, and with it a complete model."""

from functools import partial

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex, SampleDataModule
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import short_hash
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.reports import tables
from hypercolumns.runs import run as runs
from hypercolumns.runs.results import score_and_write
from hypercolumns.runtime.progress import console
from hypercolumns.settings import build
from hypercolumns.store import SampleStore
from hypercolumns.tasks import PixelClassificationTask


def pretrain(cfg: DictConfig) -> runs.Run:
    """Train the classifier, and score the complete model on as many val images as was asked for; returns the run."""
    build.check_settings(cfg)
    images = build.image_set(cfg)
    backbone = build.backbone(cfg)
    wanted = runs.shared_settings(cfg, images, backbone)
    store = runs.find_store(cfg, images, wanted)
    limit = _limit(cfg.dense_val, len(images.splits["val"]))
    identity = wanted | {"samples": short_hash(store.fingerprint), **runs.result_settings(cfg, "pretrain")}
    with runs.Run.begin(cfg, runs.stage_dir(cfg, images, "pretrain"), identity) as run:
        if not run.model.is_file():
            console.print(f"pretrain: from the samples in {store.folder}", markup=False)
            tables.print_absent(store, images.classes)
            run.save(_trained(cfg, store, images, backbone, run))
        score_and_write(
            cfg,
            run,
            images,
            limit,
            {name: store.fingerprint[name] for name in ("sampler", "views") if name in store.fingerprint},
        )
    return run


def _trained(cfg: DictConfig, store: SampleStore, images: DatasetIndex, backbone: Backbone, run: runs.Run) -> Segmenter:
    """The complete model, its classifier trained on the samples."""
    split = store.split("train")
    mean, std = split.statistics()
    classifier = build.classifier(cfg, len(mean), len(images.classes))
    classifier.set_statistics(mean, std)
    segmenter = build.segmenter(cfg, backbone, classifier, images)
    task = PixelClassificationTask(
        classifier,
        images.classes,
        loss=build.loss(cfg, partial(split.samples_per_class, len(images.classes))),
        seed=cfg.seed,
        **build.optimization(cfg),
    )
    data = SampleDataModule(
        store, cfg.batch_size, cfg.num_workers, cfg.seed, cfg.images_per_batch, places=classifier.needs_coordinates
    )
    build.fit(cfg, task, data, segmenter, run.folder, run.events)
    return segmenter


def _limit(dense_val: int | str, images: int) -> int:
    """How many images the setting `dense_val` means."""
    if dense_val == "all":
        return images
    if isinstance(dense_val, int) and dense_val >= 0:
        return min(dense_val, images)
    raise HypercolumnsError(f"dense_val={dense_val} must be all, or a number of images (0 for none)")
