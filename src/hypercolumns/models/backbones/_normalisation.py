"""The mean and the standard deviation by which a backbone normalises each channel of its images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hypercolumns.errors import ArgumentError
from hypercolumns.io.decoding import RGB

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float in [0, 1]; return float images unchanged."""
    return images / 255 if images.dtype == torch.uint8 else images


def choose_values(given: Sequence[float] | None, own: Sequence[float], channels: int) -> Sequence[float]:
    """Choose between the values that the user gives and those that belong to the weights.

    Args:
        given: the values of the user. None: no values.
        own: three values, for red, green and blue, which belong to the weights.
        channels: the number of channels of the images.

    Returns:
        `given` if it has values for the channels of images that are not RGB, because the weights know no such channels;
        otherwise `own`.
    """
    for_channels = channels != RGB and isinstance(given, Sequence) and len(given) != RGB
    return given if for_channels and given is not None else own


def channel_values(name: str, values: Sequence[float], channels: int) -> Tensor:
    """Convert the numbers of a normalisation to one for each channel of an image.

    Of three numbers, the first channels get those of red, green and blue, and further channels get their mean.

    >>> channel_values("mean", [0.1, 0.2, 0.6], 4).flatten().tolist() == torch.tensor([0.1, 0.2, 0.6, 0.3]).tolist()
    True

    Args:
        name: the name of the backbone's argument, `mean` or `std`.
        values: the value of this argument: one number for each of red, green and blue, or for each channel.
        channels: the number of channels of the images.

    Returns:
        (channels, 1, 1) float32.

    Raises:
        ArgumentError: unless `values` holds three, or `channels`, finite numbers. For `std`, they must not be 0.
    """
    wrong = isinstance(values, str) or not isinstance(values, Sequence) or len(values) not in (RGB, channels)
    if wrong or not all(type(x) in (int, float) and math.isfinite(x) and (x or name == "mean") for x in values):
        each = "" if channels == RGB else f", or {channels}, one for each channel"
        nonzero = "" if name == "mean" else ", none of them 0"
        raise ArgumentError(f"{name}={values} must be three finite numbers, [red,green,blue]{each}{nonzero}")
    if len(values) != channels:
        values = [*values[:channels], *[sum(values) / RGB] * (channels - RGB)]
    return torch.tensor(values, dtype=torch.float32)[:, None, None]
