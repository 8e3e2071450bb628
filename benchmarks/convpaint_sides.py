"""One side of `convpaint.py`: train on strokes, predict the same images, and write what it took.

`convpaint.py` starts this script in the environment of each side. It has the same clocks for both, and imports the
package of a side only there.

python benchmarks/convpaint_sides.py SIDE MODEL TASK.npz WEIGHTS OUT --threads N --max-memory GB
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

VOID = 255
Pixels = NDArray[np.uint8]


class Preset(NamedTuple):
    """Layers and scales of one of napari-convpaint's models of VGG-16.

    Attributes:
        layers: the names of convolutions in torchvision's network.
        scales: the factors by which napari-convpaint reduces the image.
    """

    layers: list[str]
    scales: list[int]


PRESETS = {
    "vgg": Preset(["features.0"], [1, 2, 4]),
    "vgg-m": Preset(["features.0", "features.2", "features.5"], [1, 2, 4]),
    "vgg-l": Preset(["features.0", "features.2", "features.5", "features.7", "features.10"], [1, 2, 4, 8]),
}


class Side(NamedTuple):
    """The two functions that are measured.

    Attributes:
        train: learns from images (N, 3, H, W) and masks (N, H, W), 255 where nothing is labelled.
        predict: returns the labels (H, W) of an image (3, H, W).
    """

    train: Callable[[Pixels, Pixels], object]
    predict: Callable[[Pixels], Pixels]


def ours(preset: str, weights: Path, classes: int) -> Side:
    """Return our side; the weights are a state dict of torchvision's vgg16."""
    from hypercolumns import Backbone, HypercolumnExtractor, PixelTrainer

    layers, scales = PRESETS[preset]
    backbone = Backbone("vgg16", layers, weights=str(weights), scales=[1 / scale for scale in scales])
    trainer = PixelTrainer(HypercolumnExtractor(backbone).eval(), [f"class {number}" for number in range(classes)])

    def train(images: Pixels, masks: Pixels) -> None:
        trainer.fit([*torch.from_numpy(images)], list(masks))

    def predict(image: Pixels) -> Pixels:
        labels: Pixels = np.asarray(trainer.predict(torch.from_numpy(image)).labels).astype(np.uint8)
        return labels

    return Side(train, predict)


def convpaint(preset: str, weights: Path, classes: int) -> Side:
    """Return napari-convpaint's side, which finds the weights in the folder of torchvision's downloads."""
    from napari_convpaint import ConvpaintModel

    model = ConvpaintModel(preset)
    model.set_params(channel_mode="rgb")
    names = [layer.partition(" ")[0] for layer in model.get_param("fe_layers")]
    used = Preset(names, list(model.get_param("fe_scalings")))
    assert used == PRESETS[preset], f"{preset} has {used}"
    loaded, given = model.fe_model.model.state_dict(), torch.load(weights, weights_only=True)
    assert all(torch.equal(loaded[name], value) for name, value in given.items()), f"other weights than {weights}"

    def train(images: Pixels, masks: Pixels) -> None:
        annotations = np.where(masks == VOID, 0, masks.astype(np.int64) + 1)
        model.train(list(images), list(annotations))

    def predict(image: Pixels) -> Pixels:
        labels: Pixels = (model.segment(image) - 1).astype(np.uint8)
        return labels

    return Side(train, predict)


def warm_up(side: Side) -> None:
    """Load the libraries that the first training and the first prediction load."""
    image = np.random.default_rng(0).integers(0, 256, (3, 96, 96), np.uint8)
    mask = np.full((96, 96), VOID, np.uint8)
    mask[10:20, 10:80], mask[60:70, 10:80] = 0, 1
    side.train(image[None], mask[None])
    side.predict(image)


def memory(name: str) -> int:
    """Return a figure of this process's memory in bytes: VmRSS (now) or VmHWM (at most so far)."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def measure(side: Side, images: Pixels, masks: Pixels, out: Path) -> dict[str, Any]:
    """Train, predict each image, write the labels to `out`, and return seconds and bytes."""
    warm_up(side)
    before = memory("VmRSS")
    times = [(time.perf_counter(), time.process_time())]
    side.train(images, masks)
    times.append((time.perf_counter(), time.process_time()))
    labels = np.stack([side.predict(image) for image in images])
    times.append((time.perf_counter(), time.process_time()))
    np.save(out, labels)
    (train, train_cpu), (predict, predict_cpu) = np.diff(np.array(times), axis=0).tolist()
    return {
        "train s": train,
        "train CPU s": train_cpu,
        "predict s": predict / len(images),
        "predict CPU s": predict_cpu / len(images),
        "peak MB": memory("VmHWM") / 1e6,
        "above the model MB": (memory("VmHWM") - before) / 1e6,
    }


def main() -> None:
    """Measure one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["ours", "convpaint"])
    parser.add_argument("model", choices=PRESETS)
    parser.add_argument("task", type=Path, help="an npz file with images, masks and the number of classes")
    parser.add_argument("weights", type=Path, help="a state dict of torchvision's vgg16")
    parser.add_argument("out", type=Path, help="where to write OUT.npy, the labels, and OUT.json, the figures")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--max-memory", type=float, required=True, metavar="GB", help="stop rather than take more")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (int(options.max_memory * 1e9),) * 2)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # CatBoost takes no other limit
    torch.set_num_threads(options.threads)
    task = np.load(options.task)
    make = ours if options.side == "ours" else convpaint
    side = make(options.model, options.weights, int(task["classes"]))
    figures = measure(side, task["images"], task["masks"], options.out.with_suffix(".npy"))
    options.out.with_suffix(".json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
