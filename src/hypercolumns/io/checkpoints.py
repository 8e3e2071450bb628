"""Files that torch.save wrote: weights and checkpoints."""

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hypercolumns.errors import is_out_of_memory, summarize_error


def find_corruption(path: Path) -> str | None:
    """What is wrong with a file in torch's zip format, by the checksums in it, which torch leaves aside; or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            broken = None if packed else archive.testzip()
        if packed:
            return f"{packed[0]} is compressed, as torch.save does not"
    except Exception as error:  # of a file that is anything at all
        return summarize_error(error)
    return broken and f"the checksum of {broken} differs"


def load_plain(path: Path) -> Any:
    """Its tensors and plain values, on the CPU; nothing in it is executed. Raises ValueError if it can't be read."""
    try:
        damage = (
            find_corruption(path) if zipfile.is_zipfile(path) else None
        )  # torch's format of before has no checksums
        if damage:
            raise ValueError(damage)
        with warnings.catch_warnings(action="ignore"):  # of odd files, which are refused anyhow
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler met, or zipfile
        if is_out_of_memory(error):
            raise
        raise ValueError(summarize_error(error)) from error
