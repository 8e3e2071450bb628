"""Where the cells of a tap are taken to be centred under each alignment, and how its map then lies over a photograph.

Shown is the top left corner of `skimage.data.coffee()` (CC0, Rachel Michetti), where the edge of a table crosses the
image. A map is reduced to the first principal component of its cells in this corner, by no choice of channels.

python docs/figures/make/cell_centres.py
"""

from collections.abc import Sequence
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from skimage import data
from teaser import TAPS, parse_arguments
from torch import Tensor

from hypercolumns import Backbone
from hypercolumns.models.alignment import Alignment, FeatureMap, dense, locate_maps

GRID_SIDE = 80  # pixels of the corner whose grid is drawn
CORNER = (100, 150)  # height and width of the corner that maps are drawn over
EDGE_COLUMNS = range(35, 106)  # of pixels, in which the distance of the edges is measured
DARK = 50  # what is darker, of 255, lies under the table
SHOWN = {0: "features.0 (stride 2)", 5: "features.12 (stride 16)"}  # taps whose maps are drawn
STRIDES = {2: ("#ffd92f", 1.5), 4: ("#66c2a5", 8), 8: ("#fc8d62", 28), 16: ("#e0218a", 90)}  # colour and size of a dot
TITLES = {
    "exact": "exact: centres of receptive fields",
    "half_pixel": "half_pixel: stretched, edge on edge",
    "corners": "corners: stretched, centre on centre",
}


def main() -> None:
    """Locate the maps of one image under each alignment, and write the figure."""
    options = parse_arguments(__doc__, "cell_centres.jpg")
    photo = data.coffee()
    backbone = Backbone("squeezenet1_0", TAPS, options.weights).eval()
    with torch.inference_mode():
        maps = backbone(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255)
    figure, axes = plt.subplots(1 + len(SHOWN), 3, figsize=(11, 10.2), layout="constrained", height_ratios=(36, 25, 25))
    for column, alignment in zip(axes.T, get_args(Alignment), strict=True):
        located = locate_maps(backbone.taps, maps, photo.shape[:2], alignment)
        draw_centres(column[0], photo, located)
        column[0].set_title(TITLES[alignment], fontweight="bold", fontsize=11)
        for one, (tap, name) in zip(column[1:], SHOWN.items(), strict=True):
            exact = locate_maps([backbone.taps[tap]], [maps[tap]], photo.shape[:2], "exact")[0]
            draw_map(one, photo, located[tap], principal_component(exact), name)
    for one in axes.flat:
        one.set_xticks([])
        one.set_yticks([])
    handles, names = axes[0, 0].get_legend_handles_labels()
    dots = dict(zip(names, handles, strict=True))  # one of each stride
    figure.legend(dots.values(), dots.keys(), loc="outside upper center", ncols=len(dots), title="centres of cells")
    figure.savefig(options.out, dpi=100, bbox_inches="tight", pil_kwargs={"quality": 84})


def draw_centres(axes: Axes, photo: NDArray[np.uint8], maps: Sequence[FeatureMap]) -> None:
    """Draw the cells of the taps over the pixels of the image's corner.

    Args:
        axes: to draw in.
        photo: (H, W, 3).
        maps: of all taps; those on one grid are drawn once.
    """
    axes.imshow(photo[:GRID_SIDE, :GRID_SIDE])
    edges = np.arange(GRID_SIDE + 1) - 0.5
    axes.vlines(edges, -0.5, GRID_SIDE - 0.5, "white", linewidth=0.3, alpha=0.35)
    axes.hlines(edges, -0.5, GRID_SIDE - 0.5, "white", linewidth=0.3, alpha=0.35)
    for stride, one in zip((2, 4, 4, 8, 8, 16), maps, strict=True):
        colour, area = STRIDES[stride]
        y, x = torch.meshgrid(one.row_centres, one.column_centres, indexing="ij")
        axes.scatter(x.flatten(), y.flatten(), area, colour, linewidths=0, label=f"stride {stride}", clip_on=True)
    first = float(maps[0].row_centres[0])
    axes.add_patch(Rectangle((-0.5, -0.5), 7, 7, fill=False, edgecolor="white", linewidth=1.5))
    axes.plot(first, first, "x", color="white", markersize=6, clip_on=False)
    axes.set_xlim(-0.5, GRID_SIDE - 0.5)
    axes.set_ylim(GRID_SIDE - 0.5, -0.5)
    axes.set_xlabel(
        f"the first cell of features.0 sees the white square,\nand is taken to be centred at {first:.1f} (cross)"
    )


def principal_component(one: FeatureMap) -> Tensor:
    """The first principal component (C,) of the cells in the corner, such that what lies under the table is bright."""
    rows, columns = (int((centres < end).sum()) for centres, end in zip(one[1:], CORNER, strict=True))
    cells = one.values[0, :, :rows, :columns]
    component = torch.pca_lowrank(cells.flatten(1).T, 1, niter=20)[2][:, 0]
    first, last = (cells[:, row, column] @ component for row, column in ((0, 0), (-1, -1)))
    return component if first > last else -component


def draw_map(axes: Axes, photo: NDArray[np.uint8], one: FeatureMap, component: Tensor, name: str) -> None:
    """Draw a map, upsampled, and the image's edge over it.

    Args:
        axes: to draw in.
        photo: (H, W, 3).
        one: the map, aligned.
        component: what its channels are reduced to, (C,).
        name: of the tap.
    """
    values = torch.einsum("c,bchw->bhw", component, one.values)[:, None]
    upsampled = dense([one._replace(values=values)], *map(torch.arange, CORNER))[0, 0].numpy()
    brightness = photo[: CORNER[0], : CORNER[1]].mean(-1)
    dark = brightness < DARK
    middle = (np.median(upsampled[dark]) + np.median(upsampled[~dark])) / 2
    axes.imshow(upsampled, cmap="viridis")
    axes.contour(upsampled, [middle], colors="#e0218a", linewidths=2.5, linestyles="solid")
    axes.contour(brightness, [DARK], colors="white", linewidths=1.5)
    apart = [crossing(upsampled[:, x], middle) - crossing(-brightness[:, x], -DARK) for x in EDGE_COLUMNS]
    side = "above" if np.mean(apart) < 0 else "below"
    axes.set_xlabel(f"{name}: its edge lies\n{abs(np.mean(apart)):.1f} rows {side} that of the image")


def crossing(line: NDArray[np.floating], level: float) -> float:
    """The row, between two pixels, at which a column of pixels first falls below a level."""
    row = int((line < level).argmax())
    return row - (level - line[row]) / (line[row - 1] - line[row]) if row else 0.0


if __name__ == "__main__":
    main()
