"""Hypercolumns of images: dense, at points, or window by window where the images are large."""

import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, full_image_box
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.models._windows import (
    ImageWindow,
    WindowedImages,
    window_margins,
    window_sides,
)
from hypercolumns.models.alignment import (
    Alignment,
    FeatureMap,
    at,
    check_alignment,
    dense,
    locate_maps,
)
from hypercolumns.models.backbones import Backbone, as_float
from hypercolumns.models.taps import RegularGrid, Tap

__all__ = ["EXTRACTION_SETTINGS", "MAX_WINDOW_PIXELS", "HypercolumnExtractor", "ImageWindow"]

MAX_WINDOW_PIXELS = 1_000_000
EXTRACTION_SETTINGS = ("alignment", "resize")  # the arguments that decide what hypercolumns of a backbone are


class HypercolumnExtractor(nn.Module):
    """Backbone features aligned with the pixels of the image (Hariharan et al., CVPR 2015).

    Shapes: images are (B, 3, H, W), uint8 or float in [0, 1]; D is `backbone.channels`; points are (B, N, 2) as (y, x)
    in pixels, (0, 0) the centre of the top left one; boxes are (B, 4), see `coordinates`: where the images lie whose
    crops these are. Without boxes they are no crops.

    >>> extractor = HypercolumnExtractor(Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])).eval()
    >>> images = torch.rand(1, 3, 40, 50)
    >>> extractor(images).shape
    torch.Size([1, 112, 40, 50])
    >>> extractor.at(images, torch.tensor([[[0.0, 0.0], [20.5, 30.0]]])).shape
    torch.Size([1, 2, 112])

    Attributes:
        backbone: gives the maps.
        alignment: how pixels lie among the cells of a map, see `alignment.cell_centres`.
        resize: (height, width) that the backbone sees every image at; None for the image's own size.
        max_window_pixels: how many pixels of an image the backbone sees at once.
    """

    def __init__(
        self,
        backbone: Backbone,
        alignment: Alignment = "exact",
        resize: ImageSize | None = None,
        max_window_pixels: int = MAX_WINDOW_PIXELS,
    ) -> None:
        """Put hypercolumns on a backbone.

        Args:
            backbone: gives the maps.
            alignment: how pixels lie among the cells of a map, see `alignment.cell_centres`.
            resize: (height, width) that the backbone sees every image at; None for the image's own size. Hypercolumns
                are those of the pixels of the image itself either way.
            max_window_pixels: how many pixels of an image the backbone sees at once; of larger images it sees one
                window after the other. What comes out is the same.

        Raises:
            ArgumentError: for an unknown alignment.
        """
        super().__init__()
        check_alignment(alignment)
        self.backbone = backbone
        self.alignment = alignment
        self.resize = resize
        self.max_window_pixels = max_window_pixels

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The hypercolumns of every pixel, (B, D, H, W): all of them in memory, so of small images."""
        result: Tensor | None = None
        for rows, columns, maps in self.windows(images, boxes):
            part = dense(maps, torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop))
            if part.shape[2:] == images.shape[2:]:
                return part
            if result is None:
                result = part.new_empty(*part.shape[:2], *images.shape[2:])
            result[:, :, rows, columns] = part
            del maps  # before the next window's are made
        assert result is not None, "there is at least one window"
        return result

    def at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None) -> Tensor:
        """The hypercolumns at points, which may lie between pixels and beyond the border.

        Args:
            images: (B, 3, H, W).
            points: (B, N, 2).
            boxes: (B, 4), of crops.

        Returns:
            (B, N, D) float, on the device of the backbone's maps.

        Raises:
            ArgumentError: if there are points of another number of images.
        """
        if points.ndim != 3 or len(points) != len(images) or points.shape[2] != 2:
            raise ArgumentError(
                f"points must be ({len(images)}, N, 2) for {len(images)} images, not {(*points.shape,)}"
            )
        points = points.cpu().double()
        # A point beyond the border belongs to the window at that border.
        inside = torch.minimum(points.round().clamp(min=0), torch.tensor(images.shape[-2:]) - 1)
        result: Tensor | None = None
        for rows, columns, maps in self.windows(images, boxes):
            within = (inside[..., 0] >= rows.start) & (inside[..., 0] < rows.stop)
            within &= (inside[..., 1] >= columns.start) & (inside[..., 1] < columns.stop)
            if within.all():
                return at(maps, points)
            if result is None:
                result = maps[0].values.new_zeros(*points.shape[:2], sum(one.values.shape[1] for one in maps))
            for image, chosen in enumerate(within):
                found = at(
                    [FeatureMap(values[image : image + 1], *where) for values, *where in maps],
                    points[image : image + 1, chosen],
                )
                result[image, chosen.to(result.device)] = found[0]
            del maps  # before the next window's are made
        assert result is not None, "there is at least one window"
        return result

    def windows(
        self, images: Tensor, boxes: Tensor | None = None, resize: ImageSize | None = None
    ) -> Iterator[ImageWindow]:
        """The windows that together are the images.

        Images of up to `max_window_pixels`, as the backbone sees them, are one window; of larger ones the windows are
        about as large as that, margins included. If there are global taps the backbone sees each window twice, first
        for these. A network with operations on the whole image can't be cut: it sees all at once, with a warning.

        Args:
            images: (B, 3, H, W).
            boxes: (B, 4) of crops, in pixels of the images.
            resize: in place of the extractor's own.

        Yields:
            A rectangle, and its maps, whose centres are in pixels of the images.
        """
        backbone, resize = self.backbone, resize or self.resize
        size = (images.shape[-2], images.shape[-1])
        seen = images
        if resize is not None and resize != size:
            seen = F.interpolate(as_float(images), resize, mode="bilinear", antialias=True)
        scales = seen.shape[-2] / size[0], seen.shape[-1] / size[1]
        if min(seen.shape[-2:]) < backbone.min_side:
            seen = backbone.pad(as_float(seen))
        area = (seen.shape[-2], seen.shape[-1])
        boxes = (full_image_box(images.shape[-2:]) if boxes is None else boxes).cpu() * torch.tensor([*scales, *scales])
        if area[0] * area[1] > self.max_window_pixels:
            margins = window_margins(backbone)
            if margins is not None:
                sides = window_sides(area, margins, self.max_window_pixels)
                empty = [seen.new_empty(0, 0, *cells) for cells in backbone.map_sizes(*area)]
                located = self.locate(empty, area, scales)
                yield from WindowedImages(backbone, seen, size, scales, sides, located).windows(boxes)
                return
            warnings.warn(
                f"network={backbone.network} depends on the whole image, or on much of it, so that one of "
                f"{area[1]}x{area[0]} pixels can't be cut into windows: memory grows with its size",
                stacklevel=2,
            )
        maps = self.locate(backbone(as_float(seen), boxes), area, scales)
        yield ImageWindow(slice(0, size[0]), slice(0, size[1]), maps)

    def locate(
        self,
        maps: Sequence[Tensor],
        area: ImageSize,
        scales: Sequence[float | Tensor],
        taps: Sequence[Tap] | None = None,
    ) -> list[FeatureMap]:
        """The backbone's maps with their centres.

        Args:
            maps: (B, C_l, h_l, w_l), of images of `area`.
            area: (height, width) of the images as the backbone sees them.
            scales: by which the images' height and width were resized for it.
            taps: in place of the backbone's own.

        Returns:
            The maps, their centres in pixels of the images themselves.
        """
        located = locate_maps(self.backbone.taps if taps is None else taps, maps, area, self.alignment)
        return [_in_image(one, scales) for one in located]

    @property
    def is_exact(self) -> bool:
        """Whether cells are taken to be centred where their receptive fields are."""
        return self.alignment == "exact"

    def check_regular(self) -> None:
        """Raise HypercolumnsError if it takes a look at an image to tell where the cells of a tap are centred."""
        for tap in self.backbone.taps[: len(self.backbone.tap_modules)]:
            regular = all(isinstance(axis, RegularGrid) for axis in tap.axes)
            if not regular and (self.is_exact or self.backbone.contexts):
                raise HypercolumnsError(
                    f"tap {tap.name} can't be exported: where its cells lie differs from size to size of images; "
                    f"choose other taps, or alignment=half_pixel without context taps"
                )

    def settings(self) -> dict[str, object]:
        """The arguments, besides the backbone, that decide what hypercolumns are: `SETTINGS`, by name, for JSON."""
        return {"alignment": self.alignment, "resize": None if self.resize is None else list(self.resize)}


def _in_image(one: FeatureMap, scales: Sequence[float | Tensor]) -> FeatureMap:
    """The same map, its centres in pixels of an image that was resized by these scales."""
    rows, columns = (
        (centres + 0.5) / scale - 0.5
        for centres, scale in zip((one.row_centres, one.column_centres), scales, strict=True)
    )
    return FeatureMap(one.values, rows, columns)
