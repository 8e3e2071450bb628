"""The start of commands: CPU seconds and peak memory of whole processes, against those of `import torch`.

python benchmarks/startup.py
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import ROOT, arguments, make_segmenter, report, size
from PIL import Image

from hypercolumns.models.segmenter import Segmenter

# A new process has the peak memory of the process that starts it. This program is small, so it does not matter.
LAUNCHER = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]))
"""
# Runs train.py up to the first line of the function of its stage.
FIRST_LINE = """
import os, runpy, sys
from hypercolumns import stages

find = stages.stage_function

def stop(stage):
    find(stage)
    return lambda cfg: os._exit(0)

stages.stage_function = stop
runpy.run_path(sys.argv[0], run_name="__main__")
"""
TORCH = "import torch"


def main() -> None:
    """Measure and print the table."""
    parser = arguments(__doc__, 7, size={"type": size, "default": (360, 480)})
    parser.add_argument("--images", type=int, default=3, help="train images of the stage extract that runs to its end")
    parser.add_argument("--warmups", type=int, default=1, help="rounds before the others, which do not count")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options)
    title = f"CPU seconds and peak memory of processes, cnn={options.cnn}, medians of {options.rounds} runs in turns"
    report(title, rows, options.json)


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the commands in turns, and check what they wrote.

    Args:
        folder: an empty folder for the files.
        options: options `cnn`, `images`, `rounds`, `size`, `threads` and `warmups`.

    Returns:
        The rows of the table.
    """
    model, picture, out = folder / "model.safetensors", folder / "image.png", folder / "out"
    make_segmenter(options.cnn).save(model)
    height, width = options.size
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).save(picture)
    predict = ["predict.py", f"model={model}", f"images={picture}", f"out={out}", "overwrite=true"]
    train = [f"cnn={options.cnn}", "cnn.weights=null", "data=shapes", f"data.root={folder / 'data'}"]
    train += [f"data.train_images={options.images}", "data.val_images=1", "num_workers=0", f"runs={folder / 'runs'}"]
    commands = {
        TORCH: ["-c", TORCH],
        f"predict.py, one {width}x{height} image": predict,
        **{
            f"train.py stage={stage}, until the first line of the stage": [
                *("-c", f"import sys; del sys.argv[0]\n{FIRST_LINE}", "train.py"),
                *(f"stage={stage}", *train),
            ]
            for stage in ("extract", "train", "evaluate")
        },
        f"train.py stage=extract, {options.images} images, whole command": ["train.py", "stage=extract", *train],
    }
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(options.warmups + options.rounds):
        for name, command in commands.items():
            again = ["overwrite=true"] if "whole" in name else []
            cost = run([*command, *again], options.threads)
            if number >= options.warmups:  # the first runs read the files of the libraries from the disk
                costs[name].append(cost)
    check(model, picture, out / "image.png")
    seconds, peaks = ({name: statistics.median(each[i] for each in costs[name]) for name in costs} for i in (0, 1))
    return [
        {
            "process": name,
            "CPU s": seconds[name],
            "/ import torch": seconds[name] / seconds[TORCH],
            # The end of a process needs memory too, but the runs up to a first line have no such end.
            "peak MB": "" if "until" in name else f"{peaks[name] / 1e6:.0f}",
            "peak / import torch": "" if "until" in name else f"{peaks[name] / peaks[TORCH]:.2f}",
        }
        for name in commands
    ]


def run(command: Sequence[str], threads: int) -> tuple[float, float]:
    """Run a Python process in the folder of the project.

    Args:
        command: the arguments of Python.
        threads: number of OpenMP threads.

    Returns:
        The CPU seconds of the process, and its peak memory in bytes.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    launch = [sys.executable, "-c", LAUNCHER, sys.executable, *command]
    result = subprocess.run(launch, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    status, seconds, peak = json.loads(result.stdout)
    assert status == 0, f"{' '.join(command)} failed:\n{result.stderr}"
    return seconds, peak


def check(model: Path, picture: Path, mask: Path) -> None:
    """Check that a mask holds the labels that the model predicts.

    Args:
        model: the file of the model.
        picture: the image.
        mask: the mask that predict.py wrote.
    """
    image = torch.from_numpy(np.array(Image.open(picture))).permute(2, 0, 1)
    labels = Segmenter.load(model).labels(image[None])[0]
    assert torch.equal(torch.from_numpy(np.array(Image.open(mask))), labels), "the mask is not the model's"


if __name__ == "__main__":
    main()
