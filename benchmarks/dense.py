"""The logits of every pixel: by the original method, by this project, and the backbone alone.

python benchmarks/dense.py
"""

from typing import Any

import torch
from common import arguments, difference, make_segmenter, medians, report, size
from original import Original

from hypercolumns.models.segmenter import Segmenter


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 7, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    exact, corners = (make_segmenter(options.cnn, alignment) for alignment in ("exact", "corners"))
    original = Original(corners)
    rows = [measure(exact, corners, original, image_size, options.rounds) for image_size in options.sizes]
    report(f"dense inference, cnn={options.cnn}, one image, fp32", rows, options.json)


def measure(
    exact: Segmenter, corners: Segmenter, original: Original, image_size: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Time both methods, and check that their logits agree.

    Args:
        exact: the segmenter that is timed.
        corners: the segmenter that is compared with the original method; its alignment is that of the method.
        original: the original method with the weights of `corners`.
        image_size: (height, width).
        rounds: number of timings; the table shows their median.

    Returns:
        A row of the table.
    """
    images = torch.rand(1, 3, *image_size)
    sides = {
        "original": lambda: original(images),
        "ours": lambda: exact(images),
        "labels": lambda: exact.labels(images),
        "backbone": lambda: exact.backbone(images),
        "torchvision's backbone": lambda: original.network(images),
    }
    with torch.inference_mode():
        seconds = medians(sides, rounds)
        off = difference(corners(images), original(images))
        with torch.autocast("cpu", torch.bfloat16):
            half = medians({"ours": sides["ours"]}, rounds)["ours"]
    assert off <= 1e-5, "the logits differ from those of the original method"
    return {
        "size": f"{image_size[1]}x{image_size[0]}",
        **{f"{name} ms": seconds[name] * 1e3 for name in ("original", "ours", "labels")},
        "bf16 ms": half * 1e3,
        **{f"{name} ms": seconds[name] * 1e3 for name in ("backbone", "torchvision's backbone")},
        "original / ours": seconds["original"] / seconds["ours"],
        "ours / backbone": seconds["ours"] / seconds["backbone"],
        "ours / torchvision's": seconds["ours"] / seconds["torchvision's backbone"],
        "difference": off,
    }


if __name__ == "__main__":
    main()
