"""Say how much memory a backbone takes for an image that it must see whole, and refuse images that do not fit."""

import warnings

import torch

from hypercolumns.coordinates import ImageSize
from hypercolumns.errors import ArgumentError, HypercolumnsError, HypercolumnsWarning
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.overlapping_windows import check_window_overlap
from hypercolumns.models.window_sizes import sees_parts
from hypercolumns.runtime.free_memory import free_bytes

# The memory of a network, as a multiple of that of its tensors: operations use more for a moment, and the allocator
# keeps some. Measured were 1.1 to 1.7 (benchmarks/backbone_memory.py).
OVERHEAD = 1.5
GROWTH = 1.5  # of the memory of an image that is announced after another one
STEPS = 6  # of the search for a size that fits
OVERLAP = 64  # pixels; the `window_overlap` that messages recommend
GB = 1e9
ANNOUNCED_SHARE = 0.25  # of the free memory; images that take less are not announced
ANNOUNCED_BYTES = round(GB)  # the same, where it is unknown how much memory is free


class MemoryCheck:
    """Announce how much memory a backbone takes for images that it must see whole.

    The first image that takes a good part of the free memory is announced, and after it only images that take `GROWTH`
    times the memory announced last: a folder of photos of many sizes gives few warnings.

    Args:
        backbone: the backbone.
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._announced = 0

    def announce(self, count: int, size: ImageSize) -> None:
        """Warn that a backbone processes large images at once, if this takes a good part of the free memory.

        The memory is an estimate: that of the tensors, see `TappedNetwork.peak_bytes`, times `OVERHEAD`. It does not
        include what the classifier takes.

        Args:
            count: the number of images.
            size: (height, width) in pixels of the images as the backbone sees them, after resizing and padding.

        Raises:
            HypercolumnsError: if less memory is free. The backbone has not allocated anything then.
        """
        backbone = self._backbone
        needed, free = _peak_bytes(backbone, count, size), free_bytes(backbone.device)
        images = "an image" if count == 1 else f"{count} images"
        if free is not None and needed > free:
            fits = _fitting_size(backbone, count, size, free)
            resize = "" if fits is None else f"train a model with resize=[{fits[0]},{fits[1]}], which fits; or "
            raise HypercolumnsError(
                f"network={backbone.network} takes about {needed / GB:.2g} GB of memory for {images} of "
                f"{size[1]}x{size[0]} pixels, which it can't process in windows, but {free / GB:.2g} GB are free; "
                f"{resize}{_remedy(backbone)}"
            )
        least = ANNOUNCED_BYTES if free is None else ANNOUNCED_SHARE * free
        if needed < max(least, GROWTH * self._announced):
            return
        self._announced = needed
        warnings.warn(
            f"network={backbone.network} can't process {images} of {size[1]}x{size[0]} pixels in windows, because its "
            f"maps depend on the whole image or on much of it; this takes about {needed / GB:.2g} GB of memory, which "
            f"grows with the image's size: if memory runs out, train a model with resize=, or {_remedy(backbone)}",
            HypercolumnsWarning,
            stacklevel=4,
        )


def _peak_bytes(backbone: Backbone, count: int, size: ImageSize) -> int:
    """Estimate the peak memory of the maps of images.

    Under autocast, the result is that of tensors of half the size: a lower bound, because some operations keep their
    precision.
    """
    peak = round(OVERHEAD * backbone.tapped.peak_bytes(count, *size))
    return peak // 2 if torch.is_autocast_enabled(backbone.device.type) else peak


def _remedy(backbone: Backbone) -> str:
    """Say what takes less memory than whole images and does not resize them."""
    if sees_parts(backbone):
        return "set trainable to a value that trains no BatchNorm layer"
    try:
        check_window_overlap(backbone, OVERLAP)
    except ArgumentError:
        return "choose another network"
    return f"set window_overlap={OVERLAP}, which cuts images into windows approximately; or choose another network"


def _fitting_size(backbone: Backbone, count: int, size: ImageSize, free: int) -> ImageSize | None:
    """Return a smaller size of the same shape whose images fit into `free` bytes; None if none was found."""
    if backbone.fixed_size is not None:
        return None
    fits, too_large, found = 0.0, 1.0, None
    for _ in range(STEPS):
        factor = (fits + too_large) / 2
        smaller = backbone.padded_size(*(max(round(side * factor), 1) for side in size))
        if _peak_bytes(backbone, count, smaller) <= free:
            fits, found = factor, smaller
        else:
            too_large = factor
    return found
