"""Segment a photograph from a few strokes: the picture at the top of the README.

The photograph is `skimage.data.coffee()`, which its photographer, Rachel Michetti, gave to the public domain (CC0).
The network is frozen. A classifier with 64 hidden units is trained on the pixels under the strokes, within seconds.

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
from numpy.typing import NDArray
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

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

FIRES = (3, 4, 7, 9, 12)  # the Fire modules that are taps
TAPS = ["features.0", *([f"features.{n}.expand1x1", f"features.{n}.expand3x3"] for n in FIRES)]  # those of cnn=sqn
CONTEXT = ("local_mean:7", "pyramid:6")  # context taps
STROKES = {  # class -> strokes; a stroke is a polyline of points (x, y), in pixels of the photograph
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
STROKE_WIDTH = 5  # pixels
WIDTH, MARGIN, TEXT = 1600, 8, 26  # pixels: the width of the picture, the space between its panels, the font size
STEPS, BATCH = 150, 512  # the number of training steps, and of samples in each step


def main() -> None:
    """Train a segmenter on the strokes, predict the whole photograph, and write the picture."""
    options = parse_arguments(__doc__, "teaser.jpg")
    torch.manual_seed(0)
    photo: Picture = data.coffee()
    labels = draw_strokes((photo.shape[0], photo.shape[1]))
    segmenter = train(photo, labels, options.weights)
    views = TestTimeAugmentation(scales=(0.8, 1.0, 1.25))
    prediction = SegmentationPredictor(segmenter).predict(photo, tta=views, detail="certainty")
    compose(prediction, labels).save(options.out, quality=88, optimize=True)


def parse_arguments(description: str | None, name: str) -> argparse.Namespace:
    """Parse the command line of a script that draws a figure.

    Args:
        description: the docstring of the script, for the help.
        name: the file name of the figure in docs/figures, used without `--out`.

    Returns:
        The options: `weights` (a string) and `out` (a Path).
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights",
        default="IMAGENET1K_V1",
        help="the weights of SqueezeNet 1.0: a name of torchvision weights, or the path of a file",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / name, help="the file to write")
    return parser.parse_args()


def draw_strokes(size: tuple[int, int]) -> Tensor:
    """Draw the strokes into a mask of `size` = (height, width).

    Returns:
        (H, W) uint8: the class index of each pixel under a stroke, and 255 for all other pixels.
    """
    canvas = Image.new("L", size[::-1], IGNORE_INDEX)
    brush = ImageDraw.Draw(canvas)
    for index, lines in enumerate(STROKES.values()):
        for line in lines:
            brush.line(line, index, STROKE_WIDTH, joint="curve")
    return torch.from_numpy(np.array(canvas))


def train(
    photo: Picture, labels: Tensor, weights: str, context: Sequence[str] = CONTEXT, hidden: int = 64
) -> Segmenter:
    """Train a segmenter on the hypercolumns of the labelled pixels, with a frozen network.

    Args:
        photo: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8 class indices; 255: not labelled.
        weights: the network's weights, a name of torchvision weights or the path of a file.
        context: the context taps, in addition to `TAPS`.
        hidden: how many hidden units the classifier has.

    Returns:
        The segmenter, in evaluation mode.
    """
    start = time.perf_counter()
    backbone = Backbone("squeezenet1_0", TAPS, weights, context=context).eval()
    extractor = HypercolumnExtractor(backbone)
    points = (labels != IGNORE_INDEX).nonzero()
    targets = labels[labels != IGNORE_INDEX].long()
    with torch.no_grad():
        hypercolumns = extractor.at(torch.from_numpy(photo).permute(2, 0, 1)[None], points[None])[0]
    classifier = fit_classifier(hypercolumns, targets, hidden)
    print(f"{len(targets)} labelled pixels ({len(targets) / labels.numel():.1%}), {time.perf_counter() - start:.1f} s")
    return Segmenter(extractor, classifier, [*STROKES], PALETTE).eval()


def fit_classifier(hypercolumns: Tensor, targets: Tensor, hidden: int) -> MLPClassifier:
    """Train a classifier with batches in which all classes are expected equally often.

    Args:
        hypercolumns: (N, D) float32.
        targets: (N,) int64, the class index of each hypercolumn.
        hidden: how many hidden units the classifier has.

    Returns:
        The trained classifier, in training mode.
    """
    classifier = MLPClassifier(hypercolumns.shape[1], len(STROKES), hidden, dropout=0.5)
    classifier.set_statistics(hypercolumns.mean(0), hypercolumns.std(0))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3)
    chances = (1 / targets.bincount())[targets]
    no_coordinates = PixelCoordinates(torch.empty(0), torch.empty(0))  # an MLP ignores the coordinates
    for _ in range(STEPS):
        batch = torch.multinomial(chances, BATCH, replacement=True)
        optimizer.zero_grad()
        F.cross_entropy(classifier(hypercolumns[batch], no_coordinates), targets[batch]).backward()
        optimizer.step()
    return classifier


def compose(prediction: Prediction, labels: Tensor) -> Image.Image:
    """Draw the strokes, the predicted classes and their entropy side by side, with captions and a legend.

    Args:
        prediction: the prediction for the photograph, with its entropy.
        labels: (H, W) uint8 class indices of the strokes; 255: not under a stroke.

    Returns:
        An RGB picture of `WIDTH` pixels.
    """
    strokes = np.where((labels == IGNORE_INDEX)[..., None], prediction.image, colourise(labels.numpy(), PALETTE))
    assert prediction.entropy is not None, 'detail="certainty" includes the entropy'
    entropy = (matplotlib.colormaps["magma"](prediction.entropy)[..., :3] * 255).astype(np.uint8)
    panels = {
        f"a few strokes: {(labels != IGNORE_INDEX).float().mean() * 100:.0f} % of the pixels": Image.fromarray(strokes),
        "the class of every pixel": prediction.overlay(opacity=0.62, legend=False),
        "how unsure the model is (entropy)": Image.fromarray(entropy),
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
