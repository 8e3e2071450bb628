"""Exported models: labels or logits of one image by onnxruntime, by the .pt2 file and by the eager model.

python benchmarks/export.py
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from common import arguments, difference, make_segmenter, medians, report, size
from torch import Tensor

from hypercolumns.export import export_onnx, export_torch

FILES = {"onnx": "model.onnx", "torch": "model.pt2"}
Run = Callable[[Tensor], Tensor]


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 7, sizes={"type": size, "nargs": "*", "default": [(224, 224), (360, 480)]})
    parser.add_argument("--outputs", nargs="*", default=["labels", "logits"], choices=["labels", "logits"])
    parser.add_argument("--one", nargs=3, metavar=("SIDE", "FOLDER", "OUTPUTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        name, folder, outputs = options.one
        print(json.dumps(_peak(_side(name, folder, outputs, options.cnn), *options.sizes)))
        return
    segmenter = make_segmenter(options.cnn)
    rows = []
    for outputs in options.outputs:
        with tempfile.TemporaryDirectory() as folder:
            export_onnx(segmenter, Path(folder, FILES["onnx"]), "uint8", outputs)
            export_torch(segmenter, Path(folder, FILES["torch"]), "uint8", outputs)
            rows += [measure(folder, outputs, image_size, options) for image_size in options.sizes]
    title = "off: the largest difference of logits, relative to their range, or the fraction of labels that differ"
    report(f"exported cnn={options.cnn}, one image of uint8, fp32\n{title}", rows, options.json)


def measure(folder: str, outputs: str, image_size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Time each form of the model, measure its peak memory, and check that the outputs agree.

    Args:
        folder: the folder of the exported models.
        outputs: `labels` or `logits`.
        image_size: (height, width).
        options: options `cnn`, `rounds` and `threads`.

    Returns:
        A row of the table.
    """
    sides = {name: _side(name, folder, outputs, options.cnn) for name in ("eager", *FILES)}
    images = torch.randint(0, 256, (1, 3, *image_size), dtype=torch.uint8)
    with torch.inference_mode():
        seconds = medians({name: partial(run, images) for name, run in sides.items()}, options.rounds)
        eager, *exported = (run(images) for run in sides.values())
    peaks = {name: _peak_apart(name, folder, outputs, options, image_size) for name in sides}
    off = [_off(each, eager) for each in exported]
    assert max(off) <= 1e-4, "the outputs of an exported model differ from the model's own"
    return {
        "outputs": outputs,
        "size": f"{image_size[1]}x{image_size[0]}",
        **{f"{name} ms": each * 1e3 for name, each in seconds.items()},
        **{f"{name} / eager": seconds[name] / seconds["eager"] for name in FILES},
        **{f"{name} off": each for name, each in zip(FILES, off, strict=True)},
        **{f"{name} peak MB": each / 1e6 for name, each in peaks.items()},
    }


def _side(name: str, folder: str, outputs: str, cnn: str) -> Run:
    if name == "torch":
        run: Run = torch.export.load(Path(folder, FILES[name])).module()
        return run
    if name == "onnx":
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(Path(folder, FILES[name]), settings)
        return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
    segmenter = make_segmenter(cnn)
    return segmenter.labels if outputs == "labels" else segmenter


def _off(exported: Tensor, eager: Tensor) -> float:
    return difference(exported, eager) if exported.is_floating_point() else float((exported != eager).float().mean())


def _peak_apart(
    name: str, folder: str, outputs: str, options: argparse.Namespace, image_size: tuple[int, int]
) -> float:
    """Measure the peak memory of one form of the model in a new process."""
    command = [sys.executable, __file__, "--cnn", options.cnn, "--threads", str(options.threads)]
    command += ["--sizes", f"{image_size[1]}x{image_size[0]}", "--one", name, folder, outputs]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _peak(run: Run, image_size: tuple[int, int]) -> float:
    """Return the bytes that an image of this size needs on top of the peak memory for a small image."""
    with torch.inference_mode():
        run(torch.zeros(1, 3, 40, 40, dtype=torch.uint8))
        before = _peak_of_process()
        run(torch.zeros(1, 3, *image_size, dtype=torch.uint8))
    return _peak_of_process() - before


def _peak_of_process() -> float:
    """Return the peak memory of this process in bytes; `resource` would include the parent before the exec."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match, "this needs Linux"
    return float(match[1]) * 1024


if __name__ == "__main__":
    main()
