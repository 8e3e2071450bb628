"""Peak memory and time of a training step, by what they grow with; each case is measured in a new process.

python benchmarks/training_memory.py
python benchmarks/training_memory.py --cnn dinov2 --images 4 --sizes 448x448 --grad-checkpointing
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
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
        checkpointing: whether the backward pass computes the activations of the backbone again; "True" or "False".
    """

    images: int
    size: int
    pixels: str
    trainable: str
    checkpointing: str = "False"


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
    parser.add_argument("--images", type=int, default=1, help="images in a batch of the cases that --sizes chooses")
    parser.add_argument("--grad-checkpointing", action="store_true", help="measure each case without and with it")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        images, side, *others = options.one
        print(json.dumps(_measure(options, Case(int(images), int(side), *others))))
        return
    cases = [Case(options.images, side, "all", "all") for side, _ in options.sizes] if options.sizes else [*CASES]
    if options.grad_checkpointing:
        cases = [case._replace(checkpointing=choice) for case in cases for choice in ("False", "True")]
    rows = []
    for case in cases:
        command = [sys.executable, __file__, "--cnn", options.cnn, "--threads", str(options.threads)]
        command += ["--rounds", str(options.rounds), "--one", *map(str, case)]
        peak, seconds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append({"images": case.images, "size": f"{case.size}x{case.size}", "pixels": case.pixels})
        rows[-1] |= {"trainable": case.trainable}
        if options.grad_checkpointing:
            rows[-1] |= {"grad_checkpointing": case.checkpointing}
        rows[-1] |= {"peak GB above the model": peak / 1e9, "seconds": seconds}
    torch.set_num_threads(options.threads)
    report(f"a training step, cnn={options.cnn}, fp32", rows, options.json)


def _measure(options: argparse.Namespace, case: Case) -> tuple[int, float]:
    """Return the peak memory of training steps in bytes, and the median of their times in seconds.

    The memory is that above a process that has trained on a small image.
    """
    torch.set_num_threads(options.threads)
    trainable = case.trainable if case.trainable == "all" else int(case.trainable)
    segmenter = make_segmenter(
        options.cnn, trainable=trainable, grad_checkpointing=case.checkpointing == "True"
    ).train()
    optimizer = torch.optim.AdamW([p for p in segmenter.parameters() if p.requires_grad], lr=0.0)
    _step(segmenter, optimizer, 1, 64, case.pixels)  # the first step loads libraries, and makes the optimiser's state
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    times = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        _step(segmenter, optimizer, case.images, case.size, case.pixels)
        times.append(time.perf_counter() - start)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, statistics.median(times)


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
