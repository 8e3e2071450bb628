"""Load the weights and checkpoints that `torch.save` wrote, without executing code from the files."""

import argparse
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from hypercolumns.errors import is_out_of_memory, summarize_error


def find_corruption(path: Path) -> str | None:
    """Check a file in torch's zip format for damage, by its checksums. torch itself ignores the checksums.

    Returns:
        A clause that says what is damaged; None if the file is undamaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            broken = None if packed else archive.testzip()
        if packed:
            return f"{packed[0]} is compressed, but torch.save writes no compressed entries"
    except Exception as error:  # a damaged file can raise anything
        return summarize_error(error)
    return broken and f"the contents of {broken} do not match their checksum"


def load_plain(path: Path) -> Any:
    """Load a file that `torch.save` wrote, without executing code from it. The tensors are loaded to the CPU.

    Raises:
        ValueError: if the file can't be read, is damaged, or holds objects that are neither tensors nor plain values.
    """
    try:
        # a file in torch's legacy format is not a zip file, and has no checksums
        damage = find_corruption(path) if zipfile.is_zipfile(path) else None
        if damage:
            raise ValueError(damage)
        # Checkpoints of other programs often hold their arguments in a Namespace, a class without code of its own.
        plain = torch.serialization.safe_globals([argparse.Namespace])
        with warnings.catch_warnings(action="ignore"), plain:  # torch warns about some files before it rejects them
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler and zipfile can raise anything
        if is_out_of_memory(error):
            raise
        raise ValueError(summarize_error(error)) from error
