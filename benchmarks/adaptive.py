"""Adaptive labels of real images by a trained model: time, agreement with the labels of all pixels, and mIoU.

python benchmarks/adaptive.py MODEL IMAGES MASKS
"""

from pathlib import Path

import torch
from common import arguments, medians, report

from hypercolumns.factored import Adaptive, points
from hypercolumns.images import read_image, read_mask
from hypercolumns.metrics import confusion_metric, scores
from hypercolumns.segmenter import Segmenter


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
    settings = [Adaptive(start, margin) for start in options.starts for margin in options.margins]

    timed = images[:: max(len(images) // options.timed, 1)][: options.timed]
    with torch.inference_mode():
        dense = [segmenter.labels(image)[0] for image in images]
        sides = {
            "backbone": lambda: [segmenter.backbone(image / 255) for image in timed],
            "dense": lambda: [segmenter.labels(image) for image in timed],
            **{str(one): lambda one=one: [segmenter.labels(image, one) for image in timed] for one in settings},
        }
        seconds = medians(sides, options.rounds)
        rows = [_row("all pixels", seconds["dense"], seconds["backbone"], dense, dense, masks, 1.0, len(timed))]
        for one in settings:
            asked = _count_points()
            found = [segmenter.labels(image, one)[0] for image in images]
            share = sum(asked) / sum(labels.numel() for labels in found)
            name = f"start {one.start}, margin {one.margin:g}"
            rows.append(_row(name, seconds[str(one)], seconds["backbone"], found, dense, masks, share, len(timed)))
    report(f"adaptive labels, {len(images)} images, {segmenter.backbone.network}, fp32", rows, options.json)


def _count_points() -> list[int]:
    """A list that gets the number of points of each call from now on."""
    asked: list[int] = []
    plain = points.PointClassifier.__dict__.get("_plain") or points.PointClassifier.__call__
    points.PointClassifier._plain = plain  # type: ignore[attr-defined]

    def counted(self: points.PointClassifier, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        asked.append(len(rows))
        result: torch.Tensor = plain(self, rows, columns)
        return result

    points.PointClassifier.__call__ = counted  # type: ignore[method-assign]
    return asked


def _row(name, seconds, backbone, found, dense, masks, share, timed):  # noqa: ANN001, ANN202
    confusion = confusion_metric(21 if not masks else int(max(m[m != 255].max() for m in masks)) + 1)
    same = total = 0
    for labels, others, mask in zip(found, dense, masks, strict=True):
        confusion.update(labels.long(), mask.long())
        same, total = same + int((labels == others).sum()), total + labels.numel()
    return {
        "labels": name,
        "ms an image": seconds / timed * 1e3,
        "/ backbone": seconds / backbone,
        "pixels looked at %": share * 100,
        "agreement %": 100 * same / total,
        "mIoU": 100 * (scores(confusion.compute()).miou or 0.0),
    }


if __name__ == "__main__":
    main()
