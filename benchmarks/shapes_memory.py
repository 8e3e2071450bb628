"""Peak memory of every output of predict.py on images of every shape, above that of the same work on a small image.

python benchmarks/shapes_memory.py
python benchmarks/shapes_memory.py --work outputs --sizes 200000x60

Each shape is measured in a new process, which may use at most --limit GB, so that a bad case fails in place of filling
the memory of the machine. The images and masks are noise, the worst case for run lengths. *models* predicts the labels
of each shape with models whose feature maps differ, and compares 500 pixels of them with the class of the highest
logit, as computed at single points in windows of another size. *outputs* writes each output of predict.py, with a model
that sees only colours. *stages* runs stages of train.py, each in a process of its own, with a network that sees only
colours and with SqueezeNet.
"""

import argparse
import ctypes
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import CONF, arguments, make_backbone, report, size
from hydra import compose, initialize_config_dir
from PIL import Image
from shapes_stages import CASES, WITHOUT_NETWORK, run_case, save_data

from hypercolumns.io.images import read_image
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme
from hypercolumns.models.classifiers import Classifier, GridClassifier, MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.stages.predict import predict

SIZES = [(1, 1), (2, 2), (17, 1), (1, 200_000), (200_000, 1), (3, 200_000), (60, 200_000), (200_000, 60)]
SIZES += [(12_000, 1000), (1000, 12_000), (3464, 3464), (4096, 2930)]
SMALL = 64  # side of the image that each kind of work sees first, in pixels
POINTS = 500
TIE = 1e-3  # a pixel may have another label than at a single point if its two highest logits differ by less
CHECK_WINDOW = 400_000  # pixels
Overrides = Sequence[str]
# Context taps, the classifier, other arguments of the extractor, and the number of classes.
MODELS: Mapping[str, tuple[str, dict[str, Any], dict[str, Any], type[Classifier], int]] = {
    "default": ("sqn", {}, {}, MLPClassifier, 21),
    "local_mean": ("sqn", {"context": ["local_mean:7"]}, {}, MLPClassifier, 21),
    "pyramid": ("sqn", {"context": ["pyramid:6", "coordinates"]}, {}, MLPClassifier, 21),
    "grid": ("sqn", {}, {}, GridClassifier, 21),
    "corners": ("sqn", {}, {"alignment": "corners"}, MLPClassifier, 21),
    "resize": ("sqn", {}, {"resize": (480, 640)}, MLPClassifier, 21),
    "150 classes": ("sqn", {}, {}, MLPClassifier, 150),
    "colours": ("rgb", {}, {}, MLPClassifier, 21),
    "colours, 150": ("rgb", {}, {}, MLPClassifier, 150),
}
TTA = ["tta.flip=true", "tta.scales=[0.75,1,1.25]"]
WAYS: Mapping[str, Overrides] = {
    "labels": [],
    "adaptive": ["adaptive=true"],
    "confidence": ["outputs.confidence=true"],
    "probabilities": ["outputs.probabilities=true"],
    "tta": TTA,
    "tta, probabilities": [*TTA, "outputs.probabilities=true"],
}
WORKS = ("models", "outputs", "stages")
OUTPUTS = ("overlay", "color_mask", "entropy", "geotiff", "cvat", "coco", "label_studio", "labelme")


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 1, sizes={"type": size, "nargs": "*", "default": SIZES})
    parser.add_argument("--work", choices=[*WORKS], nargs="*", default=[*WORKS])
    parser.add_argument("--models", nargs="*", default=[*MODELS])
    parser.add_argument("--cases", nargs="*", help="measure only these outputs or stages")
    parser.add_argument("--cnns", nargs="*", default=["rgb", "sqn"], help="networks of the stages")
    parser.add_argument("--ways", nargs="*", default=["labels", "adaptive", "tta", "probabilities"])
    parser.add_argument("--limit", type=float, default=4.0, help="GB of private memory that a process may use")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        resource.setrlimit(resource.RLIMIT_DATA, (int(options.limit * 1e9),) * 2)
        for row in _measure(**options.one):
            print(json.dumps(row), flush=True)
        return
    rows = []
    for work in options.work:
        for image_size in options.sizes:
            for one in _children(options, work):
                rows += _child(options, {"work": work, "image_size": image_size, **one})
    report("peak memory by shape", rows, options.json)


def _children(options: argparse.Namespace, work: str) -> Iterator[dict[str, Any]]:
    """Yield what each process measures of one shape."""
    if work == "stages":
        for case in options.cases or CASES:
            for cnn in options.cnns[:1] if case in WITHOUT_NETWORK else options.cnns:
                yield {"model": cnn, "only": [case], "ways": []}
        return
    for model in options.models:
        if (MODELS[model][0] == "rgb") == (work == "outputs"):
            yield {"model": model, "only": options.cases, "ways": options.ways}


