"""Simulate an annotator who paints strokes where the model is wrong, and measure the mIoU after some strokes.

The annotator goes through the images in the order that the model suggests, and paints one stroke in each of them, then
a second one, and so on. A stroke goes through the largest wrong region: the largest connected region of one true class
that the model predicts wrongly. It is a straight line through the pixel of this region that is the farthest from its
border, in the direction of 8 in which it is longest inside of the region; at most 40 pixels long and 3 wide, without
the pixels of other classes. Before the first model, all pixels are wrong.

The rows of the table differ in how the pixels are labelled:

- suggested: as above;
- random: each stroke goes through a random pixel of a random image;
- full masks: all pixels of as many images as the suggested strokes have been painted in.

Each stroke is followed by a fixed number of training steps, as few as a user waits for; the model that is scored has
been trained until it has converged. *CPU ms a stroke* is the median CPU time to add the stroke to the sample, to train
and to predict all pixels of the image.

Two columns tell whether the model knows how sure it may be. *ECE* is the expected calibration error of the most
probable class, with 15 bins of equal width. *Order* is the rank correlation (Spearman) of the mean margins of the
scored images and their shares of wrong pixels: -1 if the margins order the images perfectly, 0 if they say nothing.
Both are measured on every eighth row and column.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from common import arguments, make_backbone, report
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error

from hypercolumns.annotation import PixelTrainer
from hypercolumns.annotation.learning.views import NOWHERE, view_grid
from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.models.alignment import FeatureMap, at
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter

LENGTH, WIDTH = 40, 3  # pixels of a stroke
STEPS = 20  # after each stroke
ANGLES = np.arange(8) * np.pi / 8
GRID = 8  # rows and columns between the pixels on which the certainty is measured
BINS = 15  # of the calibration error
Mask = NDArray[np.uint8]
Region = NDArray[np.bool_]
Pixel = tuple[int, int]


class LabelledImage(NamedTuple):
    """An image (3, H, W) uint8 and its mask (H, W) uint8."""

    image: Tensor
    mask: Mask


def read_images(root: Path, ids: list[str]) -> dict[str, LabelledImage]:
    """Read images with their masks from a folder in Pascal VOC's layout."""
    read = {}
    for name in ids:
        pixels = np.array(Image.open(root / "JPEGImages" / f"{name}.jpg").convert("RGB"))
        mask = np.array(Image.open(root / "SegmentationClass" / f"{name}.png"))
        read[name] = LabelledImage(torch.from_numpy(pixels).permute(2, 0, 1), mask)
    return read


