"""An exported model beside the model itself: labels, or logits, of one image by onnxruntime, by the .pt2, and eagerly.

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
    """Measure and print."""
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
            rows += [measure(folder, outputs, one, options) for one in options.sizes]
    title = "off: of logits the largest difference, relative to their range; of labels the share of different ones"
    report(f"exported cnn={options.cnn}, one image of uint8, fp32\n{title}", rows, options.json)


def measure(folder: str, outputs: str, one: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Time each side, see what memory it needs, and check that they agree.

    Args:
        folder: of the exported models.
        outputs: labels or logits.
        one: height and width of the image.
        options: with `cnn`, `rounds` and `threads`.

    Returns:
        A row of the table.
    """
    sides = {name: _side(name, folder, outputs, options.cnn) for name in ("eager", *FILES)}
    images = torch.randint(0, 256, (1, 3, *one), dtype=torch.uint8)
    with torch.inference_mode():
        seconds = medians({name: partial(run, images) for name, run in sides.items()}, options.rounds)
        eager, *found = (run(images) for run in sides.values())
    peaks = {name: _peak_apart(name, folder, outputs, options, one) for name in sides}
    off = [_off(each, eager) for each in found]
    assert max(off) <= 1e-4, "what was exported does something else"
    return {
        "outputs": outputs,
        "size": f"{one[1]}x{one[0]}",
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


def _off(found: Tensor, eager: Tensor) -> float:
    return difference(found, eager) if found.is_floating_point() else float((found != eager).float().mean())


def _peak_apart(name: str, folder: str, outputs: str, options: argparse.Namespace, one: tuple[int, int]) -> float:
    """The peak memory of a side, in a process of its own."""
    command = [sys.executable, __file__, "--cnn", options.cnn, "--threads", str(options.threads)]
    command += ["--sizes", f"{one[1]}x{one[0]}", "--one", name, folder, outputs]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def _peak(run: Run, one: tuple[int, int]) -> float:
    """The bytes that the process needs for an image of that size, above what it has when it has run a small one."""
    with torch.inference_mode():
        run(torch.zeros(1, 3, 40, 40, dtype=torch.uint8))
        before = _most()
        run(torch.zeros(1, 3, *one, dtype=torch.uint8))
    return _most() - before


def _most() -> float:
    """The most bytes of memory that this process has had; `resource` would count those of the process before it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "this needs Linux"
    return float(found[1]) * 1024


if __name__ == "__main__":
    main()
