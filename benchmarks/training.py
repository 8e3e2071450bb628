"""A training step with a frozen backbone: on all pixels by the original method and by this project, and on points.

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
    """Measure and print the tables."""
    parser = arguments(__doc__, 5, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--points", type=int, default=2000, help="number of pixels per image in the sparse step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    exact, corners = (make_segmenter(options.cnn, alignment) for alignment in ("exact", "corners"))
    original = Original(corners)
    rows = [measure(exact, corners, original, image_size, options) for image_size in options.sizes]
    report(f"a training step, cnn={options.cnn}, frozen, one image, fp32", rows, options.json)


def measure(
    exact: Segmenter,
    corners: Segmenter,
    original: Original,
    image_size: tuple[int, int],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Time training steps, and check that the gradients of both methods agree.

    Args:
        exact: the segmenter that is timed.
        corners: a segmenter with the alignment of the original method; its gradients are compared.
        original: the original method with the weights of `corners`.
        image_size: (height, width).
        options: options `points`, the pixels of the sparse step, and `rounds`, the number of timings.

    Returns:
        A row of the table.
    """
    images, labels = torch.rand(1, 3, *image_size), torch.randint(0, CLASSES, (1, *image_size))
    points = torch.stack([torch.randint(0, side, (1, options.points)) for side in image_size], dim=-1)
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
    assert off <= 1e-4, "the gradients differ from those of the original method"
    return {
        "size": f"{image_size[1]}x{image_size[0]}",
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
    """Return a function that runs a training step; the learning rate is 0, so all steps do the same work."""
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
    """Return the largest difference of the gradients of any layer, relative to the range of the gradient."""
    ours = [layer.weight for layer in classifier_layers(segmenter)]
    theirs = [original.first.weight, original.last.weight]
    gradients = torch.autograd.grad(F.cross_entropy(segmenter(images), labels), ours)
    expected = torch.autograd.grad(F.cross_entropy(original(images), labels), theirs)
    return max(difference(each, other[..., 0, 0]) for each, other in zip(gradients, expected, strict=True))


if __name__ == "__main__":
    main()