def stroke_through(region: Region, row: int, column: int) -> tuple[Tensor, Tensor]:
    """Return the pixels of a stroke inside a region through one of its pixels, in the direction that makes it longest.

    Args:
        region: (H, W), the pixels that may be painted.
        row: the row of the pixel.
        column: the column of the pixel.

    Returns:
        The rows (N,) and the columns (N,) of the pixels.
    """
    reach = LENGTH - WIDTH + 1  # pixels of the line, which the brush makes longer
    line: list[Pixel] = []
    for angle in ANGLES:
        ahead, behind = (_arm(region, (row, column), angle + turn) for turn in (0, np.pi))
        ahead = ahead[: max(reach // 2, reach - 1 - len(behind))]
        found = [(row, column), *ahead, *behind[: reach - 1 - len(ahead)]]
        line = max(line, found, key=len)
    painted = np.zeros(region.shape, bool)
    painted[tuple(np.transpose(line))] = True
    rows, columns = np.nonzero(ndimage.binary_dilation(painted, np.ones((WIDTH, WIDTH))) & region)
    return torch.from_numpy(rows), torch.from_numpy(columns)


def _arm(region: Region, start: Pixel, angle: float) -> list[Pixel]:
    """Return the pixels after `start` on a straight line until it leaves the region, at most a stroke's length."""
    pixels = []
    for step in range(1, LENGTH):
        row, column = round(start[0] + step * np.sin(angle)), round(start[1] + step * np.cos(angle))
        if not (0 <= row < region.shape[0] and 0 <= column < region.shape[1] and region[row, column]):
            break
        pixels.append((row, column))
    return pixels


def largest_wrong_region(predicted: Mask, mask: Mask) -> Region | None:
    """Return the largest connected region of one true class that is predicted wrongly; None if all is right."""
    wrong = (predicted != mask) & (mask != 255)
    best, size = None, 0
    for value in np.unique(mask[wrong]):
        regions, count = ndimage.label(wrong & (mask == value))
        sizes = np.bincount(regions.ravel(), minlength=count + 1)
        sizes[0] = 0
        if sizes.max() > size:
            best, size = regions == sizes.argmax(), int(sizes.max())
    return best


class Session:
    """An annotator with a model, and the images to annotate."""

    def __init__(self, trainer: PixelTrainer, images: dict[str, LabelledImage], seed: int) -> None:
        self.trainer, self.images = trainer, images
        self.strokes = dict.fromkeys(images, 0)
        self.random = np.random.default_rng(seed)
        self.seconds: list[float] = []
        for name, (image, _) in images.items():
            trainer.prepare(name, image)

    def suggested_stroke(self) -> None:
        """Paint through the largest wrong region of the suggested image."""
        fewest = min(self.strokes.values())
        waiting = [name for name, strokes in self.strokes.items() if strokes == fewest]
        name = min(waiting, key=self.trainer.mean_margin)
        mask = self.images[name].mask
        view = self.trainer.view(name, *(torch.arange(length) for length in mask.shape))
        region = largest_wrong_region(view.labels.numpy(), mask)
        self.strokes[name] += 1
        if region is not None:
            depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
            self._paint(name, region, *np.unravel_index(depth.argmax(), depth.shape))

    def random_stroke(self) -> None:
        """Paint through a random labelled pixel of a random image."""
        name = list(self.images)[self.random.integers(len(self.images))]
        self.strokes[name] += 1
        mask = self.images[name].mask
        pixels = np.argwhere(mask != 255)
        row, column = pixels[self.random.integers(len(pixels))]
        self._paint(name, mask == mask[row, column], row, column)

    def _paint(self, name: str, region: Region, row: np.intp, column: np.intp) -> None:
        rows, columns = stroke_through(region, int(row), int(column))
        start = time.process_time()
        self.trainer.label(name, rows, columns, int(self.images[name].mask[row, column]))
        self.trainer.train(STEPS)
        self.trainer.view(name, *(torch.arange(length) for length in region.shape))
        self.seconds.append(time.process_time() - start)


def converge(trainer: PixelTrainer) -> None:
    """Train until the model has converged."""
    while not trainer.train(50).converged:
        pass


class Scored(NamedTuple):
    """An image to score: its maps in half precision, and its mask (H, W)."""

    maps: list[FeatureMap]
    mask: Tensor


def prepare_scored(extractor: HypercolumnExtractor, images: dict[str, LabelledImage]) -> list[Scored]:
    """Compute the maps of images once, for all models."""
    scored = []
    with torch.inference_mode():
        for image, mask in images.values():
            (window,) = extractor.windows(image[None])
            maps = [tap_map._replace(values=tap_map.values.half()) for tap_map in window.maps]
            scored.append(Scored(maps, torch.from_numpy(mask).long()))
    return scored


def score(segmenter: Segmenter, images: list[Scored]) -> float:
    """Return the mIoU over all pixels of some images, which are predicted adaptively."""
    classes = len(segmenter.classes)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    with torch.inference_mode():
        for maps, mask in images:
            rows, columns = (torch.arange(length) for length in mask.shape)
            labels = view_grid(maps, rows, columns, segmenter.classifier, AdaptiveSettings()).labels.long()
            known = mask != 255
            confusion += (mask[known] * classes + labels[known]).bincount(minlength=classes**2).view(classes, classes)
    miou = segmentation_metrics(confusion).miou
    assert miou is not None, "there are labelled pixels"
    return miou


def certainty(segmenter: Segmenter, images: list[Scored]) -> dict[str, float]:
    """Return the columns *ECE* and *order* of the table."""
    margins, errors, sure, right = [], [], [], []
    with torch.inference_mode():
        for maps, mask in images:
            points = torch.cartesian_prod(*(torch.arange(GRID // 2, length, GRID) for length in mask.shape))
            truth = mask[tuple(points.T)]
            points, truth = points[truth != 255], truth[truth != 255]
            hypercolumns = at(maps, points[None].double())[0].float()
            highest, classes = segmenter.classifier(hypercolumns, NOWHERE).softmax(1).topk(2)
            sure.append(highest[:, 0])
            right.append((classes[:, 0] == truth).float())
            margins.append(float((highest[:, 0] - highest[:, 1]).mean()))
            errors.append(1 - float(right[-1].mean()))
    calibration = binary_calibration_error(torch.cat(sure), torch.cat(right).long(), n_bins=BINS)
    return {"ECE": float(calibration), "order": float(stats.spearmanr(margins, errors).statistic)}


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("root", type=Path, help="a folder in Pascal VOC's layout: the one with ImageSets")
    parser.add_argument("--classes", type=Path, help="a file with a class on each line; classes.txt by default")
    parser.add_argument("--weights", help="the weights of the backbone; random ones by default")
    parser.add_argument("--context", nargs="*", default=[], help="context taps, such as local_mean:7")
    parser.add_argument("--strokes", type=int, nargs="+", default=[20, 50, 100, 200])
    parser.add_argument("--images", type=int, help="the number of train images, the first ones; all by default")
    parser.add_argument("--left-out", action="store_true", help="score every sixth block of train images, not val")
    parser.add_argument("--only", nargs="+", default=["suggested", "random", "full"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = run(options)
    report("Simulated annotator", rows, options.json)


def run(options: argparse.Namespace) -> list[dict[str, float | str]]:
    """Run the sides of the benchmark, and return the rows of the table."""
    lists = {
        name: (options.root / f"ImageSets/Segmentation/{name}.txt").read_text().split() for name in ("train", "val")
    }
    classes = (options.classes or options.root / "classes.txt").read_text().split()
    train, scored = lists["train"], lists["val"]
    if options.left_out:
        scored = [name for number, name in enumerate(train) if number % 120 >= 96]
        train = [name for name in train if name not in scored]
    images = read_images(options.root, train[: options.images])
    backbone = make_backbone(options.cnn, weights=options.weights, context=options.context)
    test = prepare_scored(HypercolumnExtractor(backbone).eval(), read_images(options.root, scored))
    rows: list[dict[str, float | str]] = []

    def new_trainer() -> PixelTrainer:
        return PixelTrainer(HypercolumnExtractor(backbone).eval(), classes, seed=options.seed)

    painted: list[list[str]] = []
    sides: dict[str, Callable[[Session], None]] = {
        "suggested": Session.suggested_stroke,
        "random": Session.random_stroke,
    }
    for side, paint in sides.items():
        if side not in options.only:
            continue
        session = Session(new_trainer(), images, options.seed)
        for stroke in range(1, max(options.strokes) + 1):
            paint(session)
            if stroke in options.strokes:
                converge(session.trainer)
                names = [name for name, strokes in session.strokes.items() if strokes]
                if side == "suggested":
                    painted.append(names)
                rows.append(
                    {
                        "labels": f"{stroke} strokes, {side}",
                        "images": len(names),
                        "mIoU": score(session.trainer.segmenter, test),
                        **certainty(session.trainer.segmenter, test),
                        "CPU ms a stroke": 1e3 * float(np.median(session.seconds)),
                    }
                )
                print(rows[-1], flush=True)
        del session
    for names in [*painted, list(images)] if "full" in options.only else []:
        trainer = new_trainer().fit([images[name].image for name in names], [images[name].mask for name in names])
        rows.append(
            {
                "labels": "full masks",
                "images": len(names),
                "mIoU": score(trainer.segmenter, test),
                **certainty(trainer.segmenter, test),
                "CPU ms a stroke": 0,
            }
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
