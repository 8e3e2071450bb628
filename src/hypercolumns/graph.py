"""A segmenter as a graph for images of any size, which torch.export can follow: no branch depends on a size.

Shapes: as for `Segmenter`; sizes are symbolic while it is exported, and a tensor of 1 cell is nothing special.
"""

import copy
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true

from hypercolumns.errors import HypercolumnsError
from hypercolumns.factored.rows import Group, classify_rows
from hypercolumns.hypercolumn import Map, place, ratio
from hypercolumns.places import Places, places, whole_frame
from hypercolumns.segmenter import Segmenter
from hypercolumns.taps import Regular, Tap
from hypercolumns.windows import as_float, in_image

Outputs = Literal["labels", "logits"]

FINE = 2.0  # pixels: cells that are closer are projected row by row, as their projection would be as large as the image


class Graph(nn.Module):
    """From images (B, 3, H, W), uint8 or float in [0, 1], to labels (B, H, W) uint8 or logits (B, classes, H, W)."""

    def __init__(self, segmenter: Segmenter, outputs: Outputs) -> None:
        """Of a copy of the segmenter's parts, in evaluation mode, on the CPU.

        Raises HypercolumnsError if only a look at an image tells where the cells of a tap are centred.
        """
        super().__init__()
        self.outputs, self.resize, self.alignment = outputs, segmenter.resize, segmenter.alignment
        self.backbone = copy.deepcopy(segmenter.backbone).cpu()
        self.classifier = copy.deepcopy(segmenter.classifier).cpu()
        self.layers = self.backbone.taps[: len(self.backbone.tap_modules)]
        for tap in self.layers:
            regular = all(isinstance(axis, Regular) for axis in tap.axes)
            if not regular and (self.alignment == "exact" or self.backbone.contexts):
                raise HypercolumnsError(
                    f"tap {tap.name} can't be exported: where its cells lie differs from one size of images to another; "
                    f"choose other taps, or alignment=half_pixel without context taps"
                )
        weight, bias = self.classifier.folded()
        parts = weight.detach().split([tap.channels for tap in self.backbone.taps], dim=1)
        self.parts = nn.ParameterList([part.contiguous() for part in parts])
        self.bias = nn.Parameter(bias.detach())
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        size = height, width = images.shape[2], images.shape[3]
        seen = as_float(images)
        if self.resize is not None:
            seen = F.interpolate(seen, self.resize, mode="bilinear", antialias=True)
        seen_size = seen.shape[2], seen.shape[3]
        scales = ratio(seen_size[0], height), ratio(seen_size[1], width)
        seen = self.backbone.pad(seen)
        cells = self.backbone(seen, whole_frame(seen_size))
        taps = self._taps(self.backbone.deepest(cells))
        placed = place(taps, cells, (seen.shape[2], seen.shape[3]), self.alignment)
        maps = [in_image(one, scales) for one in placed]
        groups = [
            Group(
                [maps[number] for number in group],
                [self.parts[number] for number in group],
                fine=all(isinstance(axis, Regular) and axis.stride < FINE for axis in taps[group[0]].axes),
            )
            for group in _on_one_grid(taps, maps)
        ]
        y, x = (places(torch.arange(side), torch.arange(side), whole_frame((side, side))).y for side in size)
        found = classify_rows(groups, self.bias, self._finish, Places(y, x))
        return found[..., 0] if self.outputs == "labels" else found.permute(0, 3, 1, 2)

    def _finish(self, hidden: Tensor, where: Places) -> Tensor:
        logits = self.classifier.finish(hidden, where)
        return logits.argmax(-1, keepdim=True).to(torch.uint8) if self.outputs == "labels" else logits

    def _taps(self, deepest: Tensor) -> list[Tap]:
        """The backbone's taps, context taps of this deepest map: by themselves they would run the network to count."""
        counts = (lambda _: deepest.shape[2]), (lambda _: deepest.shape[3])
        return [*self.layers, *(make.tap(self.layers[-1], counts) for make in self.backbone.contexts)]


def _on_one_grid(taps: Sequence[Tap], maps: Sequence[Map]) -> list[list[int]]:
    """The numbers of the maps, those together that have the same cells in images of every size."""
    groups: list[list[int]] = []
    for number, (tap, one) in enumerate(zip(taps, maps, strict=True)):
        for group in groups:
            other, shape = taps[group[0]], maps[group[0]].cells.shape
            alike = all(statically_known_true(shape[axis] == one.cells.shape[axis]) for axis in (2, 3))
            if alike and _lines(tap) == _lines(other) is not None:
                group.append(number)
                break
        else:
            groups.append([number])
    return groups


def _lines(tap: Tap) -> list[tuple[float, float]] | None:
    """The strides and offsets of a tap; None if it has none."""
    regular = [(axis.stride, axis.offset) for axis in tap.axes if isinstance(axis, Regular)]
    return regular if len(regular) == len(tap.axes) else None
