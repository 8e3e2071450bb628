"""How far overlapping windows agree: the share of pixels in their overlaps to which all of them give one label.

The windows of `overlapping_windows` are an approximation. Where they disagree, the label depends on where the image was
cut. The labels compared here are those of each window's own maps, before they are blended. Context taps are the same
for all windows: they come from the blended maps.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from hypercolumns.coordinates import normalised_coordinates
from hypercolumns.models.alignment import FeatureMap, at
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import Classifier
from hypercolumns.models.overlapping_windows import AxisWindow, blended_maps
from hypercolumns.models.seen_images import SeenImages

MAX_POINTS = 4096  # pixels of an image that are compared


class OverlapAgreement:
    """Count the pixels in overlaps of windows, and those on which the windows agree.

    Of an image with more such pixels than `MAX_POINTS`, as many are compared, spread evenly over the overlaps.

    Args:
        classifier: classifies the hypercolumns, in evaluation mode.

    Attributes:
        pixels: the number of pixels that were compared.
        agreed: the number of these on which all windows that see the pixel agree.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.pixels = self.agreed = 0

    @property
    def message(self) -> str:
        """One line with the result; '' if no pixel was compared."""
        if not self.pixels:
            return ""
        share = f"{100 * self.agreed / self.pixels:.1f} %"
        return (
            f"window_overlap is an approximation: before they are blended, overlapping windows agree on {share} of "
            f"{self.pixels} pixels that they share"
        )


def compared_maps(
    agreement: OverlapAgreement,
    locate: Callable[[Sequence[Tensor]], list[FeatureMap]],
    backbone: Backbone,
    seen: SeenImages,
    boxes: Tensor,
    windows: list[list[AxisWindow]],
) -> list[Tensor]:
    """Compute the result of `blended_maps`, and count the pixels on which the windows agree.

    Args:
        agreement: gets the counts.
        locate: combines the map of each tap with the centres of its cells, in pixels of the images before resizing.
        backbone: see `blended_maps`.
        seen: see `blended_maps`.
        boxes: see `blended_maps`.
        windows: see `blended_maps`.

    Returns:
        The map of each tap.
    """
    layers = len(backbone.layer_taps)
    located = locate([seen.images.new_empty(0, 0, *cells) for cells in backbone.map_sizes(*seen.size)])
    probe = _OverlapProbe(seen, windows, located[:layers])
    maps = blended_maps(backbone, seen, boxes, windows, probe.add)
    given_boxes = boxes / torch.tensor([*seen.scales, *seen.scales])
    probe.finish(agreement, locate(maps)[layers:], given_boxes)
    return maps


class _OverlapProbe:
    """Compare the windows of a batch of images, one window after the other.

    Args:
        seen: the images.
        windows: the result of `plan_windows`.
        located: for each tap on modules, the centres of the cells of the whole images' map, in pixels of the images
            before resizing. The values are not used.
    """

    def __init__(
        self, seen: SeenImages, windows: Sequence[Sequence[AxisWindow]], located: Sequence[FeatureMap]
    ) -> None:
        self._count, self._scales, self._located = len(seen.images), seen.scales, located
        covered = [
            torch.stack([self._inside(torch.arange(side), window, scale) for window in axis]).sum(0) > 1
            for side, axis, scale in zip(seen.images.shape[-2:], windows, seen.scales, strict=True)
        ]
        self._points = _spread_points(covered[0], covered[1])
        self._hypercolumns: list[tuple[Tensor, Tensor]] = []

    def add(self, down: AxisWindow, across: AxisWindow, maps: Sequence[Tensor]) -> None:
        """Hold what a window sees at the compared pixels.

        Args:
            down: the window along y.
            across: the window along x.
            maps: (B, C_l, h_l, w_l), the window's map of each tap on modules.
        """
        inside = self._inside(self._points[:, 0], down, self._scales[0])
        inside &= self._inside(self._points[:, 1], across, self._scales[1])
        if not inside.any():
            return
        window = [
            FeatureMap(values, whole.row_centres[rows], whole.column_centres[columns])
            for values, whole, rows, columns in zip(maps, self._located, down.cells, across.cells, strict=True)
        ]
        self._hypercolumns.append((inside, at(window, self._batch(inside))))

    def finish(self, agreement: OverlapAgreement, contexts: Sequence[FeatureMap], boxes: Tensor) -> None:
        """Classify what the windows saw, and count.

        Args:
            agreement: gets the counts.
            contexts: the maps of the context taps, of the whole images.
            boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of the images before resizing.
        """
        labels = torch.full((self._count, len(self._points)), -1)
        agree = torch.ones(labels.shape, dtype=torch.bool)
        for inside, hypercolumns in self._hypercolumns:
            points = self._batch(inside)
            if contexts:
                hypercolumns = torch.cat([hypercolumns, at(contexts, points)], dim=2)
            where = normalised_coordinates(points[..., 0], points[..., 1], boxes)
            given = agreement.classifier(hypercolumns, where).argmax(-1).cpu()
            before = labels[:, inside]
            agree[:, inside] &= (before < 0) | (before == given)
            labels[:, inside] = given
        agreement.pixels += agree.numel()
        agreement.agreed += int(agree.sum())

    def _batch(self, inside: Tensor) -> Tensor:
        """Return the points (B, n, 2) of `inside` for all images."""
        return self._points[inside].expand(self._count, -1, -1)

    @staticmethod
    def _inside(positions: Tensor, window: AxisWindow, scale: float) -> Tensor:
        """Return which positions, in pixels before resizing, a window covers along its axis."""
        seen = (positions + 0.5) * scale
        inside: Tensor = (seen >= window.pixels.start) & (seen < window.pixels.stop)
        return inside


def _spread_points(shared_rows: Tensor, shared_columns: Tensor) -> Tensor:
    """Choose pixels, spread evenly over the rows and the columns that neighbouring windows share.

    Args:
        shared_rows: (H,) bool, the rows of the image that several windows cover.
        shared_columns: (W,) bool, the columns.

    Returns:
        (n, 2) float64, (y, x) of at most `MAX_POINTS` pixels.
    """
    columns = shared_columns.nonzero()[:, 0]
    ends = torch.where(shared_rows, len(shared_columns), len(columns)).cumsum(0)  # how many pixels up to each row
    total = int(ends[-1])
    count = min(total, MAX_POINTS)
    # One pixel at random of each of `count` equal parts: equal steps could fall on one column.
    within = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64) if total > count else 0
    chosen = ((torch.arange(count) + within) * total / max(count, 1)).long().clamp(max=max(total - 1, 0))
    rows = torch.searchsorted(ends, chosen, right=True)
    offsets = chosen - torch.where(rows > 0, ends[rows - 1], 0)
    across = offsets.clone()
    across[~shared_rows[rows]] = columns[offsets[~shared_rows[rows]]]
    return torch.stack([rows, across], dim=1).double()
