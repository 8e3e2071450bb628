"""Hypercolumns of 3 pixels of each class of an image: the original's way, ours, and the backbone alone.

python benchmarks/extraction.py
"""

import torch
from common import CLASSES, arguments, difference, make_segmenter, medians, report, size
from original import Original

from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.samplers import PerClassSampler


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 15, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--classes", type=int, default=4, help="in the image")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    corners = make_segmenter(options.cnn, "corners")
    backbone, original, sampler = corners.backbone, Original(corners), PerClassSampler(3)
    rows = []
    for height, width in options.sizes:
        images = torch.rand(1, 3, height, width)
        # Blocks of classes, as masks have them.
        mask = torch.arange(height)[:, None] * 2 // height * 2 + torch.arange(width) * 2 // width
        mask = (mask % options.classes) * (CLASSES // options.classes)

        def ours(images=images, mask=mask, alignment="exact"):  # noqa: ANN001, ANN202
            points = sampler(mask, torch.Generator().manual_seed(0))
            return HypercolumnExtractor(backbone, alignment).at(images, points[None])[0].half()

        def theirs(images=images, mask=mask):  # noqa: ANN001, ANN202
            points = sampler(mask, torch.Generator().manual_seed(0))
            return original.hypercolumns(images)[0, :, points[:, 0], points[:, 1]].T.half()

        with torch.inference_mode():
            seconds = medians(
                {"original": theirs, "ours": ours, "backbone": lambda images=images: backbone(images)}, options.rounds
            )
            off = difference(ours(alignment="corners").float(), theirs().float())
        rows.append(
            {
                "size": f"{width}x{height}",
                "samples": len(sampler(mask, torch.Generator().manual_seed(0))),
                "original ms": seconds["original"] * 1e3,
                "ours ms": seconds["ours"] * 1e3,
                "backbone ms": seconds["backbone"] * 1e3,
                "original / ours": seconds["original"] / seconds["ours"],
                "ours / backbone": seconds["ours"] / seconds["backbone"],
                "difference": off,
            }
        )
        assert off <= 1e-3, "ours is not the same as the original's way (in float16)"
    report(f"extraction, cnn={options.cnn}, one image", rows, options.json)


if __name__ == "__main__":
    main()
