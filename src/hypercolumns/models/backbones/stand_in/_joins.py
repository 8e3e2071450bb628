"""What replaces the functions that join maps in the stand-in for a network: sums, products and concatenations."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor

from hypercolumns.models.backbones.stand_in._maps import (
    StandInMap,
    channel_mean,
    joined,
    mapped,
    scaled,
    spread,
    tensors_in,
    thin,
    whole,
    without_parameters,
)

OTHER_PATH = 1e-6  # how much a path counts beside the preferred one, see `prefer_path`
Path = Literal["first", "last"]
_PREFERRED: ContextVar[Path | None] = ContextVar("_PREFERRED", default=None)


@contextlib.contextmanager
def prefer_path(path: Path) -> Iterator[None]:
    """Let one path decide where paths join: the first or the last one among the arguments of the joining function.

    The weights of a real network may prefer any path, so the centres of its cells lie between the two results.
    """
    token = _PREFERRED.set(path)
    try:
        yield
    finally:
        _PREFERRED.reset(token)


def _weighted(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return maps that join, multiplied by how much each of them counts."""
    preferred = _PREFERRED.get()
    if preferred is None:
        return list(maps)
    kept = 0 if preferred == "first" else len(maps) - 1
    return [each if number == kept else scaled(each, OTHER_PATH) for number, each in enumerate(maps)]


def product(func: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the stand-in for a function that sums products: of two maps, or of a map and a parameter.

    The product of two maps, as in attention, mixes distant cells and has no place of its own.

    Args:
        func: the function, such as `torch.matmul`.
        args: the positional arguments of its call.
        kwargs: the keyword arguments of its call.

    Returns:
        As `func`.
    """
    maps = [part for part in tensors_in([args, kwargs]) if isinstance(part, StandInMap)]
    if len(maps) == 1 and len(args) == 2 and maps[0] is args[0]:
        x, weight = args
        return spread(channel_mean(x, x.ndim - 1), (*x.shape[:-1], weight.shape[-1]))

    def on_meta(tensor: Tensor) -> Tensor:
        return tensor.to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)

    results = func(*mapped(on_meta, args), **mapped(on_meta, kwargs))
    value = math.nan if maps[0].gated else 0.0
    # With memory of its own, because some networks change parts of it in place (MViT).
    return mapped(lambda result: torch.full(result.shape, value, dtype=torch.float64), results)


def _combined(*parts: Any, **_: Any) -> Tensor:
    """Return the sum of the maps among the arguments.

    The sum stands in for every function that combines maps cell by cell: sums, products, quotients, maxima and similar
    functions. Numbers and parameters among the arguments are ignored. A map that repeats along more dimensions than
    another one is taken to be a gate, and is left out unless it is a `GatedMeanPropagation`.
    """
    maps = [part for part in parts if isinstance(part, StandInMap)]
    shape = torch.broadcast_shapes(*(part.shape for part in parts if isinstance(part, Tensor)))

    def repeats(part: Tensor) -> int:
        sides = [1] * (len(shape) - part.ndim) + list(part.shape)
        return sum(side != full for side, full in zip(sides, shape, strict=True))

    fewest = min(map(repeats, maps))
    counted = [part for part in maps if part.gated or repeats(part) == fewest]
    return spread(functools.reduce(torch.add, map(thin, _weighted(counted))), shape)


def _concatenated(maps: Sequence[Tensor], dim: int = 0, **settings: Any) -> Tensor:
    dim = settings.pop("axis", dim)
    parts = _weighted([part if isinstance(part, StandInMap) else without_parameters(part) for part in maps])
    if settings or dim not in (1, -3) or any(part.ndim != 4 for part in parts):
        return torch.cat([whole(part) for part in parts], dim, **settings)
    return joined(parts)


# Functions of two maps or more that sum products of their values.
PRODUCTS = set(
    "matmul rmatmul bmm mm mv dot baddbmm addmm addbmm einsum tensordot "
    "scaled_dot_product_attention multi_head_attention_forward".split()
)
STAND_INS: dict[str, Callable[..., Tensor]] = {"cat": _concatenated, "concat": _concatenated}
STAND_INS |= dict.fromkeys(
    "add radd iadd sub rsub isub subtract mul rmul imul multiply div rdiv idiv divide truediv rtruediv itruediv "
    "true_divide addcmul addcdiv pow rpow maximum minimum".split(),
    _combined,
)
