"""A training step, frozen backbone: on all pixels, the original's way and ours; and ours on some pixels.

python benchmarks/training.py
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from common import CLASSES, arguments, difference, make_segmenter, medians, report, size
from original import Original, classifier_layers
from torch import Tensor, nn

from hypercolumns.models.segmenter import Segmenter


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 5, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--points", type=int, default=2000, help="pixels an image of the sparse step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    exact, corners = (make_segmenter(options.cnn, alignment) for alignment in ("exact", "corners"))
    original = Original(corners)
    rows = [measure(exact, corners, original, one, options) for one in options.sizes]
    report(f"a training step, cnn={options.cnn}, frozen, one image, fp32", rows, options.json)


def measure(
    exact: Segmenter, corners: Segmenter, original: Original, one: tuple[int, int], options: argparse.Namespace
) -> dict[str, Any]:
    """Time a step of both ways, and check that their gradients agree.

    Args:
        exact: that is timed.
        corners: aligned as the original is, whose gradients are compared.
        original: of the same weights.
        one: height and width of the image.
        options: with `points` of the sparse step and `rounds` of which the median is taken.

    Returns:
        A row of the table.
    """
    images, labels = torch.rand(1, 3, *one), torch.randint(0, CLASSES, (1, *one))
    points = torch.stack([torch.randint(0, side, (1, options.points)) for side in one], dim=-1)
    chosen = labels[0, points[0, :, 0], points[0, :, 1]]

    def sparse(images: Tensor) -> Tensor:
        return exact.logits_at(images, points).flatten(0, 1)

    off = _difference_of_gradients(corners, original, images, labels)
    sides = {
        "original": _step(original, original, images, labels),
        "ours": _step(exact, exact.classifier, images, labels),
        "sparse": _step(exact, exact.classifier, images, chosen, sparse),
        "backbone": lambda: _forward(exact.backbone, images),
    }
    seconds = medians(sides, options.rounds)
    assert off <= 1e-4, "our gradients are not those of the original's way"
    return {
        "size": f"{one[1]}x{one[0]}",
        **{f"{name} ms": seconds[name] * 1e3 for name in ("original", "ours")},
        f"{options.points} pixels ms": seconds["sparse"] * 1e3,
        "backbone ms": seconds["backbone"] * 1e3,
        "original / ours": seconds["original"] / seconds["ours"],
        f"original / {options.points} pixels": seconds["original"] / seconds["sparse"],
        "difference of gradients": off,
    }


def _step(
    model: nn.Module,
    trained: nn.Module,
    images: Tensor,
    labels: Tensor,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> Callable[[], None]:
    """Forwards, backwards, and a step of the optimiser; at a rate of 0, so that all steps are alike."""
    optimizer = torch.optim.Adam([p for p in trained.parameters() if p.requires_grad], lr=0.0)
    forward = forward or model

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(forward(images), labels).backward()
        optimizer.step()

    return step


def _forward(backbone: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        backbone(images)


def _difference_of_gradients(segmenter: Segmenter, original: Original, images: Tensor, labels: Tensor) -> float:
    """The largest difference, relative to the gradient's range, of each layer."""
    ours = [layer.weight for layer in classifier_layers(segmenter)]
    theirs = [original.first.weight, original.last.weight]
    found = torch.autograd.grad(F.cross_entropy(segmenter(images), labels), ours)
    wanted = torch.autograd.grad(F.cross_entropy(original(images), labels), theirs)
    return max(difference(one, other[..., 0, 0]) for one, other in zip(found, wanted, strict=True))


if __name__ == "__main__":
    main()
