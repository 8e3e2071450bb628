"""Files that hold a complete model: a JSON header, which says what it is, and its tensors."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError, is_out_of_memory, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.io.files import atomic_write

HEADER = "hypercolumns"  # where both kinds of files keep the header
DIGEST = "sha256"  # in the header of a safetensors file, of all else in it; checkpoints have checksums of their own
FORMAT = 1
MAX_HEADER_LENGTH = 1_000_000  # characters; real ones have some thousands
TRAINED = "segmenter."  # what precedes the names of a segmenter's tensors in a module that trains all of it
MODEL_FILE = "model.safetensors"  # in the folder of a run
EXPECTED = f"pass the {MODEL_FILE} of a finished run, its folder, or one of its checkpoints"

Header = Mapping[str, Any]


def write_model(path: Path, header: Header, tensors: Mapping[str, Tensor]) -> None:
    """Write one self-contained safetensors file, whole or not at all."""
    text = json.dumps({**header, DIGEST: _digest(header, tensors)})
    with atomic_write(path) as temporary:
        safetensors.torch.save_file(dict(tensors), temporary, metadata={HEADER: text})


def find_model(path: Path, setting: str = "model") -> Path:
    """The file that the path of a setting means, which may be a run's folder; HypercolumnsError if there is none."""
    file = path / MODEL_FILE if path.is_dir() else path
    if not file.is_file():
        what = f"is a folder without a {MODEL_FILE}" if path.is_dir() else "is not a file"
        raise HypercolumnsError(f"{setting}={path} {what}; {EXPECTED}")
    return file


def read_model(path: Path) -> tuple[Header, dict[str, Tensor]]:
    """The header and the tensors of a file that `write` wrote, or of a checkpoint with what `in_checkpoint` gives.

    Nothing in it is executed. Raises HypercolumnsError if it is damaged or something else.
    """
    try:
        header, tensors = _read_checkpoint(path) if zipfile.is_zipfile(path) else _read_safetensors(path)
    except Exception as error:  # of a file that is anything at all
        if is_out_of_memory(error):
            raise
        raise HypercolumnsError(
            f"model={path} is not a model of this program ({summarize_error(error)}); {EXPECTED}"
        ) from error
    return header, tensors


def checkpoint_entry(header: Header, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What makes a Lightning checkpoint a complete model: the header, and the tensors that its module lacks."""
    return {HEADER: {"header": json.dumps(header), "tensors": dict(tensors)}}


def _read_safetensors(path: Path) -> tuple[Header, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if HEADER not in metadata:
            raise ValueError("tensors without the description of a model")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    header = _header(metadata[HEADER])
    if DIGEST in header and header.pop(DIGEST) != _digest(header, tensors):  # earlier versions wrote none
        raise ValueError("it has changed since it was written: its sha256 differs")
    return header, tensors


def _read_checkpoint(path: Path) -> tuple[Header, dict[str, Tensor]]:
    checkpoint = checkpoints.load_plain(path)
    if HEADER not in checkpoint:
        raise ValueError("a checkpoint without the description of a model, as earlier versions wrote them")
    header, tensors = _header(checkpoint[HEADER]["header"]), checkpoint[HEADER]["tensors"]
    trained = {name.removeprefix(TRAINED): one for name, one in checkpoint["state_dict"].items()}
    parts = ("backbone.", "classifier.")  # a module has other things besides, such as its metrics
    return header, {**tensors, **{name: one for name, one in trained.items() if name.startswith(parts)}}


def _header(text: str) -> dict[str, Any]:
    if len(text) > MAX_HEADER_LENGTH:
        raise ValueError(f"its description has {len(text)} characters, more than {MAX_HEADER_LENGTH}")
    header = json.loads(text)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError("a header of an unknown format")
    return header


def _digest(header: Header, tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of all that a file says."""
    digest = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), [*tensor.shape]]).encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
