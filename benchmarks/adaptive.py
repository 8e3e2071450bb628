"""Adaptive labels of real images by a trained model: time, agreement with the labels of all pixels, and mIoU.

python benchmarks/adaptive.py MODEL IMAGES MASKS
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from common import arguments, medians, report
from torch import Tensor

from hypercolumns.evaluation.metrics import segmentation_metrics
from hypercolumns.io.images import read_image, read_mask
from hypercolumns.models.engine import AdaptiveSettings, adaptive
from hypercolumns.models.engine.points import PointClassifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.tasks.metrics import confusion_metric


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
    settings = [AdaptiveSettings(start, margin) for start in options.starts for margin in options.margins]

    timed = images[:: max(len(images) // options.timed, 1)][: options.timed]
    with torch.inference_mode():
        dense = [segmenter.labels(image)[0] for image in images]
        sides = {
            "backbone": lambda: [segmenter.backbone(image / 255) for image in timed],
            "all pixels": lambda: [segmenter.labels(image) for image in timed],
            **{str(one): lambda one=one: [segmenter.labels(image, one) for image in timed] for one in settings},
        }
        seconds = medians(sides, options.rounds)
        adaptive.PointClassifier = Counting  # type: ignore[misc]
        rows = []
        for name, one in {"all pixels": None, **{str(one): one for one in settings}}.items():
            Counting.points = 0
            found = [segmenter.labels(image, one)[0] for image in images]
            asked = Counting.points / sum(labels.numel() for labels in found)
            rows.append(
                {
                    "labels": f"start {one.start}, margin {one.margin:g}" if one else name,
                    "ms an image": seconds[name] / len(timed) * 1e3,
                    "/ backbone": seconds[name] / seconds["backbone"],
                    "pixels looked at %": 100 * asked if one else 100.0,
                    **_scored(segmenter, found, dense, masks),
                }
            )
    report(f"adaptive labels, {len(images)} images, {segmenter.backbone.network}, fp32", rows, options.json)


class Counting(PointClassifier):
    """Counts the points of all of its kind."""

    points = 0

    def __call__(self, rows: Tensor, columns: Tensor) -> Tensor:
        """As for the class above."""
        Counting.points += len(rows)
        return super().__call__(rows, columns)


def _scored(
    segmenter: Segmenter, found: Sequence[Tensor], dense: Sequence[Tensor], masks: Sequence[Tensor]
) -> dict[str, float]:
    confusion = confusion_metric(len(segmenter.classes))
    same = total = 0
    for labels, others, mask in zip(found, dense, masks, strict=True):
        confusion.update(labels.long(), mask.long())
        same, total = same + int((labels == others).sum()), total + labels.numel()
    return {"agreement %": 100 * same / total, "mIoU": 100 * (segmentation_metrics(confusion.compute()).miou or 0.0)}


if __name__ == "__main__":
    main()
