"""Hypercolumns of pixels and points, interpolated bilinearly between the centres of the maps' cells.

To compute the hypercolumn at a pixel, the map of each tap is interpolated bilinearly at the pixel, and the results are
concatenated (Hariharan et al., CVPR 2015, arXiv:1411.5752). This module alone defines how maps and pixels are aligned.

Shapes: B images, tap l has the map (B, C_l, h_l, w_l), D = sum of C_l, N points.
Coordinates: points are (y, x) in pixels of the image, (0, 0) being the centre of the top left pixel. Points may lie
between pixels or outside of the image. Beyond the centre of a map's outermost cell, the value of this cell continues
unchanged.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError
from hypercolumns.models.slices import even_slices
from hypercolumns.models.taps import CellGrid, Tap

Alignment = Literal["exact", "half_pixel", "corners"]
MAX_MATRIX = 1 << 24  # entries of an interpolation matrix; longer axes are divided
PART_LENGTH = 1024  # pixels of a part of a divided axis


class FeatureMap(NamedTuple):
    """The feature map of a tap, with the centres of the map's cells.

    Attributes:
        values: (B, C, h, w).
        row_centres: (h,) float64, rising: the y of each row of cells, in pixels of the image.
        column_centres: (w,) float64, rising: the x of each column of cells, in pixels of the image.
    """

    values: Tensor
    row_centres: Tensor
    column_centres: Tensor


def check_alignment(alignment: str) -> None:
    """Raise ArgumentError unless `alignment` is `exact`, `half_pixel` or `corners`."""
    if alignment not in get_args(Alignment):
        raise ArgumentError(f"alignment={alignment} is not known; choose one of {', '.join(get_args(Alignment))}")


def cell_centres(geometry: CellGrid, cells: int, size: int, alignment: Alignment) -> Tensor:
    """Return the centres of a map's cells along one axis, in pixels of the image.

    Args:
        geometry: the centres of the cells' receptive fields; used only if `alignment` is `exact`.
        cells: the number of cells of the map along the axis.
        size: the number of pixels of the image along the axis.
        alignment: one of

            - exact: each cell is centred at the centre of its receptive field;
            - half_pixel: the map is stretched over the image, so that the map's outer edges are the image's edges
              (`align_corners=False`);
            - corners: the map is stretched over the image, so that its first cell is centred on the first pixel and its
              last cell on the last pixel (`align_corners=True`).

    Returns:
        (cells,) float64, rising.
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
    """Return `length / other` as a float64 scalar tensor.

    The function divides tensors rather than numbers, because an exported program stores Python's numbers as float32. In
    an export, the two lengths may be symbolic.
    """
    return torch.full((), length, dtype=torch.float64) / torch.full((), other, dtype=torch.float64)


def locate_maps(taps: Sequence[Tap], maps: Sequence[Tensor], size: ImageSize, alignment: Alignment) -> list[FeatureMap]:
    """Combine feature maps with the centres of their cells, in pixels of the image.

    Args:
        taps: the taps that the maps belong to.
        maps: (B, C_l, h_l, w_l), one for each tap.
        size: (height, width) of the images, in pixels.
        alignment: the rule for the centres of the cells, see `cell_centres`. It does not apply to global taps, see
            `tap_centres`.

    Returns:
        The maps with the centres of their cells, in the order of `maps`.
    """
    return [
        FeatureMap(values, *tap_centres(tap, (values.shape[2], values.shape[3]), size, alignment))
        for tap, values in zip(taps, maps, strict=True)
    ]


def tap_centres(tap: Tap, cells: ImageSize, size: ImageSize, alignment: Alignment) -> tuple[Tensor, Tensor]:
    """Return the centres of a tap's cells along y and along x, in pixels of the image.

    Args:
        tap: the tap. For a global tap, `exact` is used instead of `alignment`.
        cells: (h, w), the number of cells of the tap's map along y and along x.
        size: (height, width) of the image, in pixels.
        alignment: the rule for the centres of the cells, see `cell_centres`.

    Returns:
        Two tensors, rising: the centres along y, (h,) float64, and the centres along x, (w,) float64.
    """
    rows, columns = (
        cell_centres(geometry, count, length, "exact" if tap.is_global else alignment)
        for geometry, count, length in zip(tap.axes, cells, size, strict=True)
    )
    return rows, columns


