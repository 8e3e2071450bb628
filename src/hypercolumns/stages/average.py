"""Stage average: average the weights of models of several seeds, and score the new model."""

import dataclasses

from omegaconf import DictConfig

from hypercolumns.errors import setting_prefix
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.models.model_file import find_model
from hypercolumns.models.tta import NO_TTA
from hypercolumns.models.weight_average import average_models
from hypercolumns.runs.results import ValImages, print_results
from hypercolumns.runs.run import Run
from hypercolumns.runtime import distributed
from hypercolumns.settings import training
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path
from hypercolumns.settings.data import image_index
from hypercolumns.settings.hyperparameters import words
from hypercolumns.settings.inference import configure_inference, quiet_libraries
from hypercolumns.settings.loggers import check_loggers, run_loggers
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.model import check_classes, check_decoding, folder_name
from hypercolumns.tasks import LabelPredictor


def average(cfg: DictConfig) -> Run:
    """Write a model whose weights are the mean of those of several models, score it on val, and return the run.

    Raises:
        HypercolumnsError: if the models can't be averaged, see `average_models`, or do not fit the data set.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    check_loggers(cfg)
    with setting_prefix("models="):
        paths = sorted((find_model(expand_path("models", path)) for path in cfg.models), key=file_hash)
        segmenter = average_models(paths)
    images = image_index(cfg, segmenter.decoding)
    images = dataclasses.replace(images, splits={"val": images.splits["val"]})  # the others decide nothing
    check_classes(segmenter, images, f"models={paths[0]}")
    check_decoding(segmenter, images, f"models={paths[0]}")
    about = {"models": sorted(file_hash(path)[:16] for path in paths), "precision": cfg.trainer.precision}
    fingerprint = {"data": images.fingerprint(), **about}
    columns = words({"stage": cfg.stage, **about})
    val = ValImages(images, len(images.splits["val"]), cfg.data.get("val_group"))
    parent = local_path(cfg, "runs") / images.name / folder_name(cfg, segmenter) / cfg.stage
    with (
        Run.begin(parent, fingerprint, origin(cfg), cfg.overwrite) as run,
        run_loggers(cfg, run, columns) as loggers,
    ):
        results = training.results(cfg, loggers)
        if not (run.model.is_file() and results.reuse(run, val.limit)):
            loggers.open()
            configure_inference(segmenter, cfg)
            scored = results.scorer.score_model(LabelPredictor(segmenter, NO_TTA), val.dataset(), images)
            if not distributed.broadcast_from_rank_zero(run.model.is_file):
                run.save(segmenter)
            results.write(
                run, {"stage": cfg.stage, "evaluated": {"models": [*map(str, paths)], **val.describe()}}, scored
            )
        distributed.barrier()
        print_results(run, f"average of {len(paths)} models: {val.limit} {val.kind} images of {images.name}")
    return run
