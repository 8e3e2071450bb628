"""The time of a whole command of train.py and of its epochs, in this checkout and in another one, in turns.

python benchmarks/epochs.py --other DIR --settings experiment=frozen data=voc data.root=DIR

Each turn starts both commands without any store or run, and the mIoU of both must agree. *CPU* counts the seconds of
both cores and of all processes. If other programs use the machine, the seconds of the clock are not comparable, but the
CPU seconds of one thread (`--threads 1`) nearly are. *epoch* is the median over the epochs of the command's last stage,
with their validation.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import ROOT, report

from hypercolumns.io.files import read_json

EPOCH = re.compile(r"^epoch (\d+)/\d+: .*\(([\d.]+) s\)$", re.MULTILINE)  # the line that train.py prints


class Timing(NamedTuple):
    """The seconds of a command, its CPU seconds and those of an epoch, and the mIoU of each run by its stage."""

    command: float
    cpu: float
    epoch: float
    miou: dict[str, float]


def main() -> None:
    """Run all commands and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, metavar="DIR", help="another checkout of this project")
    parser.add_argument("--settings", nargs="+", required=True, help="arguments of train.py")
    parser.add_argument("--tolerance", type=float, default=0.0, help="allowed difference of the mIoU")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="turns; the table shows medians")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)  # for the title of the table
    checkouts = {"this": ROOT} | ({"other": options.other.resolve()} if options.other else {})
    timings: dict[str, list[Timing]] = {name: [] for name in checkouts}
    for _ in range(options.rounds):
        for name, checkout in checkouts.items():
            timings[name].append(run(checkout, options.settings, options.threads))
    expected = timings["this"][0].miou
    for timing in (timing for each in timings.values() for timing in each):
        assert timing.miou.keys() == expected.keys(), "the commands ran other stages"
        off = max(abs(timing.miou[stage] - expected[stage]) for stage in expected)
        assert off <= options.tolerance, f"the mIoU differs by {off}: {timing.miou} and {expected}"
    report(f"train.py {' '.join(options.settings)}", [row(name, each) for name, each in timings.items()], options.json)
    for part in ("command", "cpu", "epoch") if options.other else ():
        this, other = (statistics.median(getattr(each, part) for each in timings[name]) for name in timings)
        print(f"{part}: other / this = {other / this:.2f}")


def run(checkout: Path, settings: Sequence[str], threads: int) -> Timing:
    """Run train.py of a checkout in a new folder, and time it.

    Args:
        checkout: the root folder of the checkout.
        settings: the arguments of train.py.
        threads: the number of OpenMP threads.

    Returns:
        The times and the mIoU of the command.
    """
    with tempfile.TemporaryDirectory() as runs:
        before, start = _cpu_seconds(), time.perf_counter()
        output = subprocess.run(
            [sys.executable, str(checkout / "train.py"), *settings, f"runs={runs}"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(checkout / "src")},
        ).stdout
        seconds, cpu = time.perf_counter() - start, _cpu_seconds() - before
        found = Path(runs).glob("*/*/*/[!l]*/metrics.json")  # [!l] leaves out the link `latest`
        finished = sorted(found, key=lambda path: path.stat().st_mtime_ns)
        miou = {path.parents[1].name: float(read_json(path)["miou"]) for path in finished}
    return Timing(seconds, cpu, statistics.median(last_epochs(output)), miou)


def last_epochs(output: str) -> list[float]:
    """Read the seconds of each epoch of the last stage from the output of train.py, which must have trained."""
    epochs: list[float] = []
    for number, seconds in EPOCH.findall(output):
        epochs = [float(seconds)] if number == "1" else [*epochs, float(seconds)]
    assert epochs, f"the command trained no epoch:\n{output}"
    return epochs


def row(name: str, timings: Sequence[Timing]) -> dict[str, Any]:
    """Make the row of the checkout `name`: the medians of its timings, and the mIoU of the last stage."""
    medians = {
        f"{part} s": statistics.median(getattr(each, part) for each in timings) for part in ("command", "cpu", "epoch")
    }
    return {"checkout": name, **medians, "mIoU": [*timings[0].miou.values()][-1]}


def _cpu_seconds() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
