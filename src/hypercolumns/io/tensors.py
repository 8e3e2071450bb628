"""Write named tensors to a file."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from hypercolumns.io.files import atomic_write


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically.

    safetensors (0.8.0) first writes to a random file name in the folder of its target, and a kill leaves that file
    behind. The target therefore lies in a temporary folder, which `remove_temporaries` removes.

    Args:
        path: the file.
        tensors: the tensors by name.
        metadata: the metadata in the file's header.

    Raises:
        HypercolumnsError: if the file can't be written.
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
