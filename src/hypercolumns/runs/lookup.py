"""Finding what earlier stages made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypercolumns.runs.file_names import RUN_FILE
from hypercolumns.runs.run import Identity, Run
from hypercolumns.store import INDEX, fingerprint_of


def finished_stores(parent: Path) -> list[tuple[Path, Identity]]:
    """The finished stores in a folder and what decided their contents, the newest first."""
    stores = sorted(parent.glob(f"*/{INDEX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [(path.parent, found) for path in stores if (found := fingerprint_of(path.parent)) is not None]


def finished_models(parent: Path) -> list[tuple[Path, Identity]]:
    """The finished runs with a model in a folder and their identities, the newest first."""
    runs = [Run(path.parent) for path in parent.glob(f"*/{RUN_FILE}") if not path.parent.is_symlink()]
    finished = [run for run in runs if run.finished and run.model.is_file()]
    finished.sort(key=lambda run: run.finished or "", reverse=True)
    return [(run.folder, run.identity) for run in finished]


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs, with both values, for every entry of `wanted`."""
    lines = []
    for name, value in wanted.items():
        other = found.get(name)
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            lines += differences(other, value, f"{prefix}{name}.")
        elif other != value:
            lines.append(f"{prefix}{name} is {_short(other)}, this command has {_short(value)}")
    return lines


def is_vacant(folder: Path) -> bool:
    """Whether a folder holds nothing but what is there when a store has just been begun."""
    return all(path.name == "config.yaml" or path.name.startswith(".") for path in folder.iterdir())


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
