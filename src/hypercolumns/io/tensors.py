"""Writing named tensors to a file."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from hypercolumns.io.files import atomic_write


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    safetensors (0.8.0) writes to a file of a random name beside the one that it is given, and a kill leaves that: its
    folder is therefore one of ours, which `remove_temporaries` knows.

    Args:
        path: of the file.
        tensors: by name.
        metadata: of the file's header.

    Raises:
        HypercolumnsError: if it can't be written.
    """
    with atomic_write(path) as temporary:
        folder = temporary.with_name(f"{temporary.stem}d.tmp")
        folder.mkdir()
        try:
            file = folder / "tensors"
            safetensors.torch.save_file(dict(tensors), file, dict(metadata))
            file.replace(temporary)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
