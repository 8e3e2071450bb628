"""Hypercolumns of images: dense, at points, or window by window for large images."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from hypercolumns.coordinates import ImageSize, full_image_box
from hypercolumns.errors import ArgumentError
from hypercolumns.models.alignment import (
    Alignment,
    FeatureMap,
    at,
    check_alignment,
    dense,
    locate_maps,
)
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.memory_check import MemoryCheck
from hypercolumns.models.overlap_agreement import OverlapAgreement, compared_maps
from hypercolumns.models.overlapping_windows import blended_maps, check_window_overlap, plan_windows
from hypercolumns.models.seen_images import SeenImages
from hypercolumns.models.taps import Tap
from hypercolumns.models.window_sizes import trains_batch_norm, window_margins, window_sides
from hypercolumns.models.windows import ImageView, ImageWindow, WholeImages, WindowedImages, whole_maps

__all__ = ["EXTRACTION_SETTINGS", "MAX_WINDOW_PIXELS", "HypercolumnExtractor", "ImageWindow"]

MAX_WINDOW_PIXELS = 1_000_000
# The arguments that the values of the hypercolumns depend on.
EXTRACTION_SETTINGS = ("alignment", "resize", "window_overlap")


class HypercolumnExtractor(nn.Module):
    """Extract hypercolumns: feature maps of a backbone, interpolated at pixels (Hariharan et al., CVPR 2015).

    Shapes: images are (B, 3, H, W), uint8 or float in [0, 1], with `backbone.input_channels` in place of 3 if the
    backbone is for other images than RGB; D is `backbone.channels`; points are (B, N, 2) as (y, x) in pixels, (0, 0)
    being the centre of the top left pixel. If the images are crops of larger images, the crop boxes
    `boxes` (B, 4) give the (top, left, height, width) of the larger images in pixels of the crops, see
    `hypercolumns.coordinates`. Without `boxes`, the images are not crops.

    >>> import torch
    >>> from hypercolumns import Backbone, HypercolumnExtractor
    >>> extractor = HypercolumnExtractor(Backbone("squeezenet1_0", ["features.0", "features.3.squeeze"])).eval()
    >>> images = torch.rand(1, 3, 40, 50)
    >>> extractor(images).shape
    torch.Size([1, 112, 40, 50])
    >>> extractor.at(images, torch.tensor([[[0.0, 0.0], [20.5, 30.0]]])).shape
    torch.Size([1, 2, 112])

    Args:
        backbone: computes the feature maps.
        alignment: the rule for the centres of a map's cells: `exact`, `half_pixel` or `corners`, see
            `alignment.cell_centres`.
        resize: (height, width) in pixels, to which every image is resized for the backbone; None: no resizing, unless
            the backbone accepts one size only. Hypercolumns are still computed at the pixels of the images before
            resizing.
        max_window_pixels: an image with more pixels than this after resizing is processed window by window, with the
            same result as if it were processed at once. Some networks do not allow this, see `windows`.
        window_overlap: an approximation for networks that do not allow this: larger images are processed in windows of
            at most `max_window_pixels` pixels that overlap by this number of pixels or more, and the maps are blended
            where the windows overlap, see `overlapping_windows`. None: larger images are processed at once.

    Attributes:
        agreement: counts on how many pixels overlapping windows agree; None: nothing is counted. Only for prediction.

    Raises:
        ArgumentError: if `alignment` is not known, the backbone does not accept images of the size `resize`, or
            `window_overlap` does not suit the backbone.
    """

    def __init__(
        self,
        backbone: Backbone,
        alignment: Alignment = "exact",
        resize: ImageSize | None = None,
        max_window_pixels: int = MAX_WINDOW_PIXELS,
        window_overlap: int | None = None,
    ) -> None:
        super().__init__()
        check_alignment(alignment)
        if resize is not None:
            check_resize(backbone, resize)
        self.backbone = backbone
        self.alignment = alignment
        self.resize = resize or backbone.fixed_size
        self.max_window_pixels = max_window_pixels
        self._memory = MemoryCheck(backbone)
        self.agreement: OverlapAgreement | None = None
        self.window_overlap: int | None = None
        self.set_window_overlap(window_overlap)

    def set_window_overlap(self, overlap: int | None) -> None:
        """Set the attribute `window_overlap`; raise ArgumentError if the value does not suit the backbone."""
        if overlap is not None:
            check_window_overlap(self.backbone, overlap)
        self.window_overlap = overlap

    def forward(self, images: Tensor, boxes: Tensor | None = None) -> Tensor:
        """Compute the hypercolumns of all pixels of the images: (B, D, H, W).

        The result holds D values for each pixel, so use this method for small images only.
        """
        result: Tensor | None = None
        for rows, columns, maps in self.windows(images, boxes):
            part = dense(maps, torch.arange(rows.start, rows.stop), torch.arange(columns.start, columns.stop))
            if part.shape[2:] == images.shape[2:]:
                return part
            if result is None:
                result = part.new_empty(*part.shape[:2], *images.shape[2:])
            result[:, :, rows, columns] = part
            del maps  # frees the memory before the next window is computed
        assert result is not None, "there is at least one window"
        return result

    def at(self, images: Tensor, points: Tensor, boxes: Tensor | None = None, view: ImageView | None = None) -> Tensor:
        """Compute the hypercolumns at points, which may lie between pixels or outside of the image.

        Args:
            images: (B, 3, H, W).
            points: (B, N, 2) as (y, x) in pixels.
            boxes: (B, 4), the crop boxes (top, left, height, width), in pixels; None: the images are not crops.
            view: what the method `view` returned for the same images; None: it is called.

        Returns:
            (B, N, D) float, on the backbone's device.

        Raises:
            ArgumentError: if `points` is not of shape (B, N, 2).
        """
        if points.ndim != 3 or len(points) != len(images) or points.shape[2] != 2:
            raise ArgumentError(
                f"points must have the shape ({len(images)}, N, 2) for {len(images)} images, not {(*points.shape,)}"
            )
        points = points.cpu().double()
        # A point outside of the image is computed with the window of the nearest pixel.
        inside = torch.minimum(points.round().clamp(min=0), torch.tensor(images.shape[-2:]) - 1)
        result: Tensor | None = None
        for rows, columns, maps in (view or self.view(images, boxes)).windows():
            within = (inside[..., 0] >= rows.start) & (inside[..., 0] < rows.stop)
            within &= (inside[..., 1] >= columns.start) & (inside[..., 1] < columns.stop)
            if within.all():
                return at(maps, points)
            if result is None:
                result = maps[0].values.new_zeros(*points.shape[:2], sum(tap_map.values.shape[1] for tap_map in maps))
            for image, chosen in enumerate(within):
                hypercolumns = at(
                    [FeatureMap(values[image : image + 1], *where) for values, *where in maps],
                    points[image : image + 1, chosen],
                )
                result[image, chosen.to(result.device)] = hypercolumns[0]
            del maps  # frees the memory before the next window is computed
        assert result is not None, "there is at least one window"
        return result

    def windows(
        self, images: Tensor, boxes: Tensor | None = None, resize: ImageSize | None = None
    ) -> Iterator[ImageWindow]:
        """Cut the images into windows, and yield each window with its feature maps.

        Images with at most `max_window_pixels` pixels after resizing are one window. Larger images are cut into
        windows, each of about `max_window_pixels` pixels with its margins. If a global tap is computed from the deepest
        map (`pyramid`), the backbone processes each window twice: first for the deepest map of the whole image, then
        for the maps of the window.

        Some networks can't process images in windows. This is the case if a tap that is not a global tap has a map that
        may depend on the whole image, or has cells that are not equally spaced. It is also the case if a BatchNorm
        layer is in training mode. Larger images are then one window too. Unless their maps are blended from overlapping
        windows (`window_overlap`), a warning says how much memory they take, if it is much.

        Args:
            images: (B, 3, H, W).
            boxes: (B, 4), the crop boxes (top, left, height, width), in pixels of `images`; None: the images are not
                crops.
            resize: (height, width) in pixels, to which the images are resized for the backbone; None: the attribute
                `resize` of the extractor.

        Yields:
            Windows that together cover each pixel exactly once. The centres of the maps' cells are in pixels of
            `images`.

        Raises:
            HypercolumnsError: if more memory is needed for an image that is one window than is free.
        """
        yield from self.view(images, boxes, resize).windows()

    def view(
        self,
        images: Tensor,
        boxes: Tensor | None = None,
        resize: ImageSize | None = None,
        in_parts: bool = False,
    ) -> ImageView:
        """Prepare images for the method `windows` of the result, which yields the windows of the images or of a part.

        Args:
            images: see `windows`.
            boxes: see `windows`.
            resize: see `windows`.
            in_parts: whether the windows are wanted of one part after the other. Images of one window are then cut
                too, so that the backbone does not process all of them for each part.

        Returns:
            The images with what all their windows have in common.
        """
        backbone, resize = self.backbone, resize or self.resize
        size = (images.shape[-2], images.shape[-1])
        if resize is not None and resize != self.resize:
            check_resize(backbone, resize)
        seen = SeenImages(images, resize or size, backbone)
        area, scales = seen.size, seen.scales
        boxes = (full_image_box(images.shape[-2:]) if boxes is None else boxes).cpu() * torch.tensor([*scales, *scales])
        limit = int(self.max_window_pixels / backbone.enlargement**2)  # pixels before they are enlarged
        large = area[0] * area[1] > limit
        if large or in_parts:
            margins = window_margins(backbone)
            if margins is not None:
                sides = window_sides(area, margins, limit)
                empty = [images.new_empty(0, 0, *cells) for cells in backbone.map_sizes(*area)]
                return WindowedImages(backbone, seen, boxes, sides, self.locate(empty, area, scales))
        locate = partial(self.locate, area=area, scales=scales)
        if large and self.window_overlap is not None and not trains_batch_norm(backbone):
            windows = plan_windows(backbone, area, limit, self.window_overlap)
            blend = blended_maps if self.agreement is None else partial(compared_maps, self.agreement, locate)
            return WholeImages(seen, partial(blend, backbone, seen, boxes, windows), locate)
        if large:
            self._memory.announce(len(images), area)
        return WholeImages(seen, partial(whole_maps, backbone, seen, boxes), locate)

    def locate(
        self,
        maps: Sequence[Tensor],
        area: ImageSize,
        scales: Sequence[float | Tensor],
        taps: Sequence[Tap] | None = None,
    ) -> list[FeatureMap]:
        """Combine feature maps of the backbone with the centres of their cells.

        Args:
            maps: (B, C_l, h_l, w_l), one for each tap.
            area: (height, width) in pixels of the images as the backbone saw them, after resizing and padding.
            scales: (along y, along x), the factors by which the images were resized for the backbone.
            taps: the taps that the maps belong to, in the order of `maps`; None: all taps of the backbone.

        Returns:
            The maps with the centres of their cells, in pixels of the images before resizing.
        """
        located = locate_maps(self.backbone.taps if taps is None else taps, maps, area, self.alignment)
        return [_in_image(tap_map, scales) for tap_map in located]

    @property
    def is_exact(self) -> bool:
        """Whether cells are centred at the centres of their receptive fields (`alignment="exact"`)."""
        return self.alignment == "exact"

    def settings(self) -> dict[str, object]:
        """Return the values of `EXTRACTION_SETTINGS` by name, in a form that JSON can represent.

        With `window_overlap`, the hypercolumns of large images depend on `max_window_pixels`, which is then included.
        """
        settings: dict[str, object] = {
            "alignment": self.alignment,
            "resize": None if self.resize is None else list(self.resize),
            "window_overlap": self.window_overlap,
        }
        return settings if self.window_overlap is None else settings | {"max_window_pixels": self.max_window_pixels}


def check_resize(backbone: Backbone, resize: ImageSize) -> None:
    """Raise ArgumentError if a backbone takes images of one size only, and it is not `resize` (height, width)."""
    fixed = backbone.fixed_size
    if fixed is not None and tuple(resize) != fixed:
        raise ArgumentError(
            f"resize=[{resize[0]},{resize[1]}] does not fit {backbone.network}, which takes images of "
            f"{fixed[1]}x{fixed[0]} pixels only; set resize=[{fixed[0]},{fixed[1]}] or resize=null, and do not set "
            f"tta.scales"
        )


def _in_image(tap_map: FeatureMap, scales: Sequence[float | Tensor]) -> FeatureMap:
    """Convert the centres of a map's cells from pixels of the resized image to pixels of the image before resizing.

    `scales` are the factors (along y, along x) by which the image was resized.
    """
    rows, columns = (
        (centres + 0.5) / scale - 0.5
        for centres, scale in zip((tap_map.row_centres, tap_map.column_centres), scales, strict=True)
    )
    return FeatureMap(tap_map.values, rows, columns)
