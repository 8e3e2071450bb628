"""Evaluate a function of some maps tile by tile, recomputing each tile in the backward pass.

What a tile holds for a moment (here: the hidden layer of a classifier) never exists for the whole image, neither
forwards nor backwards. `torch.utils.checkpoint` around each tile would not do: the gradient of a slice is as large as
the map that it is cut from, once for each tile.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Cut = Callable[[int, int], Sequence[tuple[slice, slice]]]
Evaluate = Callable[[int, int, Sequence[Tensor]], Tensor]


def run_tiles(
    evaluate: Evaluate, cut: Cut, tiles: tuple[int, int], maps: Sequence[Tensor], module: nn.Module
) -> Tensor:
    """`evaluate` on each of `tiles` = (down, across) tiles, put together into (B, H, W, C).

    `cut(y, x)` says which rows and columns of each map (B, h, w, K) tile (y, x) needs; `evaluate(y, x, cuts)` turns
    these parts into the tile's output (B, tile height, tile width, C), with the help of `module`, whose parameters get
    gradients as the maps do. Random numbers drawn by `evaluate` are drawn alike in the backward pass.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    output: Tensor = _Tiles.apply(evaluate, cut, tiles, len(maps), *maps, *parameters)
    return output


def _cuts(maps: Sequence[Tensor], where: Sequence[tuple[slice, slice]]) -> list[Tensor]:
    return [cells[:, rows, columns] for cells, (rows, columns) in zip(maps, where, strict=True)]


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, evaluate: Evaluate, cut: Cut, tiles: tuple[int, int], map_count: int, *tensors: Tensor
    ) -> Tensor:
        maps = tensors[:map_count]
        ctx.evaluate, ctx.cut, ctx.tiles, ctx.map_count = evaluate, cut, tiles, map_count
        device = maps[0].device.type
        ctx.random_state = _random_state(device)
        ctx.precision = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.save_for_backward(*tensors)
        down, across = tiles
        return torch.cat(
            [torch.cat([evaluate(y, x, _cuts(maps, cut(y, x))) for x in range(across)], dim=2) for y in range(down)],
            dim=1,
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        maps, parameters = tensors[: ctx.map_count], tensors[ctx.map_count :]
        totals = [torch.zeros_like(tensor) if tensor.requires_grad else None for tensor in tensors]
        down, across = ctx.tiles
        device, dtype, enabled = ctx.precision
        with (
            _random_numbers_from(ctx.random_state, device),
            torch.enable_grad(),
            torch.autocast(device, dtype=dtype, enabled=enabled),
        ):
            top = 0
            for y in range(down):
                left, height = 0, 0
                for x in range(across):
                    where = ctx.cut(y, x)
                    cuts = [part.detach().requires_grad_() for part in _cuts(maps, where)]
                    tile = ctx.evaluate(y, x, cuts)
                    height, width = tile.shape[1:3]
                    parts = torch.autograd.grad(
                        tile, [*cuts, *parameters], gradient[:, top : top + height, left : left + width]
                    )
                    for total, part, (rows, columns) in zip(totals, parts, where, strict=False):
                        if total is not None:
                            total[:, rows, columns] += part
                    for total, part in zip(totals[ctx.map_count :], parts[ctx.map_count :], strict=True):
                        if total is not None:
                            total += part
                    left += width
                top += height
        return None, None, None, None, *totals


def _random_state(device: str) -> list[Tensor]:
    """The state of the CPU's generator, and of the accelerator's if that is the device."""
    return [torch.get_rng_state()] + ([] if device == "cpu" else [torch.get_device_module(device).get_rng_state()])


def _set_random_state(states: Sequence[Tensor], device: str) -> None:
    torch.set_rng_state(states[0])
    if device != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])


@contextmanager
def _random_numbers_from(states: Sequence[Tensor], device: str) -> Iterator[None]:
    before = _random_state(device)
    _set_random_state(states, device)
    try:
        yield
    finally:
        _set_random_state(before, device)
