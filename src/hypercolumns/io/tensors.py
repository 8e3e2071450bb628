"""Write named tensors to a file."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor

from hypercolumns.io.files import atomic_write


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file atomically.

    safetensors (0.8.0) first writes a file with a random name, and then renames it. If the process is killed before
    that, the file stays. This function therefore makes safetensors write into a temporary folder. If the process is
    killed, this folder stays, and `remove_temporaries` can remove it.

    Args:
        path: the file.
        tensors: the tensors by name.
        metadata: texts by name, which are written to the header of the file.

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
