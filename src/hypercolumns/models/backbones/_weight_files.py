"""Read the state dict of a network from one file: a file of safetensors, a file of `torch.save`, or a checkpoint."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from hypercolumns.errors import ArgumentError, HypercolumnsError, summarize_error
from hypercolumns.io import checkpoints
from hypercolumns.io.decoding import RGB
from hypercolumns.io.files import read_json
from hypercolumns.runtime.progress import console

MAX_SHOWN = 3  # maximum number of tensor names that an error message lists
EXPECTED = "expected a state dict saved by torch.save or as safetensors"
# Entries of checkpoints that hold a network, the preferred ones first: averaged weights, then the teacher, which the
# authors of DINO use as the backbone.
ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "teacher",
    "state_dict",
    "model",
    "student",
    "module",
    "network",
    "backbone",
    "encoder",
)
INDEX = ".index.json"  # the end of the name of a file that lists shards
State = Mapping[str, Tensor]
# The mean and the standard deviation (red, green, blue) by which images in [0, 1] are normalised.
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def report(message: str) -> None:
    """Print one line about the weights that are loaded."""
    console.print(f"cnn: {message}", markup=False)


def some(names: Sequence[str]) -> str:
    """Join the first names for a message."""
    return ", ".join(names[:MAX_SHOWN]) + (" and others" if len(names) > MAX_SHOWN else "")


def read_state(path: Path) -> tuple[State, Normalisation | None]:
    """Read a state dict from a file.

    Returns:
        The state dict by the names in the file, and the mean and standard deviation if the metadata of a file of
        safetensors has both (`mean` and `std`, each a JSON list of three numbers); otherwise None.

    Raises:
        ArgumentError: if the file can't be read, or holds no state dict of dense tensors.
    """
    if path.name.endswith(INDEX):
        return _read_shards(path), None
    metadata: Mapping[str, str] = {}
    try:
        if path.suffix == ".safetensors":
            content, metadata = _read_safetensors(path)
        else:
            content = checkpoints.load_plain(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ArgumentError(f"weights={path} can't be read ({summarize_error(error)}); {EXPECTED}") from error
    return _find_state(content, path), normalisation_of(metadata, path)


def normalisation_of(values: Mapping[str, Any], path: Path) -> Normalisation | None:
    """Return the mean and the standard deviation that a file states, and print them.

    Args:
        values: the content of the file. `mean` and `std` are lists of numbers, or such lists as JSON text.
        path: the file, for messages.

    Returns:
        The mean and the standard deviation; None if `values` has neither of the two.

    Raises:
        ArgumentError: if the file states only one of the two, or something other than three numbers.
    """
    given = [values.get("mean"), values.get("std")]
    if given == [None, None]:
        return None
    try:
        mean, std = (_numbers(value) for value in given)
        if not all(std):
            raise ValueError
    except (TypeError, ValueError):
        raise ArgumentError(
            f"weights={path} states mean={given[0]} and std={given[1]}, expected three finite numbers for each, and "
            f"no 0 in std; mend or remove both"
        ) from None
    report(f"mean {_rounded(mean)} and std {_rounded(std)} of the images are taken from {path}")
    return mean, std


def _numbers(value: Any) -> tuple[float, ...]:
    numbers = tuple(float(number) for number in (json.loads(value) if isinstance(value, str) else value))
    if len(numbers) != RGB or not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


def _rounded(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    with safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}


def _read_shards(index: Path) -> State:
    """Read a state dict whose tensors are spread over the files that an index of Hugging Face lists."""
    try:
        shards = set(read_json(index)["weight_map"].values())
    except (HypercolumnsError, KeyError, AttributeError, TypeError) as error:
        raise ArgumentError(
            f"weights={index} can't be read ({summarize_error(error)}); expected the index of a state dict in several "
            f"files, with a weight_map"
        ) from error
    if odd := [str(name) for name in shards if not isinstance(name, str) or Path(name).name != name]:
        raise ArgumentError(f"weights={index} lists {some(odd)}, expected the names of files in its own folder")
    if missing := sorted(name for name in shards if not (index.parent / name).is_file()):
        raise ArgumentError(f"weights={index} lists {some(missing)}, but its folder lacks them; download them, too")
    state: dict[str, Tensor] = {}
    for name in sorted(shards):
        state |= read_state(index.parent / name)[0]
    return state


def _find_state(content: Any, path: Path) -> State:
    """Return the state dict in the content of a file, which may be in an entry of a checkpoint.

    Raises:
        ArgumentError: if there is none.
    """
    while isinstance(content, Mapping):
        entries = [name for name in ENTRIES if isinstance(content.get(name), Mapping) and content[name]]
        if not entries:
            break
        if len(entries) > 1:
            report(f"of {', '.join(entries)} in {path}, the weights in {entries[0]} are loaded")
        content = content[entries[0]]
    if not isinstance(content, Mapping):
        raise ArgumentError(f"weights={path} holds a {type(content).__name__}; {EXPECTED}")
    others = [str(name) for name, value in content.items() if not (isinstance(name, str) and _is_plain(value))]
    if others or not content:
        found = f"entries that are not named dense tensors, such as {some(others)}" if others else "nothing"
        raise ArgumentError(f"weights={path} holds {found}; {EXPECTED}")
    return content


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor of real numbers that is dense, not quantised, and on the CPU."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return False
    return not (value.is_quantized or value.is_complex())
