"""The same logits in both orders: upsample and then apply the first layer, or apply the first layer and then upsample.

The photograph and the strokes that the classifier learns from are those of teaser.py; the classifier has 512 hidden
units, the taps are the six of `cnn=sqn`. Sizes are of float32.

python docs/figures/make/first_layer.py
"""

from collections.abc import Sequence

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage import data
from teaser import draw_strokes, parse_arguments, train
from torch import Tensor

from hypercolumns import Segmenter
from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.labels import colourise
from hypercolumns.models.alignment import FeatureMap, dense
from hypercolumns.models.engine.dense import CPU_TILE, group_by_grid

Picture = NDArray[np.uint8]

HIDDEN = 512
BAND = 40  # rows of pixels whose hypercolumns are held at once
PLACES = ((90, 10), (90, 318), (199, 318), (90, 477), (150, 477), (210, 477))  # of six maps, top and left
SHIFT = 18  # pixels from one card to the next


def main() -> None:
    """Compute the logits in both orders, compare them, and write the figure."""
    options = parse_arguments(__doc__, "first_layer.jpg")
    torch.manual_seed(0)
    photo = data.coffee()
    segmenter = train(photo, draw_strokes(photo.shape[:2]), options.weights, context=(), hidden=HIDDEN)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None]
    with torch.inference_mode():
        ours = segmenter(image)[0]
        maps = next(segmenter.extractor.windows(image)).maps
        plain, hidden = plain_logits(segmenter, maps, photo.shape[:2])
        figure = draw(photo, segmenter, maps, plain, hidden, ours)
    figure.savefig(options.out, dpi=115, pil_kwargs={"quality": 88})


