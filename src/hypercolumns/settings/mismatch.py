"""Say in words how the data, the weights and the models of an earlier run or store differ from those of this command.

Fingerprints contain hashes of these. The file `config.yaml` of the run or the store has the settings that chose them.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, shorten_list
from hypercolumns.io.files import file_hash, read_json
from hypercolumns.models import model_file
from hypercolumns.runs.file_names import ENVIRONMENT
from hypercolumns.runs.lookup import changed_settings
from hypercolumns.settings.compose import plain
from hypercolumns.settings.schema import BY_NAME, NOTHING

SPLITS = ("train", "val")
COUNTS = "data.images."  # how the entries of a fingerprint begin that count the images of a split
HASH = re.compile(r'"?\b[0-9a-f]{16}\b"?')  # of a file
MODELS = ("init_from", "model")  # settings that name models


def in_words(cfg: DictConfig, folder: Path, changes: Mapping[str, str]) -> list[str]:
    """Describe the differences of two fingerprints without hashes.

    Args:
        cfg: the config of this command.
        folder: the folder of the run or the store whose fingerprint was compared.
        changes: a text for each entry of the fingerprint that differs, by its dotted name, as `lookup.differences`
            returns them.

    Returns:
        A text for each difference. Where a hash differs, the text names the settings that differ or, if none does, says
        that the files have changed.
    """
    before = _config(folder)
    lines = []
    for name, text in changes.items():
        split = name.removeprefix("data.")
        if name.startswith("data.") and split in SPLITS:
            lines.append(_images(cfg, before, split, changes.get(f"{COUNTS}{split}")))
        elif name == "cnn.weights":
            lines.append(_weights(cfg, before))
        elif name == "samples":
            lines.append(text.replace("samples is", "the store of samples is", 1))
        elif name in MODELS:
            lines.append(_with_paths(text, cfg, before, folder))
        elif not name.startswith(COUNTS):
            lines.append(text)
    chosen = {text for line in lines for text in line.partition(": ")[2].split("; ")}
    return [line for line in dict.fromkeys(lines) if line not in chosen]  # the seed may be listed of its own, too


def is_about_data(changes: Mapping[str, str]) -> bool:
    """Whether the differences of two fingerprints are those of other data."""
    return any(name.startswith("data.") for name in changes)


def _images(cfg: DictConfig, before: Mapping[str, Any], split: str, counts: str | None) -> str:
    """Say why the images or masks of a split differ, and how many images there are, if their number differs."""
    number = counts.removeprefix(f"{COUNTS}{split} is ") if counts else "their number is the same"
    settings = [text for name, text in _changed(cfg, before, "data").items() if _decides(name)]
    why = shorten_list(settings, "; ") if settings else _files(before, "files of data", cfg.data.get("root"))
    return f"the {split} images or masks are others ({number}): {why}"


def _weights(cfg: DictConfig, before: Mapping[str, Any]) -> str:
    changed = {**_changed(cfg, before, "init_from"), **_changed(cfg, before, "cnn")}
    named = [changed[name] for name in ("init_from", "cnn.weights") if name in changed]
    random = cfg.cnn.get("weights") is None and cfg.get("init_from") is None
    if not named and random and "cnn.seed" in changed:
        named = list(_changed(cfg, before, "seed").values()) or [changed["cnn.seed"]]
        return f"the random weights of the CNN (cnn.weights=null) are others: {'; '.join(named)}"
    if not named:
        source = cfg.get("init_from") or cfg.cnn.get("weights")
        named = [
            "the seed is the same, but other versions of PyTorch may draw others"
            if random
            else _files(before, "the weights", source)
        ]
    return f"the weights of the CNN are others: {'; '.join(named)}"


def _files(before: Mapping[str, Any], what: str, place: Any) -> str:
    """Say that files have changed; or that this is not known, if there is no config to compare with."""
    if not before:
        return "there is no config.yaml that says how they were chosen"
    return f"the settings are the same, so {what} ({place}) have changed since, or lie in another folder"


def _changed(cfg: DictConfig, before: Mapping[str, Any], group: str) -> dict[str, str]:
    """Describe the settings of a group, or a single setting, that differ between two configs; {} if one lacks it."""
    if group not in before or group not in cfg:
        return {}
    entries = ({group: before[group]}, {group: plain(cfg[group])})
    return {name: text for name, text in changed_settings(*entries).items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
    return name.rpartition(".")[2].startswith("_")


def _decides(name: str) -> bool:
    return name not in BY_NAME or BY_NAME[name].decides != NOTHING


def _with_paths(text: str, cfg: DictConfig, before: Mapping[str, Any], folder: Path) -> str:
    """Replace the hashes of model files in a text by their paths, as far as the files are found."""
    for path in _models(cfg, before, folder):
        key = file_hash(path)[:16]
        text = text.replace(f'"{key}"', str(path)).replace(key, str(path))
    return HASH.sub("(a file that is gone or has changed)", text)


def _models(cfg: DictConfig, before: Mapping[str, Any], folder: Path) -> Iterator[Path]:
    """Yield the model files that the two configs name, and those that stage pretrain has made beside the run."""
    directory = _directory(folder)
    for settings, start in ((before, directory), (cfg, Path.cwd())):
        for name in MODELS:
            if isinstance(value := settings.get(name), str):
                try:
                    yield model_file.find_model(start / Path(value).expanduser())
                except (HypercolumnsError, OSError):  # the file is gone
                    continue
    yield from sorted(path for path in folder.parent.parent.glob("pretrain/*/model.safetensors") if path.is_file())


def _directory(folder: Path) -> Path:
    try:
        return Path(str(read_json(folder / ENVIRONMENT)["directory"]))
    except (HypercolumnsError, KeyError, OSError):
        return Path.cwd()


def _config(folder: Path) -> dict[str, Any]:
    """Return the config that made a run or a store; {} if it can't be read, because this is only for a message."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    except Exception:  # a damaged file can raise anything
        return {}
    return {str(name): value for name, value in config.items()} if isinstance(config, dict) else {}
