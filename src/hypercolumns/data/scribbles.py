"""Make a data set whose train masks hold only scribbles or points, and void elsewhere.

    python -m hypercolumns.data.scribbles SOURCE TARGET --scribbles
    python -m hypercolumns.data.scribbles SOURCE TARGET --points 1

SOURCE holds VOCdevkit/VOC<year>. TARGET is made like it, for `data.root=TARGET`: its images, lists and other masks are
links to those of SOURCE. Each connected region of a class gets some points, or one curve. A curve is a pixel wide and
as long as the region's larger side, and wanders at random inside the region.

H, W: of a mask; N: pixels of a region, (row, column) each
"""

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from hypercolumns.data.class_files import read_ids
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.images import read_mask, write_mask
from hypercolumns.labels import IGNORE_INDEX, voc_palette
from hypercolumns.runtime import randomness

Mask = NDArray[np.uint8]
PixelIndices = NDArray[np.intp]
Choose = Callable[[PixelIndices, np.random.Generator], PixelIndices]  # the pixels of a region that keep their label
TURN = 2 * math.pi
BEND = 0.3  # of a scribble from one pixel to the next, in radians; a standard deviation
TRIES = 20  # of directions for each of its pixels
PALETTE = voc_palette(IGNORE_INDEX)


class LabelCount(NamedTuple):
    """How many labelled pixels the train masks have: those that were kept, and all of the source."""

    kept: int
    total: int


def make_sparse_set(
    source: Path,
    target: Path,
    choose: Choose,
    year: str = "2012",
    train: str = "train",
    min_region: int = 1,
    seed: int = 0,
) -> LabelCount:
    """Make a data set like `source` whose train masks keep the chosen pixels alone.

    Args:
        source: the folder that holds VOCdevkit/VOC<year>.
        target: the folder to make; it may exist, but not with a VOCdevkit/VOC<year>.
        choose: which pixels (M, 2) of a region (N, 2) keep their label, see `draw_scribble` and `draw_points`.
        year: of the folder's name.
        train: the list of the images whose masks are changed, a file of ImageSets/Segmentation without its suffix.
        min_region: regions of fewer pixels are left void.
        seed: of the random choices; those of an image depend on it and on the image's id.

    Returns:
        The labelled pixels that are left, and those that there were.

    Raises:
        HypercolumnsError: if the source isn't there or the target is already, or a list or a mask can't be read.
    """
    layout, copy = _link_layout(source, target, year)
    kept = total = 0
    for name in track(read_ids(layout / "ImageSets" / "Segmentation" / f"{train}.txt", "train")):
        mask = read_mask(layout / "SegmentationClass" / f"{name}.png", PALETTE, IGNORE_INDEX).numpy()
        random = np.random.default_rng(randomness.derive_seed(seed, name))
        sparse = sparse_mask(mask, choose, random, min_region)
        (copy / "SegmentationClass" / f"{name}.png").unlink()  # a link; the mask itself stays as it is
        write_mask(copy / "SegmentationClass" / f"{name}.png", sparse, PALETTE)
        kept, total = kept + int((sparse != IGNORE_INDEX).sum()), total + int((mask != IGNORE_INDEX).sum())
    return LabelCount(kept, total)


def sparse_mask(mask: Mask, choose: Choose, random: np.random.Generator, min_region: int = 1) -> Mask:
    """Keep the labels of the chosen pixels of each region, and make all others void.

    Args:
        mask: (H, W) uint8 class indices, 255 for void.
        choose: which pixels (M, 2) of a region (N, 2) keep their label.
        random: what the choice is drawn from.
        min_region: regions of fewer pixels are left void.

    Returns:
        (H, W) uint8.
    """
    sparse = np.full_like(mask, IGNORE_INDEX)
    for region in connected_regions(mask):
        if len(region) >= min_region:
            pixels = tuple(choose(region, random).T)
            sparse[pixels] = mask[pixels]
    return sparse


