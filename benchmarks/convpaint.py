"""Compare `PixelTrainer` with napari-convpaint, on the same strokes, the same network and the same weights.

python benchmarks/convpaint.py VOC2012 --threads 1

A stroke (see `annotator.py`) goes through a random pixel of each class in each of some images. Both sides learn from
all strokes and predict these images; the mIoU is that of the pixels outside the strokes. The network is torchvision's
vgg16, with the layers and the scales of one of napari-convpaint's own models. Without `--weights`, it has random
weights.

napari-convpaint runs without its window, in an environment of its own, which uv makes in a temporary folder. The sides
take turns, and each turn is a new process. It trains on a small image first, so that no clock includes imports. The
processes are bound to as many cores as `--threads` says.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from annotator import LabelledImage, read_images, stroke_through
from common import arguments, report
from convpaint_sides import PRESETS, VOID, Pixels

from hypercolumns.evaluation.metrics import segmentation_metrics

SIDES = Path(__file__).with_name("convpaint_sides.py")
CACHE = Path(".cache/torch/hub/checkpoints/vgg16-397923af.pth")  # where napari-convpaint looks, below the home folder
PACKAGES = [
    "napari-convpaint==1.2.0",
    "catboost==1.2.10",
    "napari==0.9.2",
    "numpy==2.4.6",
    "pyside6-essentials==6.12.0",  # the package imports Qt, even without a window
    "scikit-image==0.26.0",
    "scikit-learn==1.9.1",
    *(f"{package.__name__}=={package.__version__.partition('+')[0]}" for package in (torch, torchvision)),
]


def paint(images: dict[str, LabelledImage], seed: int) -> Pixels:
    """Return masks (N, H, W) with one stroke through a random pixel of each class of an image, 255 elsewhere."""
    random = np.random.default_rng(seed)
    painted = []
    for _, mask in images.values():
        strokes = np.full_like(mask, VOID)
        for value in np.unique(mask[mask != VOID]):
            pixels = np.argwhere(mask == value)
            row, column = pixels[random.integers(len(pixels))]
            rows, columns = stroke_through(mask == value, int(row), int(column))
            strokes[rows.numpy(), columns.numpy()] = value
        painted.append(strokes)
    return np.stack(painted)


def write_weights(file: Path, source: Path | None, seed: int) -> None:
    """Write a state dict of vgg16 to where napari-convpaint looks for it: a given one, or random weights."""
    file.parent.mkdir(parents=True)
    if source is not None:
        shutil.copyfile(source, file)
    else:
        torch.manual_seed(seed)
        torch.save(torchvision.models.vgg16().state_dict(), file)


def make_environment(folder: Path) -> Path:
    """Make a Python environment with napari-convpaint, and return its interpreter."""
    python = folder / "bin/python"
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *PACKAGES], check=True)
    return python


def miou(predicted: Pixels, masks: Pixels, classes: int) -> float:
    """Return the mIoU of labels (N, H, W) where the masks (N, H, W) are not void."""
    known = masks != VOID
    pairs = masks[known].astype(np.int64) * classes + predicted[known]
    confusion = torch.from_numpy(np.bincount(pairs, minlength=classes**2).reshape(classes, classes))
    result = segmentation_metrics(confusion).miou
    assert result is not None, "there are pixels outside the strokes"
    return result


def run(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Measure both sides in turns with files in a temporary folder, and return the rows of the table."""
    ids = (options.root / "ImageSets/Segmentation/train.txt").read_text().split()
    spaced = [ids[number * len(ids) // options.images] for number in range(options.images)]
    classes = len((options.root / "classes.txt").read_text().split())
    images = read_images(options.root, spaced)
    strokes = paint(images, options.seed)
    task, weights = folder / "task.npz", folder / CACHE
    np.savez(task, images=np.stack([image for image, _ in images.values()]), masks=strokes, classes=classes)
    write_weights(weights, options.weights, options.seed)
    pythons = {"convpaint": make_environment(folder / "environment"), "ours": Path(sys.executable)}
    home = {"HOME": str(folder), "QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": str(options.threads)}
    masks = np.where(strokes == VOID, np.stack([mask for _, mask in images.values()]), VOID)
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for turn in range(options.rounds):
        for name, python in pythons.items():
            out = folder / f"{name}{turn}"
            command = [python, SIDES, name, options.model, task, weights, out, "--threads", str(options.threads)]
            command += ["--max-memory", str(options.max_memory)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | home)
            figures = json.loads(out.with_suffix(".json").read_text())
            figures["mIoU"] = miou(np.load(out.with_suffix(".npy")), masks, classes)
            print(name, figures, f"load {os.getloadavg()[0]:.1f}", flush=True)
            measured[name].append(figures)
    rows = {
        name: {key: statistics.median(each[key] for each in turns) for key in turns[0]}
        for name, turns in measured.items()
    }
    ratios = {key: rows["convpaint"][key] / value for key, value in rows["ours"].items()}
    return [{"side": name, **row} for name, row in {**rows, "convpaint / ours": ratios}.items()]


def main() -> None:
    """Run the benchmark."""
    parser = arguments(__doc__, rounds=1)
    parser.set_defaults(threads=1)
    parser.add_argument("root", type=Path, help="a folder in Pascal VOC's layout: the one with ImageSets")
    parser.add_argument("--images", type=int, default=10, help="evenly spaced in the train list")
    parser.add_argument("--model", choices=PRESETS, default="vgg-m", help="a model of napari-convpaint")
    parser.add_argument("--weights", type=Path, help="a state dict of torchvision's vgg16; random weights by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-memory", type=float, default=10, metavar="GB", help="a side that needs more fails")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = run(options, Path(folder))
    report(f"{options.model} in {options.images} images", rows, options.json)


if __name__ == "__main__":
    main()
