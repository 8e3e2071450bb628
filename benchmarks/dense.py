"""The logits of every pixel: the original's way, ours, and the backbone alone.

python benchmarks/dense.py
"""

import torch
from common import arguments, difference, make_segmenter, medians, report, size
from original import Original


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 7, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    exact, corners = (make_segmenter(options.cnn, alignment) for alignment in ("exact", "corners"))
    original = Original(corners)
    rows = []
    for height, width in options.sizes:
        images = torch.rand(1, 3, height, width)
        with torch.inference_mode():
            seconds = medians(
                {
                    "original": lambda images=images: original(images),
                    "ours": lambda images=images: exact(images),
                    "labels": lambda images=images: exact.labels(images),
                    "backbone": lambda images=images: exact.backbone(images),
                    "plain backbone": lambda images=images: original.network(images),
                },
                options.rounds,
            )
            off = difference(corners(images), original(images))
            with torch.autocast("cpu", torch.bfloat16):
                half = medians({"ours": lambda images=images: exact(images)}, options.rounds)["ours"]
        rows.append(
            {
                "size": f"{width}x{height}",
                "original ms": seconds["original"] * 1e3,
                "ours ms": seconds["ours"] * 1e3,
                "labels ms": seconds["labels"] * 1e3,
                "bf16 ms": half * 1e3,
                "backbone ms": seconds["backbone"] * 1e3,
                "torchvision's backbone ms": seconds["plain backbone"] * 1e3,
                "original / ours": seconds["original"] / seconds["ours"],
                "ours / backbone": seconds["ours"] / seconds["backbone"],
                "ours / torchvision's": seconds["ours"] / seconds["plain backbone"],
                "difference": off,
            }
        )
        assert off <= 1e-5, "ours is not the same as the original's way"
    report(f"dense inference, cnn={options.cnn}, one image, fp32", rows, options.json)


if __name__ == "__main__":
    main()
