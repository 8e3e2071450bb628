"""Labels with a second pass against labels with the first pass alone: time, and agreement with the definition.

python benchmarks/second_pass.py MODEL IMAGES

MODEL is a model of stage refine. The definition classifies every pixel by the first pass, takes the pixels of the cells
from the result, and classifies the concatenated features of every pixel, without projecting them first.
"""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from common import arguments, medians, report
from torch import Tensor

from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.io.images import read_image
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.models.second_pass import cell_pixels, window_means
from hypercolumns.models.segmenter import Segmenter

NOWHERE = PixelCoordinates(torch.empty(0), torch.empty(0))


def main() -> None:
    """Measure and print the table."""
    parser = arguments(__doc__, 5)
    parser.add_argument("model", type=Path, help="a model.safetensors of stage refine")
    parser.add_argument("images", type=Path, help="a folder of images")
    parser.add_argument("--number", type=int, default=5, help="number of images")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    both, first = Segmenter.load(options.model), Segmenter.load(options.model)
    first.second_pass = None
    images = [read_image(path, decoding=both.decoding)[None] for path in sorted(options.images.iterdir())]
    images = images[: options.number]
    with torch.inference_mode():
        agreement = sum(
            float((both.labels(image) == slow_labels(both, first, image)).double().mean()) for image in images
        )
        agreement *= 100 / len(images)
        if agreement < 99.99:
            raise SystemExit(f"only {agreement:.3f} % of the labels are those of the definition")
        sides = {
            f"{name}, {how}": partial(label, model, images, settings)
            for how, settings in (("all pixels", None), ("adaptive", AdaptiveSettings()))
            for name, model in (("first pass", first), ("both passes", both))
        }
        seconds = medians(sides, options.rounds)
    rows = []
    for name, taken in seconds.items():
        alone = seconds[name.replace("both passes", "first pass")]
        same = agreement if name == "both passes, all pixels" else ""
        rows.append(
            {"labels": name, "ms an image": 1e3 * taken / len(images), "/ first": taken / alone, "as defined %": same}
        )
    report(f"a second pass, {len(images)} images, {both.backbone.network}, fp32", rows, options.json)


def label(model: Segmenter, images: list[Tensor], settings: AdaptiveSettings | None) -> None:
    """Label the images one by one."""
    for image in images:
        model.labels(image, settings)


def slow_labels(both: Segmenter, first: Segmenter, image: Tensor) -> Tensor:
    """Label an image (1, 3, H, W) by the definition of the second pass."""
    assert both.second_pass is not None, "MODEL must be a model of stage refine"
    logits, size = first(image), image.shape[-2:]
    rows, columns = (cell_pixels(length) for length in size)
    around = window_means(logits[:, :, rows][..., columns].softmax(1))
    features = torch.cat([logits, F.interpolate(around, size, mode="bilinear")], dim=1)
    second: Tensor = both.second_pass(features.movedim(1, -1), NOWHERE)
    return second.argmax(-1)


if __name__ == "__main__":
    main()
