"""Find the stores and models that earlier stages have made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypercolumns.runs.file_names import ENVIRONMENT, RUN_FILE
from hypercolumns.runs.inventory import flat
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.store import INDEX, fingerprint_of


def finished_stores(parent: Path) -> list[tuple[Path, Fingerprint]]:
    """Return (folder, fingerprint) of each finished store in `parent`, the most recently finished store first."""
    stores = sorted(parent.glob(f"*/{INDEX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    fingerprints = [(path.parent, fingerprint_of(path.parent)) for path in stores]
    return [(folder, fingerprint) for folder, fingerprint in fingerprints if fingerprint is not None]


def finished_models(parent: Path) -> list[tuple[Path, Fingerprint]]:
    """Return (folder, fingerprint) of each finished run in `parent`, the most recently finished run first.

    Runs without a model are left out.
    """
    runs = [Run(path.parent) for path in parent.glob(f"*/{RUN_FILE}") if not path.parent.is_symlink()]
    finished = [run for run in runs if run.finished and run.model.is_file()]
    finished.sort(key=lambda run: run.finished or "", reverse=True)
    return [(run.folder, run.fingerprint) for run in finished]


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Describe the entries of `wanted` that are missing in `found` or have another value in `found`.

    Args:
        found: the fingerprint of a store or a run, or the settings of a model.
        wanted: the entries that `found` must have for this command, by name.
        prefix: the text to put before the name of each entry, such as `sampler.` for the entries of `sampler`.

    Returns:
        A text for each of these entries, such as `sampler.n is 30, this command has 4`, by its dotted name, such as
        `sampler.n`. If the entry is missing in `found`, the text shows `null` in place of 30.
    """
    lines: dict[str, str] = {}
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines |= differences(other, value, f"{prefix}{name}.")
        elif _text(other) != _text(value):
            lines[f"{prefix}{name}"] = f"{prefix}{name} is {_short(other)}, this command has {_short(value)}"
    return lines


def changed_settings(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Describe all differences of two fingerprints, also the entries that only one of them has.

    Args:
        found: the fingerprint of a run.
        wanted: the fingerprint that this command gives.

    Returns:
        A text for each entry that differs, as in `differences`, by the dotted name of the entry, such as `sampler.n`.
    """
    before, now = dict(flat(found)), dict(flat(wanted))
    return {
        name: f"{name} is {_short(before.get(name))}, this command has {_short(now.get(name))}"
        for name in {**now, **before}
        if _text(before.get(name)) != _text(now.get(name))
    }


def is_vacant(folder: Path) -> bool:
    """Whether a folder contains nothing but hidden files and those that say how a store is made.

    This is the case for a store until its first shard is written.
    """
    return all(path.name in ("config.yaml", ENVIRONMENT) or path.name.startswith(".") for path in folder.iterdir())


def _text(value: object) -> str:
    """Return a value as JSON, like the keys of runs: 1 and 1.0 differ, which `limit_train_batches` tells apart."""
    return json.dumps(value, sort_keys=True)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
