"""Peak memory of a training step, by what it grows with; each case is measured in a new process.

python benchmarks/training_memory.py
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from common import CLASSES, arguments, make_segmenter, report, size

from hypercolumns.models.segmenter import Segmenter


class Case(NamedTuple):
    """A training step.

    Attributes:
        images: the number of images in the batch.
        size: the side of the square images, in pixels.
        pixels: the number of random pixels of each image; "all": all pixels.
        trainable: the number of taps whose layers are trained, or "all"; "0": the backbone is frozen.
    """

    images: int
    size: int
    pixels: str
    trainable: str


CASES = (
    Case(4, 256, "2000", "0"),
    Case(4, 256, "all", "0"),
    Case(4, 256, "2000", "4"),
    Case(4, 256, "all", "4"),
    Case(4, 256, "2000", "all"),
    Case(4, 256, "all", "all"),
    Case(1, 256, "all", "all"),
    Case(2, 256, "all", "all"),
    Case(4, 128, "all", "all"),
    Case(4, 512, "2000", "0"),
    Case(4, 512, "all", "all"),
)


def main() -> None:
    """Measure and print the table."""
    parser = arguments(__doc__, 1, sizes={"type": size, "nargs": "*", "help": "only cases of these sizes, all pixels"})
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        images, side, pixels, trainable = options.one
        print(_measure(options, Case(int(images), int(side), pixels, trainable)))
        return
    cases = [Case(1, side, "all", "all") for side, _ in options.sizes] if options.sizes else CASES
    rows = []
    for case in cases:
        command = [sys.executable, __file__, "--cnn", options.cnn, "--threads", str(options.threads)]
        command += ["--rounds", str(options.rounds), "--one", *map(str, case)]
        peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append({"images": case.images, "size": f"{case.size}x{case.size}", "pixels": case.pixels})
        rows[-1] |= {"trainable": case.trainable, "peak GB above the model": peak / 1e9}
    torch.set_num_threads(options.threads)
    report(f"a training step, cnn={options.cnn}, fp32", rows, options.json)


def _measure(options: argparse.Namespace, case: Case) -> int:
    """Return the peak memory of training steps above that of a process that has trained on a small image, in bytes."""
    torch.set_num_threads(options.threads)
    trainable = case.trainable if case.trainable == "all" else int(case.trainable)
    segmenter = make_segmenter(options.cnn, trainable=trainable).train()
    optimizer = torch.optim.AdamW([p for p in segmenter.parameters() if p.requires_grad], lr=0.0)
    _step(segmenter, optimizer, 1, 64, case.pixels)  # the first step loads libraries, and makes the optimiser's state
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    for _ in range(options.rounds):
        _step(segmenter, optimizer, case.images, case.size, case.pixels)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def _step(segmenter: Segmenter, optimizer: torch.optim.Optimizer, images: int, side: int, pixels: str) -> None:
    batch = torch.rand(images, 3, side, side)
    optimizer.zero_grad()
    if pixels == "all":
        loss = F.cross_entropy(segmenter(batch), torch.randint(0, CLASSES, (images, side, side)))
    else:
        points = torch.randint(0, side, (images, int(pixels), 2))
        loss = F.cross_entropy(
            segmenter.logits_at(batch, points).flatten(0, 1), torch.randint(0, CLASSES, (len(points) * int(pixels),))
        )
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main()
