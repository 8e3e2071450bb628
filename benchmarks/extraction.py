"""Hypercolumns of 3 pixels of each class of an image: the original's way, ours, and the backbone alone.

python benchmarks/extraction.py
"""

from typing import Any

import torch
from common import CLASSES, arguments, difference, make_segmenter, medians, report, size
from original import Original
from torch import Tensor

from hypercolumns.models.alignment import Alignment
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.samplers import PerClassSampler


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 15, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--classes", type=int, default=4, help="in the image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corners = make_segmenter(options.cnn, "corners")
    original = Original(corners)
    rows = [measure(corners, original, one, options.classes, options.rounds) for one in options.sizes]
    report(f"extraction, cnn={options.cnn}, one image", rows, options.json)


def measure(corners: Segmenter, original: Original, one: tuple[int, int], classes: int, rounds: int) -> dict[str, Any]:
    """Time both ways, and check that they agree.

    Args:
        corners: aligned as the original is; its backbone is used.
        original: of the same weights.
        one: height and width of the image.
        classes: in the image.
        rounds: of which the median is taken.

    Returns:
        A row of the table.
    """
    images, mask, backbone = torch.rand(1, 3, *one), blocks(*one, classes), corners.backbone

    def sample() -> Tensor:
        return PerClassSampler(3)(mask, torch.Generator().manual_seed(0))

    def ours(alignment: Alignment = "exact") -> Tensor:
        return HypercolumnExtractor(backbone, alignment).at(images, sample()[None])[0].half()

    def theirs() -> Tensor:
        points = sample()
        return original.hypercolumns(images)[0, :, points[:, 0], points[:, 1]].T.half()

    with torch.inference_mode():
        sides = {"original": theirs, "ours": ours, "backbone": lambda: backbone(images)}
        seconds = medians(sides, rounds)
        off = difference(ours("corners").float(), theirs().float())
    assert off <= 1e-3, "ours is not the same as the original's way (in float16)"
    return {
        "size": f"{one[1]}x{one[0]}",
        "samples": len(sample()),
        "original ms": seconds["original"] * 1e3,
        "ours ms": seconds["ours"] * 1e3,
        "backbone ms": seconds["backbone"] * 1e3,
        "original / ours": seconds["original"] / seconds["ours"],
        "ours / backbone": seconds["ours"] / seconds["backbone"],
        "difference": off,
    }


def blocks(height: int, width: int, classes: int) -> Tensor:
    """Make a mask of blocks, as masks have them.

    Args:
        height: of the mask.
        width: of the mask.
        classes: how many of all classes are in it; at most 4.

    Returns:
        The mask (height, width) int64.
    """
    numbers = torch.arange(height)[:, None] * 2 // height * 2 + torch.arange(width) * 2 // width
    return (numbers % classes) * (CLASSES // classes)


if __name__ == "__main__":
    main()
