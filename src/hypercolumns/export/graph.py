"""A segmenter that torch.export can trace once for images of all sizes: no branch of its code depends on a size.

In shapes, B is the number of images, H their height and W their width. While torch.export traces the code, B, H and W
are symbols, not numbers. A size of 1 is no special case.
"""

import copy
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypercolumns.coordinates import PixelCoordinates, full_image_box, normalised_coordinates
from hypercolumns.errors import HypercolumnsError
from hypercolumns.export.substitutes import substitute_layers
from hypercolumns.models.alignment import FeatureMap, ratio
from hypercolumns.models.backbones import as_float
from hypercolumns.models.engine.scan import TapGroup, scan_rows
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.second_pass import SecondPass, cell_pixels, window_means
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import RegularGrid, Tap

OutputKind = Literal["labels", "logits"]

# Maps whose strides along y and x are below this number of pixels are first interpolated and then projected, one row of
# pixels at a time. If such a map was projected first, the whole result would have about as many cells as the image has
# pixels.
HIGH_RES_STRIDE = 2.0


def check_regular(extractor: HypercolumnExtractor) -> None:
    """Check that an exported program can compute the hypercolumns of images of any size.

    Raises:
        HypercolumnsError: if the model needs the centres of a tap's cells, but no formula gives them for all image
            sizes. The message names the tap. A model needs the centres only if its `alignment` is `exact` or if it has
            context taps.
    """
    backbone = extractor.backbone
    for tap in backbone.layer_taps:
        regular = all(isinstance(axis, RegularGrid) for axis in tap.axes)
        if not regular and (extractor.is_exact or backbone.contexts):
            raise HypercolumnsError(
                f"tap {tap.name} can't be exported: no formula gives the centres of its cells for all image sizes; "
                f"train a model without this tap, or one with alignment=half_pixel and without context taps"
            )


