"""Find the stores and models that earlier stages made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypercolumns.runs.file_names import RUN_FILE
from hypercolumns.runs.run import Identity, Run
from hypercolumns.store import INDEX, fingerprint_of


def finished_stores(parent: Path) -> list[tuple[Path, Identity]]:
    """Return the finished stores in a folder with their identities, newest first."""
    stores = sorted(parent.glob(f"*/{INDEX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    identities = [(path.parent, fingerprint_of(path.parent)) for path in stores]
    return [(folder, identity) for folder, identity in identities if identity is not None]


def finished_models(parent: Path) -> list[tuple[Path, Identity]]:
    """Return the finished runs in a folder that have a model, with their identities, newest first."""
    runs = [Run(path.parent) for path in parent.glob(f"*/{RUN_FILE}") if not path.parent.is_symlink()]
    finished = [run for run in runs if run.finished and run.model.is_file()]
    finished.sort(key=lambda run: run.finished or "", reverse=True)
    return [(run.folder, run.identity) for run in finished]


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Describe the entries of `wanted` that `found` lacks or has with another value.

    Args:
        found: the identity of a store or run.
        wanted: the entries that this command needs.
        prefix: the text before an entry's name, for nested entries.

    Returns:
        One text per difference, with both values.
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
    """Whether a folder holds only hidden files and `config.yaml`, as a store does before its first shard."""
    return all(path.name == "config.yaml" or path.name.startswith(".") for path in folder.iterdir())


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
