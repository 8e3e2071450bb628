"""From a config to objects."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import Tensor

from hypercolumns import seeds
from hypercolumns.backbones import Backbone
from hypercolumns.callbacks import LineProgress
from hypercolumns.classifiers import MLP
from hypercolumns.data import Augmentation, ImageData, ImageSet
from hypercolumns.errors import HypercolumnsError
from hypercolumns.progress import console
from hypercolumns.tasks.optimization import ClassWeights, balanced_weights


def quiet_libraries() -> None:
    """Silence Lightning's hints and warnings about things that are as they should be, unless hydra.verbose asks."""
    logging.getLogger("PIL").setLevel(logging.INFO)  # it logs every chunk of every PNG
    if HydraConfig.initialized() and HydraConfig.get().verbose:
        return
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*eval mode at the start of training.*",
        ".*LeafSpec.*",
        ".*isolate_rng.*",
        ".*smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*checkpoint directory has changed from.*",
    ):
        warnings.filterwarnings("ignore", message)


def plain(cfg: Any) -> Any:
    """A part of a config as plain dicts, lists and values."""
    return OmegaConf.to_container(cfg, resolve=True) if OmegaConf.is_config(cfg) else cfg


def image_set(cfg: DictConfig) -> ImageSet:
    """The images that the config names."""
    images: ImageSet = instantiate(cfg.data, _convert_="all")
    return images


def resize(cfg: DictConfig) -> tuple[int, int] | None:
    """The setting `resize`."""
    if cfg.resize is None:
        return None
    sides = plain(cfg.resize)
    if not (isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) and side > 0 for side in sides)):
        raise HypercolumnsError(f"resize={sides} must be [height,width] in pixels, or null")
    return sides[0], sides[1]


def image_data(cfg: DictConfig, images: ImageSet) -> ImageData:
    """The images as batches."""
    augmentation = Augmentation(**plain(cfg.augment))
    return ImageData(images, cfg.batch_size, cfg.num_workers, resize(cfg), augmentation, cfg.seed)


def backbone(cfg: DictConfig) -> Backbone:
    """The backbone that the config names."""
    settings = {key: value for key, value in cfg.cnn.items() if key != "name"}
    network: Backbone = instantiate(settings, _convert_="all")
    return network


def classifier(cfg: DictConfig, channels: int, classes: int) -> MLP:
    """A new classifier, its weights decided by the seed."""
    with seeds.seeded(cfg.seed, "classifier"):
        new: MLP = instantiate(cfg.classifier, channels=channels, classes=classes, _convert_="all")
    return new


def class_weights(cfg: DictConfig, counts: Tensor) -> ClassWeights:
    """The setting `class_weights`, given how often each class occurs in what is trained on."""
    if cfg.class_weights == "none":
        return None
    if cfg.class_weights == "batch":
        return "batch"
    if cfg.class_weights == "balanced":
        return balanced_weights(counts)
    raise HypercolumnsError(f"class_weights={cfg.class_weights} is not known; choose one of none, balanced, batch")


def checkpoints(folder: Path) -> Path:
    """Where a run keeps its checkpoints, best.ckpt and last.ckpt."""
    return folder / "checkpoints"


def trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    """The trainer of a run that writes to `folder`."""
    callbacks: list[Any] = [instantiate(callback) for callback in (cfg.callbacks or {}).values()]
    callbacks.append(RichProgressBar() if console.is_terminal else LineProgress())
    callbacks.append(
        ModelCheckpoint(
            checkpoints(folder),
            filename="best",
            monitor=cfg.monitor,
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    )
    if cfg.patience is not None:
        callbacks.append(EarlyStopping(cfg.monitor, mode="max", patience=cfg.patience))
    made: pl.Trainer = instantiate(
        cfg.trainer,
        logger=instantiate(cfg.logger, save_dir=str(folder)),
        callbacks=callbacks,
        default_root_dir=str(folder),
        reload_dataloaders_every_n_epochs=1,  # the order of an epoch is a function of its number
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=console.is_terminal,
        _convert_="all",
    )
    return made


def fit(cfg: DictConfig, task: pl.LightningModule, data: pl.LightningDataModule, folder: Path) -> None:
    """Train the task, going on from the last checkpoint if there is one; leaves it with its best epoch's weights."""
    last = checkpoints(folder) / "last.ckpt"
    trainer(cfg, folder).fit(task, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    task.load_state_dict(_best_checkpoint(folder)["state_dict"])


def best(folder: Path, monitor: str) -> dict[str, Any]:
    """The number (from 0) and the figure of the best epoch of a training."""
    checkpoint = _best_checkpoint(folder)
    callback = next(state for name, state in checkpoint["callbacks"].items() if name.startswith("ModelCheckpoint"))
    return {"best_epoch": int(checkpoint["epoch"]), monitor.removeprefix("val/"): float(callback["best_model_score"])}


def _best_checkpoint(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(checkpoints(folder) / "best.ckpt", map_location="cpu", weights_only=True)
    return checkpoint


def device(cfg: DictConfig) -> torch.device:
    """The device that the trainer's settings choose."""
    accelerator = pl.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return accelerator.strategy.root_device


def command(cfg: DictConfig, stage: str) -> str:
    """The command line that runs another stage with the same settings."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    others = [override for override in overrides if not override.startswith(("stage=", "samples=", "init_from="))]
    return " ".join(["python train.py", f"stage={stage}", *others])
