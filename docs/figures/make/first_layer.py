"""Compute the same logits in both orders: upsampling before the first layer, and the first layer before upsampling.

The photograph, and the strokes that the classifier is trained on, are those of teaser.py. The classifier has 512 hidden
units, and the taps are the six of `cnn=sqn`. The sizes in the captions are those of float32 values.

python docs/figures/make/first_layer.py
"""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from skimage import data
from teaser import Picture, draw_strokes, parse_arguments, train
from torch import Tensor

from hypercolumns import Segmenter
from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.labels import colourise
from hypercolumns.models.alignment import FeatureMap, dense
from hypercolumns.models.engine.dense import CPU_TILE
from hypercolumns.models.engine.levels import find_levels

HIDDEN = 512  # hidden units
BAND = 40  # rows of pixels whose hypercolumns are in memory at the same time
PLACES = ((90, 10), (90, 318), (199, 318), (90, 477), (150, 477), (210, 477))  # (top, left) of each map, in pixels
SHIFT = 18  # pixels from one picture of a stack to the next, upwards and to the right


class Step(NamedTuple):
    """One picture of the figure.

    Attributes:
        picture: (h, w, 3) uint8 RGB.
        caption: the text below the picture.
    """

    picture: Picture
    caption: str


def main() -> None:
    """Compute the logits in both orders, compare them, and write the figure."""
    options = parse_arguments(__doc__, "first_layer.jpg")
    torch.manual_seed(0)
    photo: Picture = data.coffee()
    size = (photo.shape[0], photo.shape[1])
    segmenter = train(photo, draw_strokes(size), options.weights, context=(), hidden=HIDDEN)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    with torch.inference_mode():
        maps = next(segmenter.extractor.windows(image)).maps  # the photograph is small, so it forms one window
        plain_logits, hidden = classify_plainly(segmenter, maps, size)
        logits = segmenter(image)[0]
        difference = float((plain_logits - logits).abs().max() / (plain_logits.max() - plain_logits.min()))
        print(f"largest difference of the logits: {difference:.1e} of their range")
        unit = int(hidden.float().flatten(0, 1).std(0).argmax())  # the hidden unit that varies most is drawn
        weight, bias = segmenter.classifier.folded_first_layer()
        plain_classes, classes = (
            colourise(values.argmax(0).byte().numpy(), segmenter.palette) for values in (plain_logits, logits)
        )
        plain = plain_steps(maps, hidden[..., unit], plain_classes)
        ours = our_steps(maps, weight[unit], bias[unit], classes, difference)
    lay_out(plain, ours).savefig(options.out, dpi=115, pil_kwargs={"quality": 88})


