"""Hypercolumns: alignment, dense and at points. The only place that says how pixels lie among the cells of a map.

The hypercolumn at a pixel is the concatenation, over the taps, of each tap's map interpolated bilinearly at that pixel
(Hariharan et al., CVPR 2015, arXiv:1411.5752).

Shapes: B images, tap l has the map (B, C_l, h_l, w_l), D = sum of C_l, N points.
Coordinates: points are (y, x) in pixels of the image, (0, 0) the centre of the top left pixel; they may be fractional,
and may lie outside, where the border's value continues.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError
from hypercolumns.models.taps import CellGrid, Tap

Alignment = Literal["exact", "half_pixel", "corners"]


class FeatureMap(NamedTuple):
    """A map (B, C, h, w) of an image, and the pixel coordinates where its rows and columns of cells are centred."""

    values: Tensor
    row_centres: Tensor  # (h,) float64, rising
    column_centres: Tensor  # (w,) float64, rising


def check_alignment(alignment: str) -> None:
    """Raise ArgumentError unless it is one of `exact`, `half_pixel` and `corners`."""
    if alignment not in get_args(Alignment):
        raise ArgumentError(f"alignment={alignment} is not known; choose one of {', '.join(get_args(Alignment))}")


def cell_centres(geometry: CellGrid, cells: int, size: int, alignment: Alignment) -> Tensor:
    """Where `cells` cells over an axis of `size` pixels are taken to be centred: (cells,) float64, rising.

    - exact: at the centres of their receptive fields, which the geometry knows;
    - half_pixel: the map stretched over the image, edges on edges (`align_corners=False`);
    - corners: the map stretched over the image, first and last centres on each other (`align_corners=True`).
    """
    match alignment:
        case "exact":
            return geometry.centres(cells, size)
        case "half_pixel":
            return (torch.arange(cells, dtype=torch.float64) + 0.5) * ratio(size, cells) - 0.5
        case "corners":
            return torch.arange(cells, dtype=torch.float64) * ratio(
                torch.sym_max(size - 1, 1), torch.sym_max(cells - 1, 1)
            )


def ratio(length: int | torch.SymInt, other: int | torch.SymInt) -> Tensor:
    """Of two lengths, which may be symbolic, float64: of numbers that are no tensors an export keeps but float32."""
    return torch.full((), length, dtype=torch.float64) / torch.full((), other, dtype=torch.float64)


def locate_maps(taps: Sequence[Tap], maps: Sequence[Tensor], size: ImageSize, alignment: Alignment) -> list[FeatureMap]:
    """The taps' maps (B, C, h, w) of images of `size` = (height, width), with their centres."""
    return [
        FeatureMap(values, *tap_centres(tap, (values.shape[2], values.shape[3]), size, alignment))
        for tap, values in zip(taps, maps, strict=True)
    ]


def tap_centres(tap: Tap, cells: ImageSize, size: ImageSize, alignment: Alignment) -> tuple[Tensor, Tensor]:
    """Where (h, w) cells of a tap are taken to be centred along y (h,) and x (w,), in an image of that size.

    The alignment is one of layers with their image; a map of the image as a whole is where it is.
    """
    rows, columns = (
        cell_centres(geometry, count, length, "exact" if tap.is_global else alignment)
        for geometry, count, length in zip(tap.axes, cells, size, strict=True)
    )
    return rows, columns


def bilinear_neighbours(pixels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of the two cells around each pixel coordinate, and the weight of the second: (int64, int64, float64).

    Linear between centres; before the first and after the last the border's cell has all the weight.
    """
    if torch.compiler.is_exporting():
        return _exportable_neighbours(pixels, centres)
    if len(centres) == 1:
        only = torch.zeros(pixels.shape, dtype=torch.int64)
        return only, only, torch.zeros(pixels.shape, dtype=torch.float64)
    inside = pixels.double().clamp(centres[0], centres[-1])
    low = (torch.searchsorted(centres, inside, right=True) - 1).clamp(0, len(centres) - 2)
    return low, low + 1, (inside - centres[low]) / (centres[low + 1] - centres[low])


def _exportable_neighbours(pixels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`bilinear_neighbours` for a graph of any number of centres: one, or doubled ones at the end, too."""
    inside = pixels.double().clamp(centres[0], centres[-1])
    low = (centres <= inside[:, None]).sum(1) - 1
    high = (low + 1).clamp(max=centres.shape[0] - 1)
    distance = centres[high] - centres[low]
    return low, high, (inside - centres[low]) / torch.where(distance > 0, distance, 1.0)


def cells_used(pixels: Tensor, centres: Tensor) -> slice:
    """The cells that these pixels are interpolated from."""
    low, high, _ = bilinear_neighbours(pixels, centres)
    return slice(int(low.min()), int(high.max()) + 1)


def interpolation_matrix(pixels: Tensor, centres: Tensor) -> Tensor:
    """Linear interpolation along one axis, as a (len(pixels), len(centres)) matrix; each row sums to 1. float64."""
    low, high, weight = bilinear_neighbours(pixels, centres)
    matrix = torch.zeros(len(pixels), len(centres), dtype=torch.float64)
    matrix.scatter_add_(1, low[:, None], (1 - weight)[:, None])
    return matrix.scatter_add_(1, high[:, None], weight[:, None])


def dense(maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor) -> Tensor:
    """The hypercolumns of the pixels on these rows (H,) and columns (W,), as (B, D, H, W): all of it in memory."""
    upsampled = []
    for values, row_centres, column_centres in maps:
        vertical = interpolation_matrix(rows, row_centres).to(values)
        horizontal = interpolation_matrix(columns, column_centres).to(values)
        upsampled.append(vertical @ values @ horizontal.T)
    return torch.cat(upsampled, dim=1)


def at(maps: Sequence[FeatureMap], points: Tensor) -> Tensor:
    """The hypercolumns at `points` (B, N, 2), as (B, N, D); cost N x D, whatever the size of the image."""
    points = points.cpu()  # where there is float64, unlike on some accelerators
    return torch.cat([_at(one, points) for one in maps], dim=-1)


def _at(one: FeatureMap, points: Tensor) -> Tensor:
    batch, channels, height, width = one.values.shape
    top, bottom, down = bilinear_neighbours(points[..., 0].contiguous(), one.row_centres)
    left, right, across = bilinear_neighbours(points[..., 1].contiguous(), one.column_centres)
    corners = torch.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], -1)
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], -1)
    first_cell = torch.arange(batch)[:, None, None] * (height * width)
    return F.embedding_bag(
        (corners + first_cell).reshape(-1, 4).to(one.values.device),
        one.values.permute(0, 2, 3, 1).reshape(-1, channels),
        per_sample_weights=weights.reshape(-1, 4).to(one.values),
        mode="sum",
    ).reshape(batch, -1, channels)