def bilinear_neighbours(pixels: Tensor, centres: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the two cells whose centres enclose each pixel along one axis, and the weight of the second cell.

    The weights of the two cells sum to 1 and change linearly between the two centres. For a pixel beyond the centre of
    the outermost cell, the outermost cell has the weight 1. If there is only one cell, it is both the first and the
    second.

    Args:
        pixels: the pixels' coordinates along the axis, in pixels of the image; of any shape, but in an export (N,).
        centres: (cells,) float64, rising: the centres of the cells along the axis, in pixels of the image.

    Returns:
        Three tensors of the shape of `pixels`: the index of the first cell (int64), the index of the second cell
        (int64), and the weight of the second cell (float64, in [0, 1]).
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
    """Compute the result of `bilinear_neighbours` for pixels (N,), in an exported graph.

    The graph is valid for any number of centres, because it has no branch that depends on this number. `centres` may be
    a single centre, or end in several equal centres (see `context.mean_matrix`).
    """
    inside = pixels.double().clamp(centres[0], centres[-1])
    low = (centres <= inside[:, None]).sum(1) - 1
    high = (low + 1).clamp(max=centres.shape[0] - 1)
    distance = centres[high] - centres[low]
    return low, high, (inside - centres[low]) / torch.where(distance > 0, distance, 1.0)


def cells_used(pixels: Tensor, centres: Tensor) -> slice:
    """Return the slice of the cells that an interpolation at the given pixels uses, along one axis."""
    low, high, _ = bilinear_neighbours(pixels, centres)
    return slice(int(low.min()), int(high.max()) + 1)


def is_nested(coarse: Tensor, fine: Tensor) -> bool:
    """Return whether a map can be moved to a finer grid without changing the results of its interpolation.

    This is the case along an axis if each centre of the map's cells is also the centre of a cell of the finer grid:
    linear interpolation bends only at centres. A map with one cell is constant, so it can be moved to any grid.

    Args:
        coarse: (cells,) float64, rising: the centres of the map's cells along one axis, in pixels of the image.
        fine: (cells,) float64, rising: the centres of the finer grid's cells along the same axis.
    """
    return len(coarse) == 1 or bool(torch.isin(coarse, fine).all())


def interpolation_matrix(pixels: Tensor, centres: Tensor) -> Tensor:
    """Return the matrix (pixels, cells), float64, that interpolates linearly along one axis; each row sums to 1."""
    low, high, weight = bilinear_neighbours(pixels, centres)
    matrix = torch.zeros(len(pixels), len(centres), dtype=torch.float64)
    matrix.scatter_add_(1, low[:, None], (1 - weight)[:, None])
    return matrix.scatter_add_(1, high[:, None], weight[:, None])


def _matrix_parts(pixels: Tensor, centres: Tensor) -> list[tuple[slice, slice]]:
    """Divide an axis so that no interpolation matrix of it is large: the matrix of a strip could fill the memory.

    Args:
        pixels: (pixels,), rising: the pixels' coordinates along the axis, in pixels of the image.
        centres: (cells,), rising: the centres of the cells along the axis, in pixels of the image.

    Returns:
        Slices of the pixels, each with the slice of the cells that it needs. Short axes are one part.
    """
    if len(pixels) * len(centres) <= MAX_MATRIX:
        return [(slice(0, len(pixels)), slice(0, len(centres)))]
    return [(part, cells_used(pixels[part], centres)) for part in even_slices(len(pixels), PART_LENGTH)]


def dense(maps: Sequence[FeatureMap], rows: Tensor, columns: Tensor) -> Tensor:
    """Compute the hypercolumns of all pixels of a grid. The result holds D values for each pixel.

    Args:
        maps: one map for each tap.
        rows: (H,), the y of the grid's rows, in pixels of the image.
        columns: (W,), the x of the grid's columns, in pixels of the image.

    Returns:
        (B, D, H, W), with the dtype of the maps.
    """
    upsampled = []
    for values, row_centres, column_centres in maps:
        bands = [
            interpolation_matrix(rows[part], row_centres[used]).to(values) @ values[:, :, used]
            for part, used in _matrix_parts(rows, row_centres)
        ]
        tall = bands[0] if len(bands) == 1 else torch.cat(bands, dim=2)
        del bands
        strips = [
            tall[..., used] @ interpolation_matrix(columns[part], column_centres[used]).to(values).T
            for part, used in _matrix_parts(columns, column_centres)
        ]
        upsampled.append(strips[0] if len(strips) == 1 else torch.cat(strips, dim=3))
    return torch.cat(upsampled, dim=1)


def at(maps: Sequence[FeatureMap], points: Tensor) -> Tensor:
    """Compute the hypercolumns (B, N, D) at points (B, N, 2), which are (y, x) in pixels of the image.

    The cost of the interpolation is proportional to N x D and independent of the image's size.
    """
    points = points.cpu()  # some accelerators have no float64
    hypercolumns = []
    # Maps whose cells have equal centres share the cells and the weights of the points.
    located: list[tuple[FeatureMap, tuple[Tensor, Tensor]]] = []
    for tap_map in maps:
        known = (found for other, found in located if equal_centres(tap_map[1:], other[1:]))
        cells, weights = next(known, None) or _cells_and_weights(tap_map, points)
        located.append((tap_map, (cells, weights)))
        table = tap_map.values.permute(0, 2, 3, 1).flatten(0, 2)
        sums = F.embedding_bag(cells.to(table.device), table, per_sample_weights=weights.to(table), mode="sum")
        hypercolumns.append(sums.view(len(points), -1, table.shape[1]))
    return torch.cat(hypercolumns, dim=-1)


def equal_centres(centres: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> bool:
    """Whether two maps have cells with the same centres; a map's centres are those of its rows and of its columns."""
    return all(map(torch.equal, centres, others))


def _cells_and_weights(tap_map: FeatureMap, points: Tensor) -> tuple[Tensor, Tensor]:
    """Find the four cells between which each point lies.

    Args:
        tap_map: the map (B, C, h, w).
        points: (B, N, 2) as (y, x) in pixels, on the CPU.

    Returns:
        The cells as indices (B * N, 4) into the B * h * w cells of all images, and their weights (B * N, 4) float64.
    """
    batch, _, height, width = tap_map.values.shape
    top, bottom, down = bilinear_neighbours(points[..., 0].contiguous(), tap_map.row_centres)
    left, right, across = bilinear_neighbours(points[..., 1].contiguous(), tap_map.column_centres)
    corners = torch.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], -1)
    weights = torch.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across], -1)
    first_cell = torch.arange(batch)[:, None, None] * (height * width)
    return (corners + first_cell).reshape(-1, 4), weights.reshape(-1, 4)
