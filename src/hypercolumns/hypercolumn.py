"""Hypercolumns: alignment, dense and at points. The only place that interpolates.

The hypercolumn at a pixel is the concatenation, over the taps, of each tap's map interpolated bilinearly at that pixel
(Hariharan et al., CVPR 2015, arXiv:1411.5752).

Shapes: B images, tap l has the map (B, C_l, h_l, w_l), D = sum of C_l, N points, K channels of a projection.
Coordinates: points are (y, x) in pixels of the image that the maps were made from, (0, 0) the centre of the top left
pixel; they may be fractional, and may lie outside, where the border's value continues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypercolumns.errors import HypercolumnsError
from hypercolumns.taps import Tap
from hypercolumns.tiles import run_tiles

Alignment = Literal["exact", "half_pixel", "corners"]
Size = tuple[int, int]


def cell_coordinates(
    pixels: Tensor, cells: int, size: int, stride: float, offset: float, alignment: Alignment
) -> Tensor:
    """Where pixels of an image lie among the cells of a map, along one axis.

    `pixels` are float64 pixel coordinates on an axis of `size` pixels, over which a map has `cells` cells. The result
    has their shape and lies in [0, cells - 1], clamped at the border.

    - exact: by the centres of the cells' receptive fields, pixel = offset + stride * cell;
    - half_pixel: the map stretched over the image, edges on edges (`align_corners=False`);
    - corners: the map stretched over the image, first and last centres on each other (`align_corners=True`).
    """
    match alignment:
        case "exact":
            coordinates = (pixels - offset) / stride
        case "half_pixel":
            coordinates = (pixels + 0.5) * (cells / size) - 0.5
        case "corners":
            coordinates = pixels * ((cells - 1) / max(size - 1, 1))
    return coordinates.clamp(0, cells - 1)


def neighbours(coordinates: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the two cells around each coordinate, and the weight of the second: (int64, int64, float64)."""
    low = coordinates.floor().long()
    return low, (low + 1).clamp(max=cells - 1), coordinates - low


def interpolation_matrix(coordinates: Tensor, cells: int) -> Tensor:
    """Linear interpolation along one axis as a (len(coordinates), cells) matrix; each row sums to 1. float64."""
    low, high, weight = neighbours(coordinates, cells)
    matrix = coordinates.new_zeros(len(coordinates), cells)
    matrix.scatter_add_(1, low[:, None], (1 - weight)[:, None])
    return matrix.scatter_add_(1, high[:, None], weight[:, None])


