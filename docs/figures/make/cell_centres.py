"""Draw the centres of the taps' cells under each alignment, and feature maps upsampled with these centres.

The photograph is `skimage.data.coffee()` (CC0, Rachel Michetti). Its top left corner is drawn, which the edge of a
bright table crosses; the floor behind the table is dark. Each map is reduced to the first principal component of its
cells in this corner, so that no channel has to be chosen.

python docs/figures/make/cell_centres.py
"""

from collections.abc import Mapping, Sequence
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from skimage import data
from teaser import TAPS, Picture, parse_arguments
from torch import Tensor

from hypercolumns import Backbone
from hypercolumns.models.alignment import Alignment, FeatureMap, dense, locate_maps

GRID_SIDE = 80  # pixels: the height and width of the corner in which centres are drawn
CORNER = (100, 150)  # pixels: the height and width of the corner in which maps are drawn
EDGE_COLUMNS = range(35, 106)  # columns of pixels in which the edge's distance in the map and the image is measured
DARK = 50  # pixels whose mean of R, G and B is below this value, of 255, belong to the floor
SHOWN = {0: "features.0 (stride 2)", 5: "features.12 (stride 16)"}  # index in TAPS, name: the taps whose maps are drawn
TAP_STRIDES = (2, 4, 4, 8, 8, 16)  # pixels, in the order of TAPS
DOTS = {  # stride -> colour and area of a dot, in square points
    2: ("#ffd92f", 1.5),
    4: ("#66c2a5", 8),
    8: ("#fc8d62", 28),
    16: ("#e0218a", 90),
}
TITLES = {
    "exact": "exact: centres of receptive fields",
    "half_pixel": "half_pixel: stretched, edge on edge",
    "corners": "corners: stretched, centre on centre",
}


def main() -> None:
    """Compute the maps of the photograph, locate their cells under each alignment, and write the figure."""
    options = parse_arguments(__doc__, "cell_centres.jpg")
    torch.manual_seed(0)  # torch.pca_lowrank draws random numbers
    photo: Picture = data.coffee()
    backbone = Backbone("squeezenet1_0", TAPS, options.weights).eval()
    with torch.inference_mode():
        maps = backbone(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)
    size = (photo.shape[0], photo.shape[1])
    located = {alignment: locate_maps(backbone.taps, maps, size, alignment) for alignment in get_args(Alignment)}
    figure = draw_figure(photo, located)
    figure.savefig(options.out, dpi=100, bbox_inches="tight", pil_kwargs={"quality": 84})


def draw_figure(photo: Picture, located: Mapping[Alignment, Sequence[FeatureMap]]) -> Figure:
    """Draw a column for each alignment: the centres of all cells, and below them the maps of two taps.

    Args:
        photo: (H, W, 3) uint8 RGB.
        located: the feature maps of all taps under each alignment.

    Returns:
        The figure.
    """
    components = {tap: principal_component(located["exact"][tap]) for tap in SHOWN}
    figure, axes = plt.subplots(1 + len(SHOWN), 3, figsize=(11, 10.2), layout="constrained", height_ratios=(36, 25, 25))
    for column, (alignment, maps) in zip(axes.T, located.items(), strict=True):
        draw_centres(column[0], photo, maps)
        column[0].set_title(TITLES[alignment], fontweight="bold", fontsize=11)
        for panel, (tap, name) in zip(column[1:], SHOWN.items(), strict=True):
            draw_map(panel, photo, maps[tap], components[tap], name)
    for panel in axes.flat:
        panel.set_xticks([])
        panel.set_yticks([])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    dots = dict(zip(labels, handles, strict=True))  # one entry for each stride: strides 4 and 8 have two taps each
    figure.legend(dots.values(), dots.keys(), loc="outside upper center", ncols=len(dots), title="centres of cells")
    return figure