def connected_regions(mask: Mask) -> list[PixelIndices]:
    """The pixels (N, 2) of each region of one class, whose pixels are linked by their sides."""
    numbers, alike = np.arange(mask.size).reshape(mask.shape), [np.diff(mask, axis=axis) == 0 for axis in (0, 1)]
    ends = np.concatenate([numbers[1:][alike[0]], numbers[:, 1:][alike[1]]])
    starts = np.concatenate([numbers[:-1][alike[0]], numbers[:, :-1][alike[1]]])
    lowest, before = numbers.ravel(), None
    while before is None or (lowest != before).any():  # each pixel learns the lowest number of its region
        before = lowest.copy()
        for side in (ends, starts):
            np.minimum.at(lowest, before[side], np.minimum(before[ends], before[starts]))
        lowest = lowest[lowest]
    pixels = np.flatnonzero(mask.ravel() != IGNORE_INDEX)
    pixels = pixels[lowest[pixels].argsort(kind="stable")]
    parts = np.split(pixels, np.flatnonzero(np.diff(lowest[pixels])) + 1)
    return [np.stack(np.divmod(part, mask.shape[1]), 1) for part in parts if len(part)]


def draw_scribble(region: PixelIndices, random: np.random.Generator) -> PixelIndices:
    """Draw a curve (M, 2) that wanders inside a region (N, 2); a pixel may come more than once."""
    corner, sides = region.min(0) - 1, np.ptp(region, axis=0)
    inside = np.zeros(sides + 3, bool)
    inside[tuple((region - corner).T)] = True
    y, x = map(float, random.choice(region) - corner)
    angle, curve = random.uniform(0, TURN), [(round(y), round(x))]
    for _ in range(sides.max()):
        for tries in range(TRIES):  # any direction, if it would leave the region straight ahead
            turned = random.uniform(0, TURN) if tries else angle + random.normal(0, BEND)
            ahead = y + math.sin(turned), x + math.cos(turned)
            if inside[pixel := (round(ahead[0]), round(ahead[1]))]:
                (y, x), angle = ahead, turned
                curve.append(pixel)
                break
    pixels: PixelIndices = np.array(curve) + corner
    return pixels


def draw_points(region: PixelIndices, random: np.random.Generator, count: int) -> PixelIndices:
    """Draw `count` pixels of a region (N, 2) without replacement; all of them, if there are no more."""
    points: PixelIndices = random.permutation(region)[:count]
    return points


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data set that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a new folder")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--points", type=int, metavar="N", help="of each region")
    kind.add_argument("--scribbles", action="store_true")
    parser.add_argument("--year", default="2012")
    parser.add_argument("--train", default="train", help="the list of the images whose masks are changed")
    parser.add_argument("--min-region", type=int, default=1, metavar="PIXELS", help="smaller regions are left void")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    choose: Choose = draw_scribble if options.scribbles else partial(draw_points, count=options.points)
    try:
        kept, total = make_sparse_set(
            options.source, options.target, choose, options.year, options.train, options.min_region, options.seed
        )
    except HypercolumnsError as error:
        parser.error(str(error))
    print(f"{kept:,} of {total:,} labelled pixels are left ({kept / max(total, 1):.3%}), in {options.target}")


def _link_layout(source: Path, target: Path, year: str) -> tuple[Path, Path]:
    """Make VOC<year> and its SegmentationClass folders of links; returns the source's VOC<year>, and the new one."""
    layout = (source / "VOCdevkit" / f"VOC{year}").resolve()
    copy = target / "VOCdevkit" / layout.name
    if copy.exists():
        raise HypercolumnsError(f"target={target} holds {copy} already; give another folder, or remove it")
    if not layout.is_dir():
        raise HypercolumnsError(f"source={source} must hold the folder {layout}")
    (copy / "SegmentationClass").mkdir(parents=True)
    for path in [*layout.iterdir(), *(layout / "SegmentationClass").iterdir()]:
        if path.name != "SegmentationClass":
            (copy / path.relative_to(layout)).symlink_to(path)
    return layout, copy


if __name__ == "__main__":
    main()