def plain_logits(segmenter: Segmenter, maps: Sequence[FeatureMap], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Upsample, concatenate, standardise, classify; a band of rows at a time, so that it fits into memory.

    Args:
        segmenter: whose classifier it is.
        maps: of one image.
        size: (height, width) of the image.

    Returns:
        The logits (classes, H, W), and the first layer's output (H, W, K) in half precision.
    """
    nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))  # an MLP does not look at coordinates
    weight, bias = segmenter.classifier.folded_first_layer()
    logits, hidden = [], []
    for rows in torch.arange(size[0]).split(BAND):
        hypercolumns = dense(maps, rows, torch.arange(size[1]))[0].permute(1, 2, 0)  # (BAND, W, D)
        logits.append(segmenter.classifier(hypercolumns, nowhere))
        hidden.append((hypercolumns @ weight.T + bias).half())
    return torch.cat(logits).permute(2, 0, 1), torch.cat(hidden)


def draw(
    photo: Picture,
    segmenter: Segmenter,
    maps: Sequence[FeatureMap],
    plain: Tensor,
    hidden: Tensor,
    ours: Tensor,
) -> Figure:
    """Draw both orders, one above the other.

    Args:
        photo: (H, W, 3).
        segmenter: the model.
        maps: of the photo.
        plain: logits (classes, H, W) computed in the plain order.
        hidden: the first layer's output (H, W, K).
        ours: the logits that the segmenter gives.
    """
    size = photo.shape[0], photo.shape[1]
    pixels = size[0] * size[1]
    channels = [one.values.shape[1] for one in maps]
    cells = [one.values.shape[2] * one.values.shape[3] for one in maps]
    products = [count * number for count, number in zip(channels, cells, strict=True)]
    unit = int(hidden.float().flatten(0, 1).std(0).argmax())  # the one that varies most
    weight, bias = segmenter.classifier.folded_first_layer()
    parts = weight[unit].split(channels)
    examples = [one.values[0, int(one.values[0].flatten(1).std(1).argmax())] for one in maps]
    projected = [torch.einsum("c,chw->hw", part, one.values[0]) for part, one in zip(parts, maps, strict=True)]
    total = bias[unit] + sum(upsample(one, values, size) for one, values in zip(maps, projected, strict=True))
    labels = [colourise(one.argmax(0).byte().numpy(), segmenter.palette) for one in (plain, ours)]
    off = float((plain - ours).abs().max() / (plain.max() - plain.min()))
    print(f"largest difference of the logits: {off:.1e} of their range")

    taps = (
        side_by_side(examples, size),
        f"maps $F_l$ of the six taps\n{sum(channels):,} channels, {mb(sum(products))}",
    )
    steps = [
        taps,
        (
            stacked([upsample(one, values, size) for one, values in zip(maps, examples, strict=True)]),
            f"upsampled, {sum(channels):,} x {size[0]} x {size[1]}: {mb(sum(channels) * pixels)}\n"
            f"{4 * sum(channels):,} multiply-adds a pixel",
        ),
        (
            coloured(hidden[..., unit].float()),
            f"first layer, {HIDDEN} x {size[0]} x {size[1]}: {mb(HIDDEN * pixels)}\n"
            f"{sum(channels) * HIDDEN:,} multiply-adds a pixel",
        ),
        (labels[0], "ReLU, last layer: logits\n(here the classes)"),
        taps,
        (
            side_by_side(projected, size),
            f"first layer, $W_l F_l$: {HIDDEN} channels a map\n"
            f"{HIDDEN * sum(products) / pixels:,.0f} multiply-adds a pixel",
        ),
        (
            coloured(total),
            f"upsampled, added; {mb(HIDDEN * CPU_TILE)} a tile of {CPU_TILE:,} pixels\n"
            f"{4 * len(group_by_grid(maps)) * HIDDEN:,} multiply-adds a pixel",
        ),
        (labels[1], f"ReLU, last layer: the same logits\n(largest difference: {off:.0e} of their range)"),
    ]
    figure, axes = plt.subplots(2, 4, figsize=(11.6, 5.2), layout="constrained")
    for one, (picture, caption) in zip(axes.flat, steps, strict=True):
        one.imshow(picture)
        one.set_xticks([])
        one.set_yticks([])
        one.spines[:].set_visible(False)
        one.set_xlabel(caption, fontsize=9)
    axes[0, 0].set_title("The plain order", loc="left", fontweight="bold")
    axes[1, 0].set_title("The order used here", loc="left", fontweight="bold")
    return figure


def mb(count: int) -> str:
    """The memory of `count` float32."""
    return f"{count * 4 / 1e6:,.0f} MB"


def upsample(one: FeatureMap, values: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (h, w) whose cells are centred as those of `one`, interpolated at the pixels of an image: (H, W)."""
    return dense([one._replace(values=values[None, None])], *map(torch.arange, size))[0, 0]


def coloured(values: Tensor) -> Picture:
    """A map (h, w) in colours, (h, w, 3); the darkest and the brightest hundredth of it look alike."""
    low, high = values.flatten().float().quantile(torch.tensor([0.01, 0.99]))
    colours = matplotlib.colormaps["viridis"](((values - low) / (high - low)).clamp(0, 1).numpy())
    picture: Picture = (colours[..., :3] * 255).astype(np.uint8)
    return picture


def side_by_side(maps: Sequence[Tensor], size: tuple[int, int]) -> Picture:
    """Six maps on a canvas of the image's size: a cell of a map is as large as a pixel of the image."""
    canvas = np.full((*size, 3), 255, np.uint8)
    for one, (top, left) in zip(maps, PLACES, strict=True):
        canvas[top : top + one.shape[0], left : left + one.shape[1]] = coloured(one)
    return canvas


def stacked(pictures: Sequence[Tensor]) -> Picture:
    """Maps of the image's size, one behind the other."""
    height, width = pictures[0].shape
    reach = SHIFT * (len(pictures) - 1)
    canvas = np.full((height + reach, width + reach, 3), 255, np.uint8)
    for number, one in reversed([*enumerate(pictures)]):
        top, left = reach - SHIFT * number, SHIFT * number
        canvas[max(top - 2, 0) : top + height, left : left + width + 2] = 255
        canvas[top : top + height, left : left + width] = coloured(one)
    return canvas


if __name__ == "__main__":
    main()