class ExportableSegmenter(nn.Module):
    """Map images to labels or logits, like `Segmenter`, in a way that torch.export can trace.

    The module holds copies of the segmenter's parts, in evaluation mode, on the CPU.

    Args:
        segmenter: the model.
        output: what `forward` returns, "labels" or "logits".

    Raises:
        HypercolumnsError: if the positions of a tap's cells must be measured separately for each image size, see
            `check_regular`.
    """

    def __init__(self, segmenter: Segmenter, output: OutputKind) -> None:
        super().__init__()
        check_regular(segmenter.extractor)
        self.output = output
        extractor = copy.deepcopy(segmenter.extractor).cpu()
        self._extractor = (extractor,)  # nn.Module registers no module in a tuple; the next line registers the backbone
        self.backbone = extractor.backbone
        substitute_layers(self.backbone.body)
        self.classifier = copy.deepcopy(segmenter.classifier).cpu()
        self.layers = self.backbone.layer_taps
        self.groups = _groups(extractor)
        weight, bias = self.classifier.folded_first_layer()
        parts = weight.detach().split([tap.channels for tap in self.backbone.taps], dim=1)
        self.parts = nn.ParameterList([part.contiguous() for part in parts])
        self.bias = nn.Parameter(bias.detach())
        self.second_pass = copy.deepcopy(segmenter.second_pass)
        if self.second_pass is not None:
            self.second_pass.cpu()
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Predict every pixel of the images.

        Args:
            images: (B, N, H, W), uint8 or float in [0, 1].

        Returns:
            Labels (B, H, W) uint8, or logits (B, classes, H, W) float32.
        """
        size = height, width = images.shape[2], images.shape[3]
        seen = as_float(images)
        extractor = self._extractor[0]
        if extractor.resize is not None:
            seen = F.interpolate(seen, extractor.resize, mode="bilinear", antialias=True)
        seen_size = seen.shape[2], seen.shape[3]
        scales = ratio(seen_size[0], height), ratio(seen_size[1], width)
        seen = self.backbone.pad(seen)
        cells = self.backbone(seen, full_image_box(seen_size))
        taps = self._taps(self.backbone.deepest(cells))
        maps = extractor.locate(cells, (seen.shape[2], seen.shape[3]), scales, taps)
        groups = [
            TapGroup(
                [maps[number] for number in group],
                [self.parts[number] for number in group],
                high_res=all(
                    isinstance(axis, RegularGrid) and axis.stride < HIGH_RES_STRIDE for axis in taps[group[0]].axes
                ),
                nested=nested,
            )
            for group, nested in self.groups
        ]
        y, x = (
            normalised_coordinates(torch.arange(side), torch.arange(side), full_image_box((side, side))).y
            for side in size
        )
        bias: Tensor = self.bias
        head = self.classifier.head
        if self.second_pass is not None:
            logits = scan_rows(groups, bias, head, PixelCoordinates(y, x))
            groups, bias = self._second_groups(self.second_pass, logits, size)
            head = self.second_pass.classifier.head

        def output(hidden: Tensor, where: PixelCoordinates) -> Tensor:
            logits = head(hidden, where)
            return logits.argmax(-1, keepdim=True).to(torch.uint8) if self.output == "labels" else logits

        pixels = scan_rows(groups, bias, output, PixelCoordinates(y, x))
        return pixels[..., 0] if self.output == "labels" else pixels.permute(0, 3, 1, 2)

    def _second_groups(
        self, second: SecondPass, logits: Tensor, size: tuple[int, int]
    ) -> tuple[list[TapGroup], Tensor]:
        """Describe the second pass as a classifier of two taps, the surroundings and the logits, and its bias.

        Args:
            second: the second pass.
            logits: (B, H, W, K), of the first pass.
            size: (height, width) of the images in pixels.
        """
        rows, columns = (cell_pixels(side) for side in size)
        cells = logits.index_select(1, rows).index_select(2, columns).softmax(-1).permute(0, 3, 1, 2)
        surroundings = window_means(cells)
        weight, bias = second.classifier.folded_first_layer()
        own, others = weight[:, : logits.shape[-1]], weight[:, logits.shape[-1] :]
        centres = (
            (torch.arange(at.shape[0]) + 0.5) * ratio(side, at.shape[0]) - 0.5
            for at, side in zip((rows, columns), size, strict=True)
        )
        around = FeatureMap(surroundings, *centres)
        at_pixels = FeatureMap(logits.permute(0, 3, 1, 2), *(torch.arange(side).double() for side in size))
        return [
            TapGroup([around], [others], high_res=False, nested=False),
            TapGroup([at_pixels], [own], high_res=True, nested=False),
        ], bias

    def _taps(self, deepest: Tensor) -> list[Tap]:
        """Return the backbone's taps, but replace the context taps: the new ones do not run the network.

        The context taps in `backbone.taps` run the network to count the rows and columns of the deepest map. The new
        context taps read these two numbers from the shape of `deepest`, the deepest map of the images.
        """
        counts = (lambda _: deepest.shape[2]), (lambda _: deepest.shape[3])
        of_deepest = self.backbone.deepest(self.layers)
        return [*self.layers, *(make.tap(of_deepest, counts) for make in self.backbone.contexts)]


def _groups(extractor: HypercolumnExtractor) -> list[tuple[list[int], bool]]:
    """Group the backbone's taps by the positions of their cells.

    For every image size, the maps of a group have the same cell centres. A tap without a `RegularGrid` along y or x
    forms its own group. The groups of these taps come first. The other groups follow by resolution, lowest first.

    Returns:
        For each group, the indices of its taps and the value of `TapGroup.nested`. The value is True if each column of
        the group's cells is centred on a column of the next group's cells, for every image size. It is False for the
        last group. It is also False for all groups if the alignment is not exact.
    """
    backbone = extractor.backbone
    # If an image grows by one `shift_period`, each of its maps grows by a fixed number of cells. It is therefore enough
    # to examine the sizes within one period.
    sides = range(backbone.min_side, backbone.min_side + max(backbone.shift_period), backbone.multiple)
    sizes = [(side, side) for side in sides] if backbone.fixed_size is None else [backbone.fixed_size]
    counts = [*zip(*(backbone.map_sizes(*size) for size in sizes), strict=True)]
    grids = [
        None if (axes := _regular(tap)) is None else (axes, cells)
        for tap, cells in zip(backbone.taps, counts, strict=True)
    ]
    groups: list[list[int]] = []
    for number, grid in enumerate(grids):
        group = next((group for group in groups if grid is not None and grids[group[0]] == grid), None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)

    def columns(group: Sequence[int]) -> tuple[RegularGrid, list[int]] | None:
        grid = grids[group[0]]
        return None if grid is None else (grid[0][1], [count for _, count in grid[1]])

    groups.sort(key=lambda group: -math.inf if (regular := columns(group)) is None else -regular[0].stride)
    nested = [
        extractor.is_exact and low is not None and higher is not None and _among(*low, *higher)
        for low, higher in itertools.pairwise(map(columns, groups))
    ]
    return list(zip(groups, [*nested, False], strict=True))


def _regular(tap: Tap) -> tuple[RegularGrid, RegularGrid] | None:
    """Return a tap's grids of cell centres along y and along x; None if one of them is not a `RegularGrid`.

    The grids are copies without the receptive-field extents, so that taps with equal centres have equal grids.
    """
    y, x = (RegularGrid(axis.stride, axis.offset) if isinstance(axis, RegularGrid) else None for axis in tap.axes)
    return None if y is None or x is None else (y, x)


def _among(low: RegularGrid, low_cells: Sequence[int], high: RegularGrid, high_cells: Sequence[int]) -> bool:
    """Whether each column of the map `low` is centred on a column of the map `high`, for all given image sizes.

    Args:
        low: the centres of the columns in the map of lower resolution.
        low_cells: the number of columns in this map, one number for each image size.
        high: the centres of the columns in the map of higher resolution.
        high_cells: the number of columns in this map, for the same image sizes.
    """
    offset, stride = (low.offset - high.offset) / high.stride, low.stride / high.stride  # in cells of `high`
    if offset < 0 or offset % 1 or stride % 1:
        return False
    return all(
        low.offset + low.stride * (low_count - 1) <= high.offset + high.stride * (high_count - 1)
        for low_count, high_count in zip(low_cells, high_cells, strict=True)
    )