def _child(options: argparse.Namespace, one: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Measure in a new process; return what it measured before it ended."""
    command = [sys.executable, __file__, "--threads", str(options.threads), "--limit", str(options.limit)]
    rows = []
    with subprocess.Popen([*command, "--one", json.dumps(one)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                rows.append(json.loads(line))
                print(line, end="", flush=True)
    if process.returncode:
        print(f"ended with {process.returncode}: {one}", flush=True)
    return rows


def _measure(
    image_size: Sequence[int], model: str, work: str, ways: Sequence[str], only: Sequence[str] | None
) -> Iterator[dict[str, Any]]:
    height, width = image_size
    if work == "stages":
        assert only is not None
        yield _measure_stage(only[0], model, (height, width))
        return
    cases: dict[str, Overrides] = {way: WAYS[way] for way in ways}
    if work == "outputs":
        cases = {name: [f"outputs.{name}=true"] for name in OUTPUTS}
        cases |= {way: WAYS[way] for way in ("adaptive", "tta", "probabilities")} | {"masks=": ["masks=masks"]}
        cases |= {"overlay, no legend": ["outputs.overlay=true", "legend=false"]}
        cases = {name: each for name, each in cases.items() if name in only} if only else cases
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        classes = _save_model(model)
        for name, shape in (("small", (SMALL, SMALL)), ("large", (height, width))):
            _save_noise(Path(name), shape, classes)
        for case, overrides in cases.items():
            small, _ = _run(f"{case} small", "small", overrides)
            peak, seconds = float("nan"), float("nan")
            try:
                peak, seconds = _run(f"{case} large", "large", overrides)
            except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError where memory runs out
                print(f"{case}: {error}"[:200], file=sys.stderr)
            yield {
                "work": work,
                "model": model,
                "size": f"{width}x{height}",
                "case": case,
                "peak GB": peak / 1e9,
                "small GB": small / 1e9,
                "s": seconds,
                "wrong": _wrong(f"{case} large") if work == "models" and case == "labels" else float("nan"),
            }


def _measure_stage(case: str, cnn: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Measure a stage, after it has run on small images; so the peak contains neither imports nor the model."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        _save_model("colours" if cnn == "rgb" else "default", f"{cnn}.safetensors")
        for name, each in (("small", (SMALL, SMALL)), ("large", shape)):
            save_data(Path(name), each, "float" in case)
        small = [run_case(case, cnn, "small", f"runs {number}", measured)[0] for number in range(2)]
        peak, seconds = float("nan"), float("nan")
        try:
            peak, seconds = run_case(case, cnn, "large", "runs", measured)
        except (MemoryError, RuntimeError) as error:  # torch raises RuntimeError where memory runs out
            print(f"{case}: {error}"[:200], file=sys.stderr)
    row = {"work": "stages", "model": cnn, "size": f"{shape[1]}x{shape[0]}", "case": case, "peak GB": peak / 1e9}
    return row | {"small GB": small[-1] / 1e9, "s": seconds, "wrong": float("nan")}


def _save_model(name: str, file: str = "model.safetensors") -> int:
    """Write the model and return its number of classes."""
    cnn, taps, settings, classifier, classes = MODELS[name]
    backbone = make_backbone(cnn, **taps)
    torch.manual_seed(0)
    extractor = HypercolumnExtractor(backbone, **settings)
    head = classifier(backbone.channels, classes, hidden=512 if cnn == "sqn" else 16)  # type: ignore[call-arg]
    Segmenter(extractor, head, [f"class {number}" for number in range(classes)]).save(file)
    return classes


def _save_noise(folder: Path, shape: tuple[int, int], classes: int) -> None:
    """Write an image and a mask of noise."""
    generator = np.random.default_rng(0)
    for name, top, channels in (("images", 256, (3,)), ("masks", classes, ())):
        (folder / name).mkdir(parents=True)
        pixels = generator.integers(0, top, (*shape, *channels), np.uint8)
        Image.fromarray(pixels).save(folder / name / "a.png", compress_level=1)


def _run(out: str, folder: str, overrides: Overrides) -> tuple[int, float]:
    """Predict an image, and return the peak memory above that before, in bytes, and the seconds."""
    settings = ["model=model.safetensors", f"images={folder}/images", f"out='{out}'", "device=cpu", "precision=32"]
    settings += ["outputs.overlay=false", *(each.replace("masks=masks", f"masks={folder}/masks") for each in overrides)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("predict", settings)
    return measured(lambda: predict(cfg))


def measured(function: Callable[[], object]) -> tuple[int, float]:
    """Call a function, and return the peak memory above that before the call, in bytes, and the seconds."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide a part of the peak
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before, start = _status("VmRSS"), time.perf_counter()
    function()
    return _status("VmHWM") - before, time.perf_counter() - start


def _status(name: str) -> int:
    """Return an entry of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def _wrong(out: str) -> int:
    """Return how many of some pixels have another label than the class of their highest logit at single points."""
    segmenter = Segmenter.load("model.safetensors")
    segmenter.extractor.max_window_pixels = CHECK_WINDOW
    image = read_image(Path("large/images/a.png"))
    labels = read_mask(Path(out) / "a.png", LabelScheme.of(segmenter.classes, segmenter.palette))
    generator = torch.Generator().manual_seed(0)
    points = torch.stack([torch.randint(side, (POINTS,), generator=generator) for side in labels.shape], dim=1)
    logits = segmenter.predict_logits_at(image[None], points[None])[0]
    top = logits.topk(2)
    clear = top.values[:, 0] - top.values[:, 1] > TIE
    return int(((top.indices[:, 0] != labels[points[:, 0], points[:, 1]]) & clear).sum())


if __name__ == "__main__":
    main()
