"""A sweep of 8 jobs against as many separate commands, and a sweep killed in the middle and run again.

python benchmarks/sweep.py

Both sides start with no store of samples and end with the same runs, whose figures must be equal. The kill is SIGKILL,
when half the jobs are done; then the same command runs to its end, and what was finished must not have been touched.
"""

import argparse
import csv
import json
import os
import signal
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

from common import report, start, wait_for

RATES = [1e-3, 3e-3]
RUNS = "*/*/pretrain/[!l]*"  # but `latest`


def main() -> None:
    """Run both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--settings", nargs="*", default=[], help="of every job; they replace those of the synthetic data"
    )
    parser.add_argument("--cnn", default="rgb", help="a file of conf/cnn")
    parser.add_argument("--hidden", type=int, nargs="+", default=[4, 8, 16, 32], help="there are two jobs of each")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    jobs = len(options.hidden) * len(RATES)
    data = options.settings or ["data=shapes", "data.train_images=40", "data.val_images=10", "cnn.weights=null"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        common = [*data, f"cnn={options.cnn}", f"trainer.max_epochs={options.epochs}", "trainer.accelerator=cpu"]
        if not options.settings:  # drawn once, for both sides
            common.append(f"data.root={folder / 'data'}")
        run([*common, "stage=extract", f"runs={folder / 'first'}"], options.threads)

        separate = folder / "separate"
        seconds = {f"{jobs} commands": timed(lambda: separately(common, separate, options.hidden, options.threads))}
        seconds["a sweep"] = timed(lambda: run(sweep(common, folder / "sweep", options.hidden), options.threads))
        assert figures(separate) == figures(folder / "sweep"), "the figures differ"
        assert len(figures(folder / "sweep")) == jobs

        killed = folder / "killed"
        process = start("train.py", sweep(common, killed, options.hidden), options.threads)
        for number in range(jobs // 2):
            wait_for(killed, f"sweeps/*/jobs/{number}.json", process)
        wait_for(killed, f"{RUNS}/checkpoints/last.ckpt", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        finished = times(killed)
        again = timed(lambda: run(sweep(common, killed, options.hidden), options.threads))
        now = times(killed)
        untouched = sum(now[path] == when for path, when in finished.items()) // 2
        (table,) = killed.glob("sweeps/*/table.csv")
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert figures(killed) == figures(folder / "sweep"), "the figures differ after the kill"
    result: list[dict[str, Any]] = [
        {"what": what, "seconds": value, "against the sweep": value / seconds["a sweep"]}
        for what, value in seconds.items()
    ]
    result.append(
        {"what": "the killed sweep, again", "seconds": again, "against the sweep": again / seconds["a sweep"]}
    )
    report(f"{jobs} jobs, cnn={options.cnn}; figures equal", result, options.json)
    print(f"killed with {len(finished) // 2} jobs done: {untouched} of them untouched, {len(rows)} rows in the table")
    assert 2 * untouched == len(finished)
    assert len(rows) == len(now) // 2 == jobs


def sweep(common: list[str], runs: Path, hidden: list[int]) -> list[str]:
    """The settings of all jobs at once."""
    sizes, rates = (",".join(map(str, values)) for values in (hidden, RATES))
    return ["-m", *common, f"runs={runs}", "stage=pretrain", f"classifier.hidden={sizes}", f"optimizer.lr={rates}"]


def separately(common: list[str], runs: Path, hidden: list[int], threads: int) -> None:
    """The samples, then each job by a command of its own."""
    settings = [*common, f"runs={runs}"]
    run([*settings, "stage=extract"], threads)
    for size, rate in product(hidden, RATES):
        run([*settings, "stage=pretrain", f"classifier.hidden={size}", f"optimizer.lr={rate}"], threads)


def run(settings: list[str], threads: int) -> None:
    """A command to its end."""
    assert start("train.py", settings, threads).wait() == 0


def timed(side: Any) -> float:
    """The seconds that it takes."""
    begin = time.perf_counter()
    side()
    return time.perf_counter() - begin


def figures(runs: Path) -> dict[str, Any]:
    """What each finished run came to; by its name, which its settings decide."""
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob(f"{RUNS}/metrics.json")}


def times(runs: Path) -> dict[Path, int]:
    """When the model and the record of each finished run were written."""
    done = [path.parent for path in runs.glob(f"{RUNS}/metrics.json")]
    return {path: os.stat(path).st_mtime_ns for run in done for path in (run / "model.safetensors", run / "run.json")}


if __name__ == "__main__":
    main()