@dataclass(frozen=True)
class Hypercolumn:
    """The hypercolumns of a set of taps, under an alignment.

    Raises HypercolumnsError if the alignment is not one of `exact`, `half_pixel` and `corners`.
    """

    taps: tuple[Tap, ...]
    alignment: Alignment = "exact"

    def __post_init__(self) -> None:
        """Refuse an unknown alignment."""
        if self.alignment not in get_args(Alignment):
            raise HypercolumnsError(
                f"alignment={self.alignment} is not known; choose one of {', '.join(get_args(Alignment))}"
            )

    @property
    def channels(self) -> int:
        """D, the length of a hypercolumn."""
        return sum(tap.channels for tap in self.taps)

    def dense(
        self, maps: Sequence[Tensor], size: Size, rows: Tensor | None = None, columns: Tensor | None = None
    ) -> Tensor:
        """The hypercolumn of every pixel, (B, D, H, W): the plain form, which holds the whole of it in memory.

        `size` is (height, width) of the image that the maps were made from. Where `rows` or `columns` (pixel
        coordinates) are given, the hypercolumns are those of the pixels on these rows and columns.
        """
        upsampled = []
        for tap, cells in zip(self.taps, maps, strict=True):
            vertical, horizontal = self._matrices(tap, cells, size, rows, columns)
            upsampled.append(vertical @ cells @ horizontal.T)
        return torch.cat(upsampled, dim=1)

    def at(self, maps: Sequence[Tensor], points: Tensor, size: Size) -> Tensor:
        """The hypercolumns at `points` (B, N, 2), as (B, N, D); cost N x D, whatever the size of the image."""
        batch, count, _ = points.shape
        points = points.cpu()  # where there is float64, unlike on some accelerators
        sampled = []
        for tap, cells in zip(self.taps, maps, strict=True):
            height, width = cells.shape[-2:]
            (top, bottom, down), (left, right, across) = (
                neighbours(self._coordinates(tap, axis, points[..., axis], cells.shape[-2:], size), side)
                for axis, side in enumerate((height, width))
            )
            corners = torch.stack(
                [top * width + left, top * width + right, bottom * width + left, bottom * width + right], dim=-1
            )
            weights = torch.stack(
                [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], dim=-1
            )
            first_cell = torch.arange(batch)[:, None, None] * (height * width)
            sampled.append(
                F.embedding_bag(
                    (corners + first_cell).reshape(-1, 4).to(cells.device),
                    cells.permute(0, 2, 3, 1).reshape(-1, tap.channels),
                    per_sample_weights=weights.reshape(-1, 4).to(cells),
                    mode="sum",
                ).reshape(batch, count, tap.channels)
            )
        return torch.cat(sampled, dim=-1)

    def classify(
        self,
        maps: Sequence[Tensor],
        size: Size,
        weight: Tensor,
        bias: Tensor,
        rest: nn.Module,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        tile: Size = (16, 64),
    ) -> Tensor:
        """`rest(weight . hypercolumn + bias)` of every pixel, (B, H, W, classes), without building a hypercolumn.

        Upsampling is linear and so commutes with the first layer: weight . concat(up(F_l)) = sum_l up(weight_l F_l).
        Each tap is projected at its own resolution, taps on one grid are summed, and the projections are upsampled and
        passed through `rest` a tile of pixels at a time, in training too. `weight` is (K, D), `bias` (K,), `rest`
        maps (..., K) to (..., classes). But for rounding the result does not depend on `tile`. A tap of stride 1 still
        makes one projection of K x H x W.
        """
        grids: dict[object, tuple[Tap, Tensor]] = {}
        for tap, cells, part in zip(self.taps, maps, weight.split([t.channels for t in self.taps], dim=1), strict=True):
            projected = F.linear(cells.permute(0, 2, 3, 1), part)
            grid = (tap.stride, tap.offset, projected.shape)
            grids[grid] = (tap, grids[grid][1] + projected if grid in grids else projected)
        # Interpolation weights sum to 1, so a bias added to any one grid's cells is a bias added to every pixel.
        coarsest = min(grids, key=lambda grid: grids[grid][1].numel())
        grids[coarsest] = (grids[coarsest][0], grids[coarsest][1] + bias)

        bands = [
            [
                _bands(self._coordinates(tap, axis, where, cells.shape[1:3], size), cells, axis, tile[axis])
                for axis, where in enumerate(self._pixels(size, rows, columns))
            ]
            for tap, cells in grids.values()
        ]

        def cut(y: int, x: int) -> list[tuple[slice, slice]]:
            return [(vertical[y][0], horizontal[x][0]) for vertical, horizontal in bands]

        def evaluate(y: int, x: int, cuts: Sequence[Tensor]) -> Tensor:
            upsampled = [
                _upsample(cells, vertical[y][1], horizontal[x][1])
                for cells, (vertical, horizontal) in zip(cuts, bands, strict=True)
            ]
            output: Tensor = rest(torch.stack(upsampled).sum(0) if len(upsampled) > 1 else upsampled[0])
            return output

        return run_tiles(
            evaluate, cut, (len(bands[0][0]), len(bands[0][1])), [cells for _, cells in grids.values()], rest
        )

    def _matrices(
        self, tap: Tap, cells: Tensor, size: Size, rows: Tensor | None, columns: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The interpolation matrices over a (B, C, h, w) map's rows and columns, in its type and on its device."""
        shape = (cells.shape[-2], cells.shape[-1])
        vertical, horizontal = (
            interpolation_matrix(self._coordinates(tap, axis, where, shape, size), shape[axis]).to(cells)
            for axis, where in enumerate(self._pixels(size, rows, columns))
        )
        return vertical, horizontal

    def _coordinates(self, tap: Tap, axis: int, pixels: Tensor, cells: Sequence[int], size: Size) -> Tensor:
        return cell_coordinates(
            pixels.cpu().double(), cells[axis], size[axis], tap.stride[axis], tap.offset[axis], self.alignment
        )

    @staticmethod
    def _pixels(size: Size, rows: Tensor | None, columns: Tensor | None) -> tuple[Tensor, Tensor]:
        return (
            torch.arange(size[0]) if rows is None else rows,
            torch.arange(size[1]) if columns is None else columns,
        )


Band = tuple[slice, Tensor]


def _bands(coordinates: Tensor, like: Tensor, axis: int, step: int) -> list[Band]:
    """The axis in bands of `step` pixels: for each, the cells that it touches and the matrix that interpolates them."""
    bands = []
    cells = like.shape[1 + axis]
    for band in coordinates.split(step):
        first, last = int(band.min()), min(int(band.max()) + 1, cells - 1)
        bands.append((slice(first, last + 1), interpolation_matrix(band - first, last + 1 - first).to(like)))
    return bands


def _upsample(cells: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """(B, h, w, K) cells to (B, H, W, K) pixels, by matrices of (H, h) and (W, w)."""
    batch, _, width, channels = cells.shape
    rows = (vertical @ cells.flatten(2)).view(batch, len(vertical), width, channels)
    return horizontal @ rows