def classify_plainly(segmenter: Segmenter, maps: Sequence[FeatureMap], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upsample the maps, concatenate them and classify the hypercolumns, one band of rows after the other.

    Args:
        segmenter: the model.
        maps: the feature maps of one image, one for each tap.
        size: (height, width) of the image, in pixels.

    Returns:
        The logits (classes, H, W) float32, and the output of the first layer, before the ReLU, (H, W, K) float16.
    """
    no_coordinates = PixelCoordinates(torch.empty(0), torch.empty(0))  # an MLP ignores the coordinates
    weight, bias = segmenter.classifier.folded_first_layer()
    logits, hidden = [], []
    for rows in torch.arange(size[0]).split(BAND):
        hypercolumns = dense(maps, rows, torch.arange(size[1]))[0].permute(1, 2, 0)  # (BAND, W, D)
        logits.append(segmenter.classifier(hypercolumns, no_coordinates))
        hidden.append((hypercolumns @ weight.T + bias).half())
    return torch.cat(logits).permute(2, 0, 1), torch.cat(hidden)


def plain_steps(maps: Sequence[FeatureMap], hidden: Tensor, classes: Picture) -> list[Step]:
    """Draw the steps of the plain order, which upsamples first.

    Args:
        maps: the feature maps of the photograph, one for each tap.
        hidden: (H, W), the output of the first layer for one hidden unit.
        classes: (H, W, 3) uint8, the predicted classes in their colours.

    Returns:
        The four steps, in order.
    """
    height, width = hidden.shape
    pixels, depth = height * width, sum(count_channels(maps))
    upsampled = [
        upsample(tap_map, values, (height, width)) for tap_map, values in zip(maps, select_channels(maps), strict=True)
    ]
    return [
        draw_taps(maps, (height, width)),
        Step(
            stack(upsampled),
            f"upsampled, {depth:,} x {height} x {width}: {megabytes(depth * pixels)}\n"
            f"{4 * depth:,} multiply-adds a pixel",
        ),
        Step(
            colour(hidden.float()),
            f"first layer, {HIDDEN} x {height} x {width}: {megabytes(HIDDEN * pixels)}\n"
            f"{depth * HIDDEN:,} multiply-adds at a pixel",
        ),
        Step(classes, "ReLU, last layer: logits\n(here the classes)"),
    ]


def our_steps(
    maps: Sequence[FeatureMap], weight: Tensor, bias: Tensor, classes: Picture, difference: float
) -> list[Step]:
    """Draw the steps of the order used here, which applies the first layer before it upsamples.

    Args:
        maps: the feature maps of the photograph, one for each tap.
        weight: (D,), the weights of one hidden unit.
        bias: (), the bias of that unit.
        classes: (H, W, 3) uint8, the predicted classes in their colours.
        difference: the largest difference of the logits between both orders, divided by the range of the logits.

    Returns:
        The four steps, in order.
    """
    size = (classes.shape[0], classes.shape[1])
    parts = weight.split(count_channels(maps))
    projected = [torch.einsum("c,chw->hw", part, tap_map.values[0]) for part, tap_map in zip(parts, maps, strict=True)]
    total = bias + sum(upsample(tap_map, values, size) for tap_map, values in zip(maps, projected, strict=True))
    products = HIDDEN * count_values(maps) / (size[0] * size[1])
    return [
        draw_taps(maps, size),
        Step(
            place_side_by_side(projected, size),
            f"first layer, $W_l F_l$: {HIDDEN} channels a map\n{products:,.0f} multiply-adds a pixel",
        ),
        Step(
            colour(total),
            f"upsampled, added; {megabytes(CPU_TILE)} a tile of {CPU_TILE // HIDDEN:,} pixels\n"
            f"{4 * sum(level.parent is None for level in find_levels(maps)) * HIDDEN:,} multiply-adds at a pixel",
        ),
        Step(classes, f"ReLU, last layer: the same logits\n(largest difference: {difference:.0e} of their range)"),
    ]


def draw_taps(maps: Sequence[FeatureMap], size: tuple[int, int]) -> Step:
    """Draw one channel of each map, which is the first step of both orders.

    Args:
        maps: the feature maps of the photograph, one for each tap.
        size: (height, width) of the photograph, in pixels.

    Returns:
        The step.
    """
    caption = f"maps $F_l$ of the six taps\n{sum(count_channels(maps)):,} channels, {megabytes(count_values(maps))}"
    return Step(place_side_by_side(select_channels(maps), size), caption)


def lay_out(plain: Sequence[Step], ours: Sequence[Step]) -> Figure:
    """Arrange the four steps of each order in a row, the plain order above the order used here."""
    figure, axes = plt.subplots(2, 4, figsize=(11.6, 5.2), layout="constrained")
    for panel, step in zip(axes.flat, [*plain, *ours], strict=True):
        panel.imshow(step.picture)
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
        panel.set_xlabel(step.caption, fontsize=9)
    axes[0, 0].set_title("The plain order", loc="left", fontweight="bold")
    axes[1, 0].set_title("The order used here", loc="left", fontweight="bold")
    return figure


def count_channels(maps: Sequence[FeatureMap]) -> list[int]:
    """Return the number of channels of each map."""
    return [tap_map.values.shape[1] for tap_map in maps]


def count_values(maps: Sequence[FeatureMap]) -> int:
    """Return the number of values of all maps together: the sum of channels times cells."""
    return sum(tap_map.values[0].numel() for tap_map in maps)


def select_channels(maps: Sequence[FeatureMap]) -> list[Tensor]:
    """Return the channel (h, w) of each map whose values have the largest standard deviation."""
    return [tap_map.values[0, int(tap_map.values[0].flatten(1).std(1).argmax())] for tap_map in maps]


def megabytes(count: int) -> str:
    """Return the memory that this number of float32 values needs, such as `3 MB`; 1 MB is 1e6 bytes."""
    return f"{count * 4 / 1e6:,.0f} MB"


def upsample(tap_map: FeatureMap, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Interpolate a single channel at all pixels of an image.

    Args:
        tap_map: a feature map, whose centres of cells are used.
        values: (h, w), the values of the cells.
        size: (height, width) of the image, in pixels.

    Returns:
        (H, W), of the dtype of `values`.
    """
    return dense([tap_map._replace(values=values[None, None])], *map(torch.arange, size))[0, 0]


def colour(values: Tensor) -> Picture:
    """Draw values (h, w) in the colours of viridis, which range from the 1st to the 99th percentile of the values."""
    low, high = values.flatten().float().quantile(torch.tensor([0.01, 0.99]))
    colours = matplotlib.colormaps["viridis"](((values - low) / (high - low)).clamp(0, 1).numpy())
    picture: Picture = (colours[..., :3] * 255).astype(np.uint8)
    return picture


def place_side_by_side(channels: Sequence[Tensor], size: tuple[int, int]) -> Picture:
    """Draw one channel (h, w) of each of six maps on a white canvas, with one pixel for each cell.

    Args:
        channels: the six channels, which are drawn at `PLACES`.
        size: (height, width) of the canvas, in pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    canvas = np.full((*size, 3), 255, np.uint8)
    for values, (top, left) in zip(channels, PLACES, strict=True):
        canvas[top : top + values.shape[0], left : left + values.shape[1]] = colour(values)
    return canvas


def stack(channels: Sequence[Tensor]) -> Picture:
    """Draw channels (H, W) of equal size as a stack on a white canvas, the first in front at the bottom left."""
    height, width = channels[0].shape
    reach = SHIFT * (len(channels) - 1)
    canvas = np.full((height + reach, width + reach, 3), 255, np.uint8)
    for number, values in reversed([*enumerate(channels)]):
        top, left = reach - SHIFT * number, SHIFT * number
        canvas[max(top - 2, 0) : top + height, left : left + width + 2] = 255  # a white edge of two pixels
        canvas[top : top + height, left : left + width] = colour(values)
    return canvas


if __name__ == "__main__":
    main()
