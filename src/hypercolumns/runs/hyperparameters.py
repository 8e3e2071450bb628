"""The settings of a run as TensorBoard's table of hyperparameters shows them."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypercolumns.runs import run as runs
from hypercolumns.settings import build

HYPERPARAMETERS = {  # name -> setting; TensorBoard shows the first five of them, by the alphabet, unless asked
    "stage": "stage",
    "cnn": "cnn.name",
    "cnn.trainable": "cnn.trainable",
    "alignment": "alignment",
    "resize": "resize",
    "data.val_group": "data.val_group",
    "data.train_subset": "data.train_subset",
    "sampler": "sampler",
    "classifier": "classifier",
    "classifier.hidden": "classifier.hidden",
    "optimizer": "optimizer",
    "lr": "optimizer.lr",
    "scheduler": "scheduler",
    "epochs": "trainer.max_epochs",
    "batch_size": "batch_size",
    "images_per_batch": "images_per_batch",
    "ema": "ema",
    "start_share": "start_share",
    "pixels": "pixels",
    "loss": "loss",
    "class_weights": "class_weights",
    "training.augment": "augment",
    "seed": "seed",
}
DECIDING = {"cnn", *(setting for settings in runs.DECIDING.values() for setting in settings)}


def hyperparameters(cfg: DictConfig, also: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are worth a column, each as a number or in a word; those that are off are left out.

    Numbers on the command line, which a sweep may be over, have a column each if they decide the result.
    """
    settings = {name: build.plain(OmegaConf.select(cfg, path)) for name, path in HYPERPARAMETERS.items()} | dict(also)
    typed = {override.lstrip("+").partition("=")[0] for override in build.overrides()}
    for path in typed.difference(HYPERPARAMETERS.values()):
        value = OmegaConf.select(cfg, path) if path.partition(".")[0] in DECIDING else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            settings[path] = value
    return words(settings)


def words(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as TensorBoard can show them."""
    found = {name: _word(value) for name, value in settings.items()}
    return {name: word for name, word in found.items() if word not in (None, "none", "")}


def _word(value: Any) -> Any:
    """A part by its kind and its settings, without what is off."""
    if isinstance(value, Mapping):
        rest = [f"{name}={_word(one)}" for name, one in value.items() if one and name[0] != "_" and name != "kind"]
        return " ".join([str(value.get("kind", "")), *rest]).strip()
    return str(value) if isinstance(value, list) else value
