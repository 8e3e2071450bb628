"""Apply a function to images tile by tile, in the forward and in the backward pass.

The intermediate activations of the function (for a classifier, the hidden layer) exist for one tile at a time. The
backward pass computes them a second time. `torch.utils.checkpoint` around each tile would not save memory: for every
tile, autograd would allocate a gradient as large as the full feature maps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Area = tuple[slice, slice]  # rows, columns


class Tile(Protocol):
    """A part of a block. Only the activations of one tile exist at a time.

    Attributes:
        rows: the rows of the output that the tile computes.
        columns: the columns of the output that the tile computes.
    """

    rows: slice
    columns: slice

    def gather(self, tables: Sequence[Tensor]) -> list[Tensor]:
        """Compute the tensors that `output` needs. They are a linear function of the block's tables."""
        ...

    def add_gradients(self, totals: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Compute the gradients of the block's tables, and add them to `totals`.

        Args:
            totals: one tensor for each table. The gradient of the table is added to this tensor in place.
            gradients: the gradients of the tensors that `gather` returned.
        """
        ...

    def output(self, gathered: Sequence[Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """Compute the tile's output (B, height, width, C).

        Args:
            gathered: the tensors that `gather` returned.
            inputs: the argument `inputs` of `run_tiles`.
        """
        ...


class Block(Protocol):
    """A rectangle of the output that consists of tiles. The tiles share tables of features.

    Attributes:
        areas: for each map, the rows and columns of cells that the block needs.
    """

    areas: Sequence[Area]

    @property
    def tiles(self) -> Sequence[Tile]:
        """The tiles, which together cover the block."""
        ...

    def feature_tables(self, crops: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
        """Compute the tables that `Tile.gather` reads, without an autograd graph.

        Args:
            crops: for each map, the cells in `areas`, (B, C_l, rows, columns).
            inputs: the argument `inputs` of `run_tiles`.

        Returns:
            The tables, of shapes that the block defines.
        """
        ...

    def add_table_gradients(
        self,
        of_tables: Sequence[Tensor],
        crops: Sequence[Tensor],
        inputs: Sequence[Tensor],
        of_crops: Sequence[Tensor | None],
        of_inputs: Sequence[Tensor | None],
    ) -> None:
        """Compute the gradients of the arguments of `feature_tables`, and add them to totals.

        Args:
            of_tables: the gradients of the tables.
            crops: the argument of `feature_tables`.
            inputs: the argument of `feature_tables`.
            of_crops: for each crop, the total to which its gradient is added in place; None: it is not needed.
            of_inputs: the same for each input.
        """
        ...


def run_tiles(
    blocks: Sequence[Block],
    size: tuple[int, int],
    maps: Sequence[Tensor],
    inputs: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> Tensor:
    """Compute the outputs of all tiles, and assemble them into one tensor.

    Maps, inputs and parameters get gradients. The backward pass calls `Tile.output` a second time for each tile, with
    the same random numbers as in the forward pass.

    Args:
        blocks: the blocks, which together cover the output.
        size: (H, W) of the output.
        maps: (B, C_l, h_l, w_l), one for each tap. Each block gets the cells in its `areas`.
        inputs: further tensors, which every block and every tile gets unchanged.
        parameters: the other leaf tensors that `Tile.output` uses, such as the weights of later layers.

    Returns:
        (B, H, W, C), of the dtype of the tiles' outputs.
    """
    counts = len(maps), len(inputs)
    output: Tensor = _Tiles.apply(blocks, size, counts, *maps, *inputs, *parameters)
    return output


def _crops(maps: Sequence[Tensor], areas: Sequence[Area]) -> list[Tensor]:
    return [cells[:, :, rows, columns] for cells, (rows, columns) in zip(maps, areas, strict=True)]


class _Tiles(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, blocks: Sequence[Block], size: tuple[int, int], counts: tuple[int, int], *tensors: Tensor
    ) -> Tensor:
        maps, inputs, _ = _parts(tensors, counts)
        device = maps[0].device.type
        ctx.blocks, ctx.counts = blocks, counts
        ctx.random_state = _random_state(device)
        ctx.precision = device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        ctx.save_for_backward(*tensors)
        output = torch.empty(0)
        for block in blocks:
            tables = block.feature_tables(_crops(maps, block.areas), inputs)
            for tile in block.tiles:
                result = tile.output(tile.gather(tables), inputs)
                if not len(output):
                    output = result.new_empty(len(result), *size, result.shape[-1])
                output[:, tile.rows, tile.columns] = result
            del tables  # before the next block makes its own
        if not output.is_floating_point():
            ctx.mark_non_differentiable(output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        tensors: tuple[Tensor, ...] = ctx.saved_tensors
        maps, inputs, parameters = _parts(tensors, ctx.counts)
        totals = [torch.zeros_like(tensor) if tensor.requires_grad else None for tensor in tensors]
        of_maps, of_inputs, of_parameters = _parts(totals, ctx.counts)
        inputs = _leaves(inputs)
        wanted, of_wanted = _wanted([*inputs, *parameters]), [*of_inputs, *of_parameters]
        device, dtype, enabled = ctx.precision
        with (
            _random_numbers_from(ctx.random_state, device),
            torch.enable_grad(),
            torch.autocast(device, dtype=dtype, enabled=enabled),
        ):
            for block in ctx.blocks:
                crops = _crops(maps, block.areas)
                with torch.no_grad():
                    tables = block.feature_tables(crops, inputs)
                    of_tables = [torch.zeros_like(table) for table in tables]
                for tile in block.tiles:
                    with torch.no_grad():
                        gathered = tile.gather(tables)
                    for part in gathered:
                        part.requires_grad_()
                    part_gradients = torch.autograd.grad(
                        tile.output(gathered, inputs),
                        [*gathered, *wanted],
                        gradient[:, tile.rows, tile.columns],
                        allow_unused=True,
                    )
                    tile.add_gradients(of_tables, part_gradients[: len(gathered)])
                    _add(of_wanted, part_gradients[len(gathered) :])
                with torch.no_grad():
                    crop_totals = [
                        None if total is None else total[:, :, rows, columns]
                        for total, (rows, columns) in zip(of_maps, block.areas, strict=True)
                    ]
                    block.add_table_gradients(of_tables, crops, inputs, crop_totals, of_inputs)
                del tables, of_tables, gathered, part_gradients  # before the next block makes its own
        return None, None, None, *totals


_T = TypeVar("_T")


def _parts(tensors: Sequence[_T], counts: tuple[int, int]) -> tuple[Sequence[_T], Sequence[_T], Sequence[_T]]:
    """Split the tensors into maps, inputs and parameters; `counts` is (number of maps, number of inputs)."""
    maps, inputs = counts
    return tensors[:maps], tensors[maps : maps + inputs], tensors[maps + inputs :]


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in tensors]


def _wanted(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors if tensor.requires_grad]


def _add(totals: Sequence[Tensor | None], gradients: Sequence[Tensor | None]) -> None:
    """Add one gradient to each total that is not None, in place. A gradient of None counts as 0."""
    for total, part in zip([total for total in totals if total is not None], gradients, strict=True):
        if part is not None:
            total += part


def _random_state(device: str) -> list[Tensor]:
    """Return the states of the CPU's random generator and, unless `device` is "cpu", of the accelerator's generator."""
    return [torch.get_rng_state()] + ([] if device == "cpu" else [torch.get_device_module(device).get_rng_state()])


def _set_random_state(states: Sequence[Tensor], device: str) -> None:
    torch.set_rng_state(states[0])
    if device != "cpu":
        torch.get_device_module(device).set_rng_state(states[1])


@contextmanager
def _random_numbers_from(states: Sequence[Tensor], device: str) -> Iterator[None]:
    """Run a `with` block with earlier states of the random generators, and afterwards undo this change."""
    before = _random_state(device)
    _set_random_state(states, device)
    try:
        yield
    finally:
        _set_random_state(before, device)