def draw_centres(axes: Axes, photo: Picture, maps: Sequence[FeatureMap]) -> None:
    """Draw the centres of all taps' cells over the photograph's corner of `GRID_SIDE` x `GRID_SIDE` pixels.

    Args:
        axes: the axes to draw in.
        photo: (H, W, 3) uint8 RGB.
        maps: the feature maps of all taps, whose centres are drawn.
    """
    axes.imshow(photo[:GRID_SIDE, :GRID_SIDE])
    edges = np.arange(GRID_SIDE + 1) - 0.5
    axes.vlines(edges, -0.5, GRID_SIDE - 0.5, "white", linewidth=0.3, alpha=0.35)
    axes.hlines(edges, -0.5, GRID_SIDE - 0.5, "white", linewidth=0.3, alpha=0.35)
    for stride, tap_map in zip(TAP_STRIDES, maps, strict=True):
        colour, area = DOTS[stride]
        y, x = torch.meshgrid(tap_map.row_centres, tap_map.column_centres, indexing="ij")
        axes.scatter(x.flatten(), y.flatten(), area, colour, linewidths=0, label=f"stride {stride}", clip_on=True)
    first = float(maps[0].row_centres[0])
    # The kernel of features.0 has 7x7 weights and no padding: its first cell sees the first 7x7 pixels.
    axes.add_patch(Rectangle((-0.5, -0.5), 7, 7, fill=False, edgecolor="white", linewidth=1.5))
    axes.plot(first, first, "x", color="white", markersize=6, clip_on=False)
    axes.set_xlim(-0.5, GRID_SIDE - 0.5)
    axes.set_ylim(GRID_SIDE - 0.5, -0.5)
    axes.set_xlabel(
        f"the first cell of features.0 sees the white square,\nand is taken to be centred at {first:.1f} (cross)"
    )


def principal_component(tap_map: FeatureMap) -> Tensor:
    """Compute the first principal component (C,) of a map's cells in `CORNER`, with larger values on the floor."""
    rows, columns = (
        int((centres < end).sum())
        for centres, end in zip((tap_map.row_centres, tap_map.column_centres), CORNER, strict=True)
    )
    cells = tap_map.values[0, :, :rows, :columns]
    component = torch.pca_lowrank(cells.flatten(1).T, 1, niter=20)[2][:, 0]
    # The floor is in the top left of the corner, and the table in the bottom right.
    floor, table = (cells[:, row, column] @ component for row, column in ((0, 0), (-1, -1)))
    return component if floor > table else -component


def draw_map(axes: Axes, photo: Picture, tap_map: FeatureMap, component: Tensor, name: str) -> None:
    """Draw an upsampled map, with the edge of the table in the map (pink) and in the photograph (white).

    Args:
        axes: the axes to draw in.
        photo: (H, W, 3) uint8 RGB.
        tap_map: the feature map, with the centres of its cells under one alignment.
        component: (C,), the principal component that the map's channels are reduced to.
        name: the name of the tap, for the caption.
    """
    values = torch.einsum("c,bchw->bhw", component, tap_map.values)[:, None]
    upsampled = dense([tap_map._replace(values=values)], *map(torch.arange, CORNER))[0, 0].numpy()
    brightness = photo[: CORNER[0], : CORNER[1]].mean(-1)
    floor = brightness < DARK
    middle = float((np.median(upsampled[floor]) + np.median(upsampled[~floor])) / 2)
    axes.imshow(upsampled, cmap="viridis")
    axes.contour(upsampled, [middle], colors="#e0218a", linewidths=2.5, linestyles="solid")
    axes.contour(brightness, [DARK], colors="white", linewidths=1.5)
    distance = np.mean(
        [find_crossing(upsampled[:, x], middle) - find_crossing(-brightness[:, x], -DARK) for x in EDGE_COLUMNS]
    )
    side = "above" if distance < 0 else "below"
    axes.set_xlabel(f"{name}: its edge lies\n{abs(distance):.1f} rows {side} that of the image")


def find_crossing(values: NDArray[np.floating], level: float) -> float:
    """Find where a column of pixels first falls below a level.

    Args:
        values: (H,), the values of the pixels from top to bottom.
        level: the level.

    Returns:
        The row, interpolated linearly between two pixels; 0 if the first value or no value is below the level.
    """
    row = int((values < level).argmax())
    return row - (level - values[row]) / (values[row - 1] - values[row]) if row else 0.0


if __name__ == "__main__":
    main()
