"""Hypercolumns at 3 pixels of each class: by the original method, by this project, and the backbone alone.

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
    """Measure and print the tables."""
    parser = arguments(__doc__, 15, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--classes", type=int, default=4, help="number of classes in the image, at most 4")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corners = make_segmenter(options.cnn, "corners")
    original = Original(corners)
    rows = [measure(corners, original, image_size, options.classes, options.rounds) for image_size in options.sizes]
    report(f"extraction, cnn={options.cnn}, one image", rows, options.json)


def measure(
    corners: Segmenter, original: Original, image_size: tuple[int, int], classes: int, rounds: int
) -> dict[str, Any]:
    """Time both methods, and check that their features agree.

    Args:
        corners: a segmenter with the alignment of the original method; its backbone is timed.
        original: the original method with the same weights.
        image_size: (height, width).
        classes: number of classes in the image.
        rounds: number of timings; the table shows their median.

    Returns:
        A row of the table.
    """
    images, mask, backbone = torch.rand(1, 3, *image_size), blocks(*image_size, classes), corners.backbone

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
    assert off <= 1e-3, "the features differ from those of the original method (in float16)"
    return {
        "size": f"{image_size[1]}x{image_size[0]}",
        "samples": len(sample()),
        "original ms": seconds["original"] * 1e3,
        "ours ms": seconds["ours"] * 1e3,
        "backbone ms": seconds["backbone"] * 1e3,
        "original / ours": seconds["original"] / seconds["ours"],
        "ours / backbone": seconds["ours"] / seconds["backbone"],
        "difference": off,
    }


def blocks(height: int, width: int, classes: int) -> Tensor:
    """Make a mask of four rectangular blocks.

    Args:
        height: of the mask.
        width: of the mask.
        classes: number of different classes in the mask; at most 4.

    Returns:
        The mask (height, width) int64.
    """
    numbers = torch.arange(height)[:, None] * 2 // height * 2 + torch.arange(width) * 2 // width
    return (numbers % classes) * (CLASSES // classes)


if __name__ == "__main__":
    main()
