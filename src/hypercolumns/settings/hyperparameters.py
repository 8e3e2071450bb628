"""Format the settings of a run for TensorBoard's table of hyperparameters."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypercolumns.settings import compose
from hypercolumns.settings.compose import plain
from hypercolumns.settings.schema import SETTINGS, decides, setting_of


def hyperparameters(cfg: DictConfig, also: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a run in TensorBoard's table of hyperparameters.

    The settings for which the schema declares a column have a column. Another setting on the command line has a column
    too if its value is a number and the result of the stage depends on it, because a sweep may vary it. Values None,
    "none" and "" are left out.

    Args:
        cfg: the config of the run.
        also: the values of further columns, by the name of the column.

    Returns:
        The values, each a number, a bool or a short text, by the name of the column.
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
    """Convert the values of columns that are mappings or lists to short texts, and remove None, "none" and ""."""
    texts = {name: _word(value) for name, value in columns.items()}
    return {name: text for name, text in texts.items() if text not in (None, "none", "")}


def _word(value: Any) -> Any:
    """Convert a mapping or a list to a short text; return other values unchanged.

    The text of a mapping names its kind, and then its settings other than null, 0 and false: `uniform n=500`.
    """
    if isinstance(value, Mapping):
        rest = [
            f"{name}={_word(entry)}" for name, entry in value.items() if entry and name[0] != "_" and name != "kind"
        ]
        return " ".join([str(value.get("kind", "")), *rest]).strip()
    return str(value) if isinstance(value, list) else value
