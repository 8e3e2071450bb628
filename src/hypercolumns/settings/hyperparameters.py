"""The settings of a run as TensorBoard's table of hyperparameters shows them."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypercolumns.settings import compose
from hypercolumns.settings.compose import plain
from hypercolumns.settings.schema import SETTINGS, decides, setting_of


def hyperparameters(cfg: DictConfig, also: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that have a column, each as a number or in a word; those that are off are left out.

    Numbers on the command line, which a sweep may be over, have a column each if they decide the result.

    Args:
        cfg: the config.
        also: further columns.
    """
    columns = {
        setting.column: plain(OmegaConf.select(cfg, setting.name)) for setting in SETTINGS if setting.column is not None
    } | dict(also)
    shown = {setting.name for setting in SETTINGS if setting.column is not None}
    for path in {setting_of(override) for override in compose.overrides()} - shown:
        value = OmegaConf.select(cfg, path) if decides(path, cfg.stage) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            columns[path] = value
    return words(columns)


def words(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns as TensorBoard can show them."""
    found = {name: _word(value) for name, value in columns.items()}
    return {name: word for name, word in found.items() if word not in (None, "none", "")}


def _word(value: Any) -> Any:
    """A part by its kind and its settings, without what is off."""
    if isinstance(value, Mapping):
        rest = [f"{name}={_word(one)}" for name, one in value.items() if one and name[0] != "_" and name != "kind"]
        return " ".join([str(value.get("kind", "")), *rest]).strip()
    return str(value) if isinstance(value, list) else value
