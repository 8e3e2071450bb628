"""Segment a photograph from a few strokes: the picture at the top of the README.

The photograph is `skimage.data.coffee()`, which its photographer, Rachel Michetti, gave to the public domain (CC0).
The network is frozen; a classifier with 64 hidden units learns from the pixels under the strokes, in seconds.

python docs/figures/make/teaser.py
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from skimage import data
from torch import Tensor

from hypercolumns import (
    Backbone,
    HypercolumnExtractor,
    MLPClassifier,
    Prediction,
    SegmentationPredictor,
    Segmenter,
    TestTimeAugmentation,
)
from hypercolumns.coordinates import PixelCoordinates
from hypercolumns.labels import IGNORE_INDEX, colourise
from hypercolumns.visualization.overlays import legend

FIRES = (3, 4, 7, 9, 12)
TAPS = ["features.0", *([f"features.{n}.expand1x1", f"features.{n}.expand3x3"] for n in FIRES)]  # as in cnn=sqn
CONTEXT = ("local_mean:7", "pyramid:6")
STROKES = {  # polylines of (x, y), in pixels
    "table": [
        [(25, 118), (95, 85), (160, 50), (200, 14)],
        [(20, 210), (60, 320), (120, 385), (330, 395)],
        [(230, 5), (330, 5), (400, 25), (450, 70), (505, 150), (512, 270), (445, 365)],
    ],
    "floor": [[(12, 60), (12, 12), (95, 12)]],
    "saucer": [
        [(165, 80), (110, 120), (82, 200), (100, 285), (165, 345), (250, 377), (350, 372)],
        [(415, 120), (455, 180), (465, 250), (420, 320)],
        [(150, 190), (165, 270), (185, 305), (240, 322), (325, 322)],
        [(395, 170), (415, 250)],
    ],
    "cup": [
        [(180, 110), (215, 50), (290, 24), (360, 50), (394, 115), (386, 150)],
        [(230, 75), (290, 55), (350, 80), (376, 130)],
        [(182, 140), (200, 190), (240, 215), (300, 222), (365, 200), (395, 150)],
        [(205, 292), (212, 262), (240, 240)],
        [(265, 268), (300, 250), (315, 262)],
    ],
    "coffee": [[(225, 150), (290, 182), (355, 155)], [(245, 108), (325, 108)]],
    "spoon": [[(412, 78), (405, 122), (380, 225)], [(345, 290), (362, 310), (388, 290), (385, 260), (350, 262)]],
}
PALETTE = ((232, 208, 165), (120, 94, 160), (46, 119, 200), (0, 168, 120), (245, 205, 40), (226, 80, 150))
STROKE_WIDTH = 5
WIDTH, MARGIN, TEXT = 1600, 8, 26  # of the picture, in pixels


def main() -> None:
    """Train, predict, and write the picture."""
    options = parse_arguments(__doc__, "teaser.jpg")
    torch.manual_seed(0)
    photo = data.coffee()
    labels = draw_strokes(photo.shape[:2])
    segmenter = train(photo, labels, options.weights)
    views = TestTimeAugmentation(scales=(0.8, 1.0, 1.25))
    prediction = SegmentationPredictor(segmenter).predict(photo, tta=views, detail="certainty")
    compose(prediction, labels).save(options.out, quality=88, optimize=True)


def parse_arguments(description: str | None, name: str) -> argparse.Namespace:
    """The options of a figure's script, `weights` and `out`; the figure is called `name` unless `--out` says else."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="IMAGENET1K_V1", help="of SqueezeNet 1.0: torchvision's name, or a file")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / name, help="file of the figure")
    return parser.parse_args()


def draw_strokes(size: tuple[int, int]) -> Tensor:
    """The class index under each stroke and 255 elsewhere, (H, W) uint8."""
    canvas = Image.new("L", size[::-1], IGNORE_INDEX)
    brush = ImageDraw.Draw(canvas)
    for index, lines in enumerate(STROKES.values()):
        for line in lines:
            brush.line(line, index, STROKE_WIDTH, joint="curve")
    return torch.from_numpy(np.array(canvas))


def train(
    photo: np.ndarray, labels: Tensor, weights: str, context: Sequence[str] = CONTEXT, hidden: int = 64
) -> Segmenter:
    """Train a classifier on the hypercolumns under the strokes.

    Args:
        photo: (H, W, 3) uint8.
        labels: (H, W) class indices, 255 where there is no stroke.
        weights: of the network.
        context: context taps.
        hidden: units of the classifier.

    Returns:
        The complete model.
    """
    start = time.perf_counter()
    backbone = Backbone("squeezenet1_0", TAPS, weights, context=context).eval()
    extractor = HypercolumnExtractor(backbone)
    points = (labels != IGNORE_INDEX).nonzero()
    targets = labels[labels != IGNORE_INDEX].long()
    with torch.no_grad():
        samples = extractor.at(torch.from_numpy(photo).permute(2, 0, 1)[None], points[None])[0]  # (N, D)

    classifier = MLPClassifier(backbone.channels, len(STROKES), hidden, dropout=0.5)
    classifier.set_statistics(samples.mean(0), samples.std(0))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3)
    chance = (1 / targets.bincount())[targets]  # every class is drawn as often as the others
    nowhere = PixelCoordinates(torch.empty(0), torch.empty(0))  # an MLP does not look at coordinates
    for _ in range(150):
        batch = torch.multinomial(chance, 512, replacement=True)
        optimizer.zero_grad()
        F.cross_entropy(classifier(samples[batch], nowhere), targets[batch]).backward()
        optimizer.step()
    print(f"{len(targets)} labelled pixels ({len(targets) / labels.numel():.1%}), {time.perf_counter() - start:.1f} s")
    return Segmenter(extractor, classifier, [*STROKES], PALETTE).eval()


def compose(prediction: Prediction, labels: Tensor) -> Image.Image:
    """The strokes, the predicted classes and their entropy side by side, with captions and a legend."""
    strokes = np.where((labels == IGNORE_INDEX)[..., None], prediction.image, colourise(labels.numpy(), PALETTE))
    assert prediction.entropy is not None, "it was asked for"
    unsure = (matplotlib.colormaps["magma"](prediction.entropy)[..., :3] * 255).astype(np.uint8)
    panels = {
        f"a few strokes: {(labels != IGNORE_INDEX).float().mean() * 100:.0f} % of the pixels": Image.fromarray(strokes),
        "the class of every pixel": prediction.overlay(opacity=0.62, legend=False),
        "how unsure the model is (entropy)": Image.fromarray(unsure),
    }
    width = (WIDTH - (len(panels) - 1) * MARGIN) // len(panels)
    height = round(width * labels.shape[0] / labels.shape[1])
    font = ImageFont.load_default(TEXT)
    key = legend([*zip(STROKES, PALETTE, strict=True)], WIDTH, TEXT / 15)
    canvas = Image.new("RGB", (WIDTH, height + 2 * TEXT + key.height), "white")
    brush = ImageDraw.Draw(canvas)
    for number, (caption, panel) in enumerate(panels.items()):
        left = number * (width + MARGIN)
        brush.text((left + width // 2, TEXT // 2 + 4), caption, "black", font, anchor="mm")
        canvas.paste(panel.resize((width, height), Image.Resampling.LANCZOS), (left, TEXT + 12))
    canvas.paste(key, (0, height + 2 * TEXT))
    return canvas


if __name__ == "__main__":
    main()
