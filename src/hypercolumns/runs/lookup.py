"""Find the stores and models that earlier stages have made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypercolumns.runs.file_names import RUN_FILE
from hypercolumns.runs.run import Fingerprint, Run
from hypercolumns.store import INDEX, fingerprint_of


def finished_stores(parent: Path) -> list[tuple[Path, Fingerprint]]:
    """Return (folder, fingerprint) of each finished store in `parent`, the last one to finish first."""
    stores = sorted(parent.glob(f"*/{INDEX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    fingerprints = [(path.parent, fingerprint_of(path.parent)) for path in stores]
    return [(folder, fingerprint) for folder, fingerprint in fingerprints if fingerprint is not None]


def finished_models(parent: Path) -> list[tuple[Path, Fingerprint]]:
    """Return (folder, fingerprint) of each finished run in `parent` that has a model, the last one to finish first."""
    runs = [Run(path.parent) for path in parent.glob(f"*/{RUN_FILE}") if not path.parent.is_symlink()]
    finished = [run for run in runs if run.finished and run.model.is_file()]
    finished.sort(key=lambda run: run.finished or "", reverse=True)
    return [(run.folder, run.fingerprint) for run in finished]


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Describe the entries of `wanted` that are missing in `found`, or have another value there.

    Args:
        found: the fingerprint of a store or a run, or the settings of a model.
        wanted: the entries that `found` must have for this command, by name.
        prefix: the text before the name of an entry, such as `sampler.` for the entries of `sampler`.

    Returns:
        One text for each such entry, such as `sampler.n is 30, this command has 4`. For a missing
        entry, the text says null.
    """
    lines = []
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines += differences(other, value, f"{prefix}{name}.")
        elif other != value:
            lines.append(f"{prefix}{name} is {_short(other)}, this command has {_short(value)}")
    return lines


def is_vacant(folder: Path) -> bool:
    """Whether a folder contains only hidden files and `config.yaml`, like a store whose first shard is not written."""
    return all(path.name == "config.yaml" or path.name.startswith(".") for path in folder.iterdir())


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
