"""Stage pretrain: train the classifier of a model on the sampled hypercolumns in a store."""

from functools import partial
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import DatasetIndex, SampleDataModule
from hypercolumns.io.files import short_hash
from hypercolumns.loggers import RunLoggers
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.reports.store_tables import print_absent_classes
from hypercolumns.runs.earlier import EarlierRun
from hypercolumns.runs.fit import fit
from hypercolumns.runs.results import ValImages, score_and_write
from hypercolumns.runs.run import Run
from hypercolumns.runtime.distributed import launch
from hypercolumns.runtime.progress import console
from hypercolumns.settings import data, model, training
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.continuation import continued, earlier_run, refuse_changes
from hypercolumns.settings.fingerprint import result_settings, shared_settings, stage_dir
from hypercolumns.settings.hyperparameters import hyperparameters
from hypercolumns.settings.inference import load_for_inference, quiet_libraries
from hypercolumns.settings.loggers import run_loggers
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.stage_inputs import find_store
from hypercolumns.store import SampleStore
from hypercolumns.tasks import PixelClassificationTask


def pretrain(cfg: DictConfig) -> Run:
    """Train a classifier on a store, score the complete model on `val_images` val images, and return the run.

    If the command is repeated, it does only what is missing in the run.
    """
    check_settings(cfg)
    quiet_libraries()
    launch(machine(cfg))
    training.check_training(cfg)
    images = data.image_index(cfg)
    backbone = model.backbone(cfg, decoding=images.decoding)
    shared = shared_settings(cfg, images, backbone)
    earlier = earlier_run(cfg)
    refuse_changes(cfg, earlier, shared | result_settings(cfg, "pretrain"))
    store = find_store(cfg, images, shared, earlier.fingerprint["samples"] if earlier else None)
    count = len(images.splits["val"])
    limit = count if cfg.val_images == "all" else min(cfg.val_images, count)
    fingerprint = shared | {"samples": short_hash(store.fingerprint), **result_settings(cfg, "pretrain")}
    sampled: dict[str, Any] = {
        name: store.fingerprint[name] for name in ("sampler", "augmentation") if name in store.fingerprint
    }
    columns = hyperparameters(cfg, sampled)
    parent = stage_dir(cfg, images, "pretrain")
    fingerprint = continued(cfg, parent, fingerprint, earlier)
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, columns) as loggers,
    ):
        if not run.model.is_file():
            console.print(f"pretrain: train on the samples in {store.folder}", markup=False)
            print_absent_classes(store, images.classes)
            loggers.open()
            run.save(_train(cfg, store, images, backbone, run, loggers, earlier))
        else:
            console.print(f"pretrain: already trained, the run is {run.folder}", markup=False)
        results = training.results(cfg, loggers)
        val = ValImages(images, limit, cfg.data.get("val_group"))
        score_and_write(run, val, results, cfg.stage, cfg.monitor, partial(load_for_inference, cfg))
    return run


def _train(
    cfg: DictConfig,
    store: SampleStore,
    images: DatasetIndex,
    backbone: Backbone,
    run: Run,
    loggers: RunLoggers,
    earlier: EarlierRun | None = None,
) -> Segmenter:
    """Build the complete model, train its classifier on the samples of a store, and return the model.

    Args:
        cfg: the config of stage pretrain.
        store: the store of samples.
        images: the data set, which gives the classes and their colours.
        backbone: the backbone of the model; it is not trained.
        run: the run, to whose folder checkpoints are written.
        loggers: the loggers of the run.
        earlier: the run that the training goes on from; None: it starts from the beginning.
    """
    split = store.split("train")
    mean, std = split.statistics()
    classifier = model.classifier(cfg, len(mean), len(images.classes))
    classifier.set_statistics(mean, std)
    segmenter = model.segmenter(cfg, backbone, classifier, images)
    task = PixelClassificationTask(
        classifier,
        images.classes,
        loss=training.loss(cfg, partial(split.samples_per_class, len(images.classes))),
        seed=cfg.seed,
        **training.optimization(cfg, earlier),
    )
    batches = SampleDataModule(
        store,
        cfg.batch_size,
        cfg.num_workers,
        cfg.seed,
        cfg.images_per_batch,
        with_coordinates=classifier.needs_coordinates,
    )
    fit(task, batches, run.folder, partial(training.trainer, cfg, run, loggers, batches, segmenter), earlier)
    return segmenter
