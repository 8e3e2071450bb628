"""Images per second and peak memory of predict.py, compared with the forward passes of two torchvision segmenters.

python benchmarks/prediction.py MODEL IMAGES

MODEL is a trained model and IMAGES a folder of images of one size. *Whole process* times predict.py with its default
outputs from start to end; *steady* counts only the time that each further image adds. The other rows time the models
alone, in turns in this process. Torchvision's models have random weights and 21 classes. Peak memory is that of a new
process of predict.py on one image of noise.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, arguments, medians, report, size
from PIL import Image
from torchvision.models import segmentation

from hypercolumns import SegmentationPredictor, Segmenter
from hypercolumns.io.images import read_image, write_image
from hypercolumns.models.engine import AdaptiveSettings

PEERS = ("lraspp_mobilenet_v3_large", "fcn_resnet50")
SIZES = [(1, 1), (360, 480), (3000, 4000), (6000, 8000)]


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 5, sizes={"type": size, "nargs": "*", "default": SIZES})
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--number", type=int, default=50, help="number of images for predict.py")
    parser.add_argument("--timed", type=int, default=5, help="number of images for the models alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = [*_alone(options), *_processes(options)]
    exact = next(row["images/s"] for row in rows if row["what"] == "exact")
    for row in rows:
        row["/ exact"] = row["images/s"] / exact
    report(f"prediction with {options.model}", rows, None)
    memory = [_memory(options, image_size) for image_size in options.sizes]
    report("peak memory of predict.py", memory, None)
    if options.json:
        options.json.write_text(json.dumps({"speed": rows, "memory": memory}, indent=1))


def _alone(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the models alone, in this process."""
    segmenter = Segmenter.load(options.model)
    images = [read_image(path)[None] for path in sorted(options.images.iterdir())[: options.timed]]
    floats = [image / 255 for image in images]
    peers = {
        name: getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=21).eval() for name in PEERS
    }
    sides: dict[str, Any] = {
        "exact": lambda: [segmenter.labels(image) for image in images],
        "adaptive": lambda: [segmenter.labels(image, AdaptiveSettings()) for image in images],
        **{name: lambda peer=peer: [peer(image)["out"].argmax(1) for image in floats] for name, peer in peers.items()},
    }
    with torch.inference_mode():
        seconds = medians(sides, options.rounds)
        exact, adaptive = sides["exact"](), sides["adaptive"]()
    equal = np.mean([float((a == b).float().mean()) for a, b in zip(exact, adaptive, strict=True)])
    agreement = {"exact": 1.0, "adaptive": float(equal)}
    image_size = f"{images[0].shape[-1]}x{images[0].shape[-2]}"
    return [
        {
            "what": name,
            "size": image_size,
            "images/s": len(images) / each,
            "labels equal": agreement.get(name, float("nan")),
        }
        for name, each in seconds.items()
    ]


def _processes(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the command predict.py on one image and on many."""
    segmenter = Segmenter.load(options.model)
    paths = sorted(options.images.iterdir())[: options.number]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in {1, len(paths)}:
            (folder / f"{number}.txt").write_text("".join(f"{path}\n" for path in paths[:number]))
        for name, settings in {"exact": [], "adaptive": ["adaptive=true"]}.items():
            seconds = {}
            for number in {1, len(paths)}:
                out = folder / name / str(number)
                start = time.perf_counter()
                _predict(options, f"images={folder / f'{number}.txt'}", f"out={out}", *settings)
                seconds[number] = time.perf_counter() - start
            equal = []
            for path in paths[: options.timed]:
                with Image.open(folder / name / str(len(paths)) / f"{path.stem}.png") as mask:
                    equal.append((np.array(mask) == SegmentationPredictor(segmenter).predict(path).labels).mean())
            with Image.open(paths[0]) as image:
                common = {"size": f"{image.width}x{image.height}", "labels equal": float(np.mean(equal))}
            steady = (len(paths) - 1) / max(seconds[len(paths)] - seconds[1], 1e-9)
            for what, pace in {"whole process": len(paths) / seconds[len(paths)], "steady": steady}.items():
                rows.append({"what": f"predict.py, {name}, {what}", "images/s": pace} | common)
    order = ("what", "size", "images/s", "labels equal")
    return [{column: row[column] for column in order} for row in rows]


def _memory(options: argparse.Namespace, image_size: tuple[int, int]) -> dict[str, Any]:
    """Measure the time and the peak memory of predict.py on one image of noise; `image_size` is (height, width)."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        noise = np.random.default_rng(0).integers(0, 256, (*image_size, 3), np.uint8)
        write_image(folder / "image.png", Image.fromarray(noise))
        del noise
        start = time.perf_counter()
        usage = _predict(options, f"images={folder / 'image.png'}", f"out={folder / 'out'}")
        seconds = time.perf_counter() - start
        with Image.open(folder / "out" / "image.png") as mask:
            assert mask.size == image_size[::-1]
    megapixels = image_size[0] * image_size[1] / 1e6
    return {
        "size": f"{image_size[1]}x{image_size[0]}",
        "megapixels": megapixels,
        "seconds": seconds,
        "peak GB": usage.ru_maxrss * 1024 / 1e9,
    }


def _predict(options: argparse.Namespace, *settings: str) -> Any:
    """Run predict.py, check that it succeeds, and return its resource usage."""
    command = [sys.executable, str(ROOT / "predict.py"), f"model={options.model}", "device=cpu", *settings]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} failed"
    return usage


if __name__ == "__main__":
    main()
