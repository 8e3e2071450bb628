"""Classify pixels of an image on request, from the pixels of a coarse grid to those of finer grids."""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers.pointwise import pointwise
from hypercolumns.models.engine._interpolation import CellCentres, Interpolation, find_neighbours
from hypercolumns.models.engine.dense import Head, classify, in_full
from hypercolumns.models.engine.levels import Level, as_table, find_levels
from hypercolumns.runtime.memory import return_freed_memory

CHUNK = 4096  # pixels that are classified at a time; their activations fit the cache of a CPU
MAX_HELD = 1 << 24  # sums that are held for finer grids, and values of a projection of a whole level
DENSE_SHARE = 0.4  # of a grid's pixels; to classify all of them is then faster than to classify the requested ones


class PointClassifier:
    """Classify pixels of one image on request, first on a coarse grid of pixels, then on finer and finer grids.

    A level of maps (see `levels.Level`) is linear between the pixels of a grid if each of its cells is centred on one
    of these pixels. Its part of the first layer's output at a pixel of the next finer grid is then the mean of its
    parts at the corners around this pixel. If these are known, no map is read and nothing is projected.

    If the parts of the known pixels would need too much memory, they are forgotten. If most pixels of a grid are then
    requested, all of its pixels are classified in blocks.

    Args:
        maps: the maps (1, C_l, h_l, w_l) of the image, one for each tap. Their values may be of half precision.
        rows: (H,), rising: the y of the rows of a grid of pixels, whole numbers.
        columns: (W,), rising: the x of the grid's columns.
        weight: (K, D), the weight of the classifier's first layer.
        bias: (K,), the bias of the classifier's first layer.
        head: computes C values (..., C) of pixels from three arguments: the first layer's output (..., K), and the y
            and the x of the pixels, in pixels.
        stride: the distance in pixels between neighbouring pixels of the first grid, a power of two. The first pixel of
            every grid is the first pixel of the rectangle.

    Attributes:
        levels: the levels of the maps, the coarsest first.
        linear: for each level, the largest stride of a grid between whose pixels the level is linear, at most `stride`;
            1 if there is none.
        holds: whether sums are held for finer grids.
        sums: the held sums (N, K) of the N numbered pixels, by the stride of the grid that they are held for.
    """

    def __init__(
        self,
        maps: Sequence[FeatureMap],
        rows: Tensor,
        columns: Tensor,
        weight: Tensor,
        bias: Tensor,
        head: Head,
        stride: int,
    ) -> None:
        self.rows, self.columns, self.bias, self.head = rows, columns, bias, head
        self.maps, self.weight = maps, weight
        parts = weight.split([tap_map.values.shape[1] for tap_map in maps], dim=1)
        rectangle = CellCentres(rows, columns)
        self.levels = [
            LevelAtPoints(
                level, [maps[number].values for number in level.maps], [parts[n] for n in level.maps], rectangle
            )
            for level in find_levels(maps)
        ]
        self.linear = [
            next((step for step in _halvings(stride) if level.is_linear(rectangle, step)), 1) for level in self.levels
        ]
        self.holds = True  # whether sums are held for finer grids
        self._count = 0  # number of pixels that have been requested
        self._numbers = torch.full((len(rows), len(columns)), -1)  # of the pixels whose sums are known, in their order
        # For each stride, the sums of the levels that are linear between the pixels of its grid, at numbered pixels.
        self.sums: dict[int, Tensor] = {step: bias.new_empty(0, len(bias)) for step in _halvings(stride) if step > 1}

    def __call__(self, rows: Tensor, columns: Tensor, step: int) -> Tensor:
        """Compute the values of pixels of the grid with stride `step`.

        Args:
            rows: (N,), the rows of the pixels, as indices into the rectangle's rows.
            columns: (N,), the columns of the pixels, as indices into the rectangle's columns.
            step: the stride of the grid: `stride` in the first call, half of it in the second call, and so on.

        Returns:
            (N, C).
        """
        self._forget_unless_few(len(rows), [grid for grid in self.sums if grid <= step])
        known = self._known(rows, columns, step)
        grid = self.rows[::step], self.columns[::step]
        if known is None and not self.holds and len(rows) > DENSE_SHARE * len(grid[0]) * len(grid[1]):
            if self.bias.device.type == "cpu":
                return_freed_memory()  # the gaps between the sums and projections of the coarser grids
            return classify(self.maps, *grid, self.weight, self.bias, self.head)[0, rows // step, columns // step]
        first = self._number(rows, columns)
        values = []
        for y, x in zip(rows.split(CHUNK), columns.split(CHUNK), strict=True):
            hidden = self._outputs(y, x, step, known, first).add_(self.bias)
            values.append(self.head(hidden, self.rows[y], self.columns[x]))
            first += len(y)
        return torch.cat(values)

    def _known(self, rows: Tensor, columns: Tensor, step: int) -> Tensor | None:
        """Return the sums of the coarser grid at all numbered pixels, among them the corners around these pixels.

        The result is None if there is no coarser grid, or if its sums are not held.
        """
        if not len(self.sums.get(2 * step, ())):
            return None
        y, x = _corners(rows, columns, step)
        missing = (self._numbers[y, x] < 0).nonzero(as_tuple=True)
        if len(missing[0]):
            pixels = torch.stack([y[missing], x[missing]]).unique(dim=1)
            self._forget_unless_few(pixels.shape[1], self.sums)
            if not self.holds:
                return None
            first = self._number(*pixels)
            for chunk in zip(*(line.split(CHUNK) for line in pixels), strict=True):
                self._outputs(chunk[0], chunk[1], 2 * step, None, first)
                first += len(chunk[0])
        return self.sums.pop(2 * step)  # these sums are read now for the last time, so they are freed

    def _forget_unless_few(self, more: int, grids: Collection[int]) -> None:
        """Free all sums, and hold none from now on, if those of more pixels need too much memory in these grids."""
        if (self._count + more) * len(self.bias) * len(grids) > MAX_HELD:
            self.holds = False
            self.sums.clear()

    def _number(self, rows: Tensor, columns: Tensor) -> int:
        """Number pixels in the order in which their sums are added to `sums`, and return the first number."""
        first = self._count
        self._count += len(rows)
        self._numbers[rows, columns] = torch.arange(first, self._count)
        return first

    def _hold(self, grid: int, total: Tensor, first: int) -> None:
        """Add sums of numbered pixels to those that are held for a grid.

        Args:
            grid: the stride of the grid.
            total: (N, K), the sums.
            first: the number of the first pixel.
        """
        table = self.sums[grid]
        if len(table) < self._count:  # a concatenation at the end would need twice the memory
            self.sums[grid] = total.new_empty(self._count, total.shape[1])
            self.sums[grid][:first] = table[:first]
        self.sums[grid][first : first + len(total)] = total

    def _outputs(self, rows: Tensor, columns: Tensor, step: int, known: Tensor | None, first: int) -> Tensor:
        """Compute the first layer's output (N, K) without the bias at pixels of a grid, and add to `sums`.

        Args:
            rows: (N,), the rows of the pixels.
            columns: (N,), the columns of the pixels.
            step: the stride of the grid.
            known: the sums of the levels that are linear between the pixels of the coarser grid, at all numbered pixels
                of this grid; None: read these levels' maps.
            first: the number of the first pixel.
        """
        device = self.bias.device
        total: Tensor | None = None
        if known is not None:
            numbers = self._numbers[_corners(rows, columns, step)]
            total = F.embedding_bag(numbers.to(device), known, mode="mean")
        pixels = rows.to(device), columns.to(device)
        for grid in _halvings(step):
            for level, linear in zip(self.levels, self.linear, strict=True):
                if linear == grid or (linear > grid == step and known is None):
                    part = level.at(*pixels)
                    total = part if total is None else total.add_(part)
            if grid in self.sums and total is not None:
                self._hold(grid, total, first)
        assert total is not None, "there is at least one level"
        return total


class LevelAtPoints:
    """The part of a level of maps in the first layer's output, at pixels of a rectangle.

    At first, the maps are interpolated at the requested pixels, and the results are projected. As soon as more pixels
    have been requested than the level has cells, the whole maps are projected once, unless the projection needs too
    much memory. From then on, the projection is interpolated.

    Args:
        level: the level.
        maps: the values (1, C_l, h, w) of its maps.
        parts: for each map, its part (K, C_l) of the weight.
        rectangle: the y of the rectangle's rows and the x of its columns, in pixels.
    """

    def __init__(self, level: Level, maps: Sequence[Tensor], parts: Sequence[Tensor], rectangle: CellCentres) -> None:
        self.level = level
        self.cells = [as_table(values) for values in maps]
        self.weight = torch.cat([*parts], dim=1) if len(parts) > 1 else parts[0]
        self.interpolation = Interpolation([find_neighbours(rectangle, level.centres)], maps[0])
        self.requested = 0
        self.projected: Tensor | None = None

    def is_linear(self, rectangle: CellCentres, step: int) -> bool:
        """Return whether the maps are linear between the pixels of the rectangle's grid with stride `step`.

        Pixels that are not evenly spaced are not taken for linear, as the pixel between two others is not their middle.
        """
        for centres, pixels in zip(self.level.centres, rectangle, strict=True):
            if even_step(pixels) is None:
                return False
            bends = centres[(centres > pixels[0]) & (centres < pixels[-1])] if len(centres) > 1 else centres[:0]
            if not torch.isin(bends, pixels[::step]).all():
                return False
        return True

    def at(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the part (N, K) at pixels, given as indices (N,) into the rectangle's rows and columns."""
        self.requested += len(rows)
        cells = self.cells[0].shape[1]
        if self.projected is None and self.requested > cells and cells * len(self.weight) <= MAX_HELD:
            self.projected = self._project(self.cells)
        if self.projected is not None:
            return self.interpolation.at(self.projected, rows, columns)[0]
        return self._project([self.interpolation.at(cells, rows, columns) for cells in self.cells])[0]

    def _project(self, inputs: Sequence[Tensor]) -> Tensor:
        cells = torch.cat([*inputs], dim=-1) if len(inputs) > 1 else inputs[0]
        return pointwise(in_full(cells, self.weight), self.weight)


def even_step(pixels: Tensor) -> int | None:
    """Return the distance between neighbours if the pixels (n,) are evenly spaced; None if they are not, or are few."""
    steps = pixels.diff()
    return int(steps[0]) if len(steps) and bool((steps == steps[0]).all()) else None


def _corners(rows: Tensor, columns: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return the rows and columns (N, 4) of the corners of the coarser grid around pixels of the grid with this stride.

    A pixel on a side of a square of the coarser grid has each end of the side twice.
    """
    down, across = (line // step % 2 * step for line in (rows, columns))
    y = torch.stack([rows - down, rows - down, rows + down, rows + down], dim=1)
    return y, torch.stack([columns - across, columns + across] * 2, dim=1)


def _halvings(stride: int) -> list[int]:
    """Return a power of two and all smaller ones: 8, 4, 2, 1 for 8."""
    return [stride >> power for power in range(stride.bit_length())]
