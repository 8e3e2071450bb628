"""Adaptive labels of real images by a trained model: time, agreement with the labels of all pixels, and mIoU.

python benchmarks/adaptive.py MODEL IMAGES MASKS
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from common import arguments, medians, report
from torch import Tensor

from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.io.images import read_image, read_mask
from hypercolumns.models.engine import AdaptiveSettings, adaptive
from hypercolumns.models.engine.points import PointClassifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.tasks.running_metrics import confusion_metric


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__, 3)
    parser.add_argument("model", type=Path, help="a model.safetensors")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("masks", type=Path, help="a folder of masks, of the same names")
    parser.add_argument("--list", type=Path, help="a file of the names to take, one a line")
    parser.add_argument("--timed", type=int, default=10, help="images that are timed; all are scored")
    parser.add_argument("--starts", type=int, nargs="*", default=[8])
    parser.add_argument("--margins", type=float, nargs="*", default=[0.0, 0.25, 0.5, 1.0])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    segmenter = Segmenter.load(options.model)
    names = options.list.read_text().split() if options.list else None
    files = [path for path in sorted(options.images.iterdir()) if names is None or path.stem in names]
    images = [read_image(path)[None] for path in files]
    masks = [read_mask(options.masks / f"{path.stem}.png", segmenter.palette, len(segmenter.classes)) for path in files]
    settings = [AdaptiveSettings(stride, margin) for stride in options.starts for margin in options.margins]
    timed = images[:: max(len(images) // options.timed, 1)][: options.timed]
    with torch.inference_mode():
        seconds = time_labels(segmenter, timed, settings, options.rounds)
        dense = [segmenter.labels(image)[0] for image in images]
        rows = []
        for one in (None, *settings):
            labels, share = count_points(segmenter, images, one)
            rows.append(
                {
                    "labels": _name(one),
                    "ms an image": seconds[_name(one)] / len(timed) * 1e3,
                    "/ backbone": seconds[_name(one)] / seconds["backbone"],
                    "pixels looked at %": 100 * share,
                    **score(segmenter, labels, dense, masks),
                }
            )
    report(f"adaptive labels, {len(images)} images, {segmenter.backbone.network}, fp32", rows, options.json)


def time_labels(
    segmenter: Segmenter, images: Sequence[Tensor], settings: Sequence[AdaptiveSettings], rounds: int
) -> dict[str, float]:
    """Time the backbone, and the labels of all pixels and by each of the settings.

    Args:
        segmenter: a trained one.
        images: (1, 3, H, W) uint8 each.
        settings: of adaptive labels.
        rounds: of which the median is taken.

    Returns:
        The seconds for all images, by what is timed.
    """

    def labels(one: AdaptiveSettings | None) -> None:
        for image in images:
            segmenter.labels(image, one)

    def backbone() -> None:
        for image in images:
            segmenter.backbone(image / 255)

    return medians({"backbone": backbone, **{_name(one): partial(labels, one) for one in (None, *settings)}}, rounds)


def count_points(
    segmenter: Segmenter, images: Sequence[Tensor], settings: AdaptiveSettings | None
) -> tuple[list[Tensor], float]:
    """Label images, and count the pixels that are looked at.

    Args:
        segmenter: a trained one.
        images: (1, 3, H, W) uint8 each.
        settings: of adaptive labels; None for those of all pixels.

    Returns:
        The labels (H, W) of each image, and the share of the pixels that were looked at.
    """
    CountingClassifier.points = 0
    with patch.object(adaptive, "PointClassifier", CountingClassifier):
        labels = [segmenter.labels(image, settings)[0] for image in images]
    pixels = sum(each.numel() for each in labels)
    return labels, CountingClassifier.points / pixels if settings else 1.0


class CountingClassifier(PointClassifier):
    """Counts the points of all of its kind."""

    points = 0

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """As for the class above."""
        CountingClassifier.points += len(rows)
        return super().__call__(rows, columns)


def score(
    segmenter: Segmenter, found: Sequence[Tensor], dense: Sequence[Tensor], masks: Sequence[Tensor]
) -> dict[str, float]:
    """Compare labels with those of all pixels, and with the truth.

    Args:
        segmenter: for the number of its classes.
        found: labels (H, W) of each image.
        dense: likewise, of all pixels.
        masks: likewise, the truth, 255 for void.

    Returns:
        The columns of the table.
    """
    confusion = confusion_metric(len(segmenter.classes))
    same = total = 0
    for labels, others, mask in zip(found, dense, masks, strict=True):
        confusion.update(labels.long(), mask.long())
        same, total = same + int((labels == others).sum()), total + labels.numel()
    return {"agreement %": 100 * same / total, "mIoU": 100 * (segmentation_metrics(confusion.compute()).miou or 0.0)}


def _name(settings: AdaptiveSettings | None) -> str:
    return f"stride {settings.stride}, margin {settings.margin:g}" if settings else "all pixels"


if __name__ == "__main__":
    main()
