"""The logits of every pixel: the original's way, ours, and the backbone alone.

python benchmarks/dense.py
"""

from typing import Any

import torch
from common import arguments, difference, make_segmenter, medians, report, size
from original import Original

from hypercolumns.models.segmenter import Segmenter


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 7, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    exact, corners = (make_segmenter(options.cnn, alignment) for alignment in ("exact", "corners"))
    original = Original(corners)
    rows = [measure(exact, corners, original, one, options.rounds) for one in options.sizes]
    report(f"dense inference, cnn={options.cnn}, one image, fp32", rows, options.json)


def measure(
    exact: Segmenter, corners: Segmenter, original: Original, one: tuple[int, int], rounds: int
) -> dict[str, Any]:
    """Time both ways, and check that they agree.

    Args:
        exact: that is timed.
        corners: aligned as the original is, which is compared with it.
        original: of the same weights.
        one: height and width of the image.
        rounds: of which the median is taken.

    Returns:
        A row of the table.
    """
    images = torch.rand(1, 3, *one)
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
    assert off <= 1e-5, "ours is not the same as the original's way"
    return {
        "size": f"{one[1]}x{one[0]}",
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
