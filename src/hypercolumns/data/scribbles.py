"""Copy a data set in Pascal VOC's layout. The train masks of the copy keep their labels only at scribbles or points.

    python -m hypercolumns.data.scribbles SOURCE TARGET --scribbles
    python -m hypercolumns.data.scribbles SOURCE TARGET --points 1

SOURCE must contain VOCdevkit/VOC<year>. TARGET gets the same layout; the setting `data.root=TARGET` trains on the copy.
In TARGET, only the train masks are new files. The images, the lists of the splits and all other masks are links to the
files in SOURCE.

A region is a 4-connected set of pixels of the same class. In each region, random pixels (--points) or the pixels of one
random curve (--scribbles) keep their label. All other pixels become void. A curve is one pixel wide and about as long
as the larger side of the region's bounding box. It is shorter if it can't continue inside the region.

Shapes: (H, W) a mask; (N, 2) the pixels of a region; (M, 2) the pixels that keep their label. A pixel is (row, column).
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
from hypercolumns.io.masks import read_mask, write_mask
from hypercolumns.labels import IGNORE_INDEX, LabelScheme, connected_regions, voc_palette
from hypercolumns.runtime import randomness

Mask = NDArray[np.uint8]
PixelIndices = NDArray[np.intp]
# (pixels (N, 2) of a region, random generator) -> the pixels (M, 2) of the region that keep their label
Choose = Callable[[PixelIndices, np.random.Generator], PixelIndices]
TURN = 2 * math.pi
BEND = 0.3  # standard deviation of the change of a scribble's direction from one pixel to the next, in radians
TRIES = 20  # the largest number of directions tried for the next pixel of a scribble
PALETTE = voc_palette(IGNORE_INDEX)
SCHEME = LabelScheme.of([str(index) for index in range(IGNORE_INDEX)])  # of any mask, whatever its classes


class LabelCount(NamedTuple):
    """The numbers of labelled pixels in the train masks of a copy and of its source, see `make_sparse_set`.

    Attributes:
        kept: the number of labelled pixels in the train masks of the copy.
        total: the number of labelled pixels in the train masks of the source.
    """

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
    """Copy a data set in Pascal VOC's layout. In the train masks of the copy, only some pixels keep their label.

    Args:
        source: the folder that contains VOCdevkit/VOC<year>.
        target: the folder for the copy. The folder may exist, but not the folder VOCdevkit/VOC<year> in it.
        choose: a function, for example `draw_scribble`. It gets the pixels (N, 2) of a region and a random generator,
            and returns those pixels (M, 2) of the region whose labels are kept.
        year: selects the folder VOC<year>.
        train: the name of a list of images, the file `ImageSets/Segmentation/<train>.txt`. The masks of these images
            become sparse.
        min_region: a region with fewer pixels than this becomes void completely.
        seed: the seed of the random choices. The random numbers for a mask depend only on the seed and on the image's
            id.

    Returns:
        The numbers of labelled pixels in the train masks of the copy and of the source.

    Raises:
        HypercolumnsError: if `source` does not contain the folder VOCdevkit/VOC<year>, if `target` already contains a
            folder of this name, or if the list or a mask can't be read.
    """
    layout, copy = _link_layout(source, target, year)
    kept = total = 0
    for name in track(read_ids(layout / "ImageSets" / "Segmentation" / f"{train}.txt", "train")):
        mask = read_mask(layout / "SegmentationClass" / f"{name}.png", SCHEME).numpy()
        random = np.random.default_rng(randomness.derive_seed(seed, name))
        sparse = sparse_mask(mask, choose, random, min_region)
        (copy / "SegmentationClass" / f"{name}.png").unlink()  # removes the link, not the mask in the source
        write_mask(copy / "SegmentationClass" / f"{name}.png", sparse, PALETTE)
        kept, total = kept + int((sparse != IGNORE_INDEX).sum()), total + int((mask != IGNORE_INDEX).sum())
    return LabelCount(kept, total)


def sparse_mask(mask: Mask, choose: Choose, random: np.random.Generator, min_region: int = 1) -> Mask:
    """Keep the labels of some pixels of each connected region of a mask, and make all other pixels void.

    Args:
        mask: (H, W) uint8 class indices, 255 for void.
        choose: a function that gets the pixels (N, 2) of a region and a random generator. It returns those pixels
            (M, 2) of the region whose labels are kept.
        random: the random generator that is passed to `choose`.
        min_region: a region with fewer pixels than this becomes void completely.

    Returns:
        The sparse mask, (H, W) uint8.
    """
    sparse = np.full_like(mask, IGNORE_INDEX)
    for region in connected_regions(mask):
        if len(region) >= min_region:
            pixels = tuple(choose(region, random).T)
            sparse[pixels] = mask[pixels]
    return sparse


def draw_scribble(region: PixelIndices, random: np.random.Generator) -> PixelIndices:
    """Draw a random curve inside a region. `region` holds the pixels of the region, (N, 2).

    The result holds the pixels of the curve, (M, 2), from its start to its end. A pixel can occur more than once.
    """
    corner, sides = region.min(0) - 1, np.ptp(region, axis=0)
    inside = np.zeros(sides + 3, bool)
    inside[tuple((region - corner).T)] = True
    y, x = map(float, random.choice(region) - corner)
    angle, curve = random.uniform(0, TURN), [(round(y), round(x))]
    for _ in range(sides.max()):
        for tries in range(TRIES):  # if the first direction leads out of the region, try random directions
            turned = random.uniform(0, TURN) if tries else angle + random.normal(0, BEND)
            ahead = y + math.sin(turned), x + math.cos(turned)
            if inside[pixel := (round(ahead[0]), round(ahead[1]))]:
                (y, x), angle = ahead, turned
                curve.append(pixel)
                break
    pixels: PixelIndices = np.array(curve) + corner
    return pixels


def draw_points(region: PixelIndices, random: np.random.Generator, count: int) -> PixelIndices:
    """Draw random pixels of a region, all of them different.

    Args:
        region: (N, 2), the pixels of the region.
        random: the random generator.
        count: the number of pixels to draw; all pixels are drawn if the region has fewer.

    Returns:
        (min(count, N), 2), the drawn pixels, in random order.
    """
    points: PixelIndices = random.permutation(region)[:count]
    return points


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `make_sparse_set` with the options in `arguments`; None takes the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="the folder that contains VOCdevkit/VOC<year>")
    parser.add_argument(
        "target", type=Path, help="the folder for the copy; it must not contain VOCdevkit/VOC<year> yet"
    )
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument(
        "--points",
        type=int,
        metavar="N",
        help="keep the labels of N random pixels of each region, or of all pixels of a region with fewer pixels",
    )
    kind.add_argument("--scribbles", action="store_true", help="keep the labels along a random curve in each region")
    parser.add_argument("--year", default="2012", help="selects the folder VOC<year>; 2012 by default")
    parser.add_argument(
        "--train",
        default="train",
        help="ImageSets/Segmentation/<TRAIN>.txt lists the images whose masks become sparse; train by default",
    )
    parser.add_argument(
        "--min-region",
        type=int,
        default=1,
        metavar="PIXELS",
        help="make regions with fewer pixels than this void; 1 by default",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random choices; 0 by default")
    options = parser.parse_args(arguments)
    choose: Choose = draw_scribble if options.scribbles else partial(draw_points, count=options.points)
    try:
        kept, total = make_sparse_set(
            options.source, options.target, choose, options.year, options.train, options.min_region, options.seed
        )
    except HypercolumnsError as error:
        parser.error(str(error))
    share = kept / max(total, 1)
    print(f"{options.target} keeps {kept:,} of {total:,} labelled pixels ({share:.3%}) in its train masks")


def _link_layout(source: Path, target: Path, year: str) -> tuple[Path, Path]:
    """Copy a VOC<year> folder from `source` to `target`, with links in place of copied files.

    The copy's SegmentationClass is a new folder with one link per mask, so that single masks can be replaced. Each
    other file or folder in the VOC<year> folder becomes one link.

    Returns:
        The VOC<year> folder below `source`, and its copy below `target`.

    Raises:
        HypercolumnsError: if `source` does not contain the folder VOCdevkit/VOC<year>, or `target` already contains it.
    """
    layout = (source / "VOCdevkit" / f"VOC{year}").resolve()
    copy = target / "VOCdevkit" / layout.name
    if copy.exists():
        raise HypercolumnsError(f"{copy} already exists; remove it, or give another target than target={target}")
    if not layout.is_dir():
        raise HypercolumnsError(
            f"source={source} does not hold VOCdevkit/{layout.name}; give the folder that holds VOCdevkit"
        )
    (copy / "SegmentationClass").mkdir(parents=True)
    for path in [*layout.iterdir(), *(layout / "SegmentationClass").iterdir()]:
        if path.name != "SegmentationClass":
            (copy / path.relative_to(layout)).symlink_to(path)
    return layout, copy


if __name__ == "__main__":
    main()
