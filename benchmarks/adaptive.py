"""Adaptive labels of real images: time, agreement with the labels of all pixels, and mIoU.

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
from hypercolumns.io.images import read_image
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme
from hypercolumns.models.engine import AdaptiveSettings, adaptive
from hypercolumns.models.engine.points import PointClassifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.tasks.running_metrics import confusion_metric


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 3)
    parser.add_argument("model", type=Path, help="a model.safetensors")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("masks", type=Path, help="a folder of masks with the names of the images")
    parser.add_argument("--list", type=Path, help="a file with the names of the images to use, one per line")
    parser.add_argument("--timed", type=int, default=10, help="number of images that are timed; all images are scored")
    parser.add_argument("--starts", type=int, nargs="*", default=[8])
    parser.add_argument("--margins", type=float, nargs="*", default=[0.0, 0.25, 0.5, 1.0])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    segmenter = Segmenter.load(options.model)
    names = options.list.read_text().split() if options.list else None
    files = [path for path in sorted(options.images.iterdir()) if names is None or path.stem in names]
    images = [read_image(path)[None] for path in files]
    scheme = LabelScheme.of(segmenter.classes, segmenter.palette)
    masks = [read_mask(options.masks / f"{path.stem}.png", scheme) for path in files]
    settings = [AdaptiveSettings(stride, margin) for stride in options.starts for margin in options.margins]
    timed = images[:: max(len(images) // options.timed, 1)][: options.timed]
    with torch.inference_mode():
        seconds = time_labels(segmenter, timed, settings, options.rounds)
        dense = [segmenter.labels(image)[0] for image in images]
        rows = []
        for setting in (None, *settings):
            labels, share = count_points(segmenter, images, setting)
            rows.append(
                {
                    "labels": _name(setting),
                    "ms an image": seconds[_name(setting)] / len(timed) * 1e3,
                    "/ backbone": seconds[_name(setting)] / seconds["backbone"],
                    "classified pixels %": 100 * share,
                    **score(segmenter, labels, dense, masks),
                }
            )
    report(f"adaptive labels, {len(images)} images, {segmenter.backbone.network}, fp32", rows, options.json)


def time_labels(
    segmenter: Segmenter, images: Sequence[Tensor], settings: Sequence[AdaptiveSettings], rounds: int
) -> dict[str, float]:
    """Time the backbone, the labels of all pixels, and the adaptive labels with each of the settings.

    Args:
        segmenter: a trained segmenter.
        images: (1, 3, H, W) uint8 each.
        settings: settings of adaptive labels.
        rounds: number of timings; the result is their median.

    Returns:
        The seconds for all images together, by the name of the timed function.
    """

    def labels(setting: AdaptiveSettings | None) -> None:
        for image in images:
            segmenter.labels(image, setting)

    def backbone() -> None:
        for image in images:
            segmenter.backbone(image / 255)

    sides = {_name(setting): partial(labels, setting) for setting in (None, *settings)}
    return medians({"backbone": backbone, **sides}, rounds)


def count_points(
    segmenter: Segmenter, images: Sequence[Tensor], settings: AdaptiveSettings | None
) -> tuple[list[Tensor], float]:
    """Label images, and count the pixels that the classifier evaluates.

    Args:
        segmenter: a trained segmenter.
        images: (1, 3, H, W) uint8 each.
        settings: settings of adaptive labels; None classifies every pixel.

    Returns:
        The labels (H, W) of each image, and the fraction of the pixels that were classified.
    """
    CountingClassifier.points = 0
    with patch.object(adaptive, "PointClassifier", CountingClassifier):
        labels = [segmenter.labels(image, settings)[0] for image in images]
    pixels = sum(each.numel() for each in labels)
    return labels, CountingClassifier.points / pixels if settings else 1.0


class CountingClassifier(PointClassifier):
    """A point classifier that counts the classified points of all its instances."""

    points = 0

    def __call__(self, rows: Tensor, columns: Tensor, step: int) -> Tensor:
        """Classify points, and add their number to the count."""
        CountingClassifier.points += len(rows)
        return super().__call__(rows, columns, step)


def score(
    segmenter: Segmenter, predicted: Sequence[Tensor], dense: Sequence[Tensor], masks: Sequence[Tensor]
) -> dict[str, float]:
    """Compare adaptive labels with the labels of all pixels and with the true masks.

    Args:
        segmenter: the segmenter, for the number of classes.
        predicted: the labels (H, W) of each image.
        dense: the labels (H, W) of each image with every pixel classified.
        masks: the true labels (H, W) of each image; 255 for void.

    Returns:
        The percentage of equal labels and the mIoU in percent, as columns of the table.
    """
    confusion = confusion_metric(len(segmenter.classes))
    same = total = 0
    for labels, others, mask in zip(predicted, dense, masks, strict=True):
        confusion.update(labels.long(), mask.long())
        same, total = same + int((labels == others).sum()), total + labels.numel()
    return {"agreement %": 100 * same / total, "mIoU": 100 * (segmentation_metrics(confusion.compute()).miou or 0.0)}


def _name(settings: AdaptiveSettings | None) -> str:
    return f"stride {settings.stride}, margin {settings.margin:g}" if settings else "all pixels"


if __name__ == "__main__":
    main()
