"""A data set whose train masks hold only scribbles or points, void elsewhere: what is it worth to label so little?

    python benchmarks/scribbles.py SOURCE TARGET --points 1
    python benchmarks/scribbles.py SOURCE TARGET --scribbles

SOURCE holds VOCdevkit/VOC<year>; TARGET is made like it, for `data.root=TARGET`: images, lists and the other masks are
links to those of SOURCE. Each connected region of a class gets so many points, or one curve, a pixel wide and as long
as the region's larger side, that wanders at random inside the region.
"""

import argparse
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from hypercolumns.io.files import read_lines
from hypercolumns.io.images import read_mask, write_mask
from hypercolumns.labels import IGNORE_INDEX, voc_palette
from hypercolumns.runtime import randomness

Mask = NDArray[np.uint8]
Pixels = NDArray[np.intp]
TURN = 2 * math.pi
BEND = 0.3  # of a scribble from one pixel to the next, in radians; a standard deviation
TRIES = 20  # of directions for each of its pixels


def regions(mask: Mask) -> list[Pixels]:
    """The pixels (N, 2) of each region of a class, which are linked by their sides."""
    numbers, alike = np.arange(mask.size).reshape(mask.shape), [np.diff(mask, axis=axis) == 0 for axis in (0, 1)]
    one = np.concatenate([numbers[1:][alike[0]], numbers[:, 1:][alike[1]]])
    other = np.concatenate([numbers[:-1][alike[0]], numbers[:, :-1][alike[1]]])
    least, before = numbers.ravel(), None
    while before is None or (least != before).any():  # each pixel learns the least number of its region
        before = least.copy()
        for ends in (one, other):
            np.minimum.at(least, before[ends], np.minimum(before[one], before[other]))
        least = least[least]
    pixels = np.flatnonzero(mask.ravel() != IGNORE_INDEX)
    pixels = pixels[least[pixels].argsort(kind="stable")]
    parts = np.split(pixels, np.flatnonzero(np.diff(least[pixels])) + 1)
    return [np.stack(np.divmod(part, mask.shape[1]), 1) for part in parts if len(part)]


def scribble(region: Pixels, random: np.random.Generator) -> Pixels:
    """The pixels of a curve inside a region."""
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
    return np.array(curve) + corner


def main() -> None:
    """Make the data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a new folder")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--points", type=int, metavar="N", help="of each region")
    what.add_argument("--scribbles", action="store_true")
    parser.add_argument("--year", default="2012")
    parser.add_argument("--train", default="train", help="the list of the images whose masks are changed")
    parser.add_argument("--smallest", type=int, default=1, metavar="PIXELS", help="region that is labelled at all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    layout = (options.source / "VOCdevkit" / f"VOC{options.year}").resolve()
    made = options.target / "VOCdevkit" / layout.name
    if made.exists() or not layout.is_dir():
        parser.error(f"{made} is there already" if made.exists() else f"{layout} is not a folder")
    (made / "SegmentationClass").mkdir(parents=True)
    for path in [*layout.iterdir(), *(layout / "SegmentationClass").iterdir()]:
        if path.name != "SegmentationClass":
            (made / path.relative_to(layout)).symlink_to(path)
    labelled = total = 0
    for name in track(read_lines(layout / "ImageSets" / "Segmentation" / f"{options.train}.txt", "--train")):
        mask = read_mask(layout / "SegmentationClass" / f"{name}.png", voc_palette(IGNORE_INDEX), IGNORE_INDEX).numpy()
        random, few = (
            np.random.default_rng(randomness.derive_seed(options.seed, name)),
            np.full_like(mask, IGNORE_INDEX),
        )
        for region in (one for one in regions(mask) if len(one) >= options.smallest):
            kept = scribble(region, random) if options.scribbles else random.permutation(region)[: options.points]
            few[tuple(kept.T)] = mask[tuple(kept.T)]
        (made / "SegmentationClass" / f"{name}.png").unlink()  # a link; the mask itself stays as it is
        write_mask(made / "SegmentationClass" / f"{name}.png", few, voc_palette(IGNORE_INDEX))
        labelled, total = labelled + int((few != IGNORE_INDEX).sum()), total + int((mask != IGNORE_INDEX).sum())
    print(f"{labelled:,} of {total:,} labelled pixels are left ({labelled / total:.3%}), in {options.target}")


if __name__ == "__main__":
    main()
