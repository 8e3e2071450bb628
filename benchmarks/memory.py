"""Time and peak memory of labelling one image, by image size; each size is measured in a new process.

python benchmarks/memory.py
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import arguments, make_segmenter, report, size

from hypercolumns import SegmentationPredictor

SIZES = [(500, 500), (1000, 1000), (2000, 1500), (3000, 4000)]


def main() -> None:
    """Measure and print the tables."""
    parser = arguments(__doc__, 3, sizes={"type": size, "nargs": "*", "default": SIZES})
    parser.add_argument("--window", type=int, help="maximal number of pixels that the backbone processes at once")
    parser.add_argument("--one", type=size, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options)))
        return
    measured = []
    for height, width in options.sizes:
        command = [sys.executable, __file__, "--cnn", options.cnn, "--threads", str(options.threads)]
        command += ["--rounds", str(options.rounds), "--one", f"{width}x{height}"]
        command += ["--window", str(options.window)] if options.window else []
        measured.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    rows: list[dict[str, Any]] = []
    for (height, width), each in zip(options.sizes, measured, strict=True):
        pixels = height * width
        pace = each["seconds"] / pixels * 1e6
        rows.append(
            {
                "size": f"{width}x{height}",
                "megapixels": pixels / 1e6,
                "seconds": each["seconds"],
                "seconds / megapixel": pace,
                "relative to the first": pace / (rows[0]["seconds / megapixel"] if rows else pace),
                "peak GB above the model": each["peak"] / 1e9,
                "hypercolumns would be GB": each["channels"] * pixels * 4 / 1e9,
            }
        )
    torch.set_num_threads(options.threads)
    report(f"labels of one image, cnn={options.cnn}, fp32", rows, options.json)


def _measure(options: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(options.threads)
    segmenter = make_segmenter(options.cnn)
    if options.window:
        segmenter.extractor.max_window_pixels = options.window
    predictor = SegmentationPredictor(segmenter)
    predictor.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))  # the first image loads libraries
    image = torch.randint(0, 256, (3, *options.one), dtype=torch.uint8)
    before = _resident()
    seconds = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        predictor.predict(image)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "seconds": sorted(seconds)[len(seconds) // 2],
        "peak": peak - before,
        "channels": segmenter.backbone.channels,
    }


def _resident() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    main()
