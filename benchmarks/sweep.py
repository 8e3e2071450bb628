"""A sweep of 8 jobs compared with 8 separate commands, and a sweep that is killed half-way and run again.

python benchmarks/sweep.py

Both sides start without a sample store and end with the same runs, and their metrics must be equal. The third sweep is
killed by SIGKILL when half of its jobs are done. The same command then completes it, and must not touch the finished
runs.
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

from common import report, run_stage, stage_settings, start, wait_for

RATES = [1e-3, 3e-3]
RUNS = "*/*/pretrain/[!l]*"  # [!l] leaves out the link `latest`


def main() -> None:
    """Run all sweeps and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--settings", nargs="*", default=[], help="data settings of every job, in place of the synthetic data"
    )
    parser.add_argument("--cnn", default="rgb", help="a file of conf/cnn")
    parser.add_argument(
        "--hidden", type=int, nargs="+", default=[4, 8, 16, 32], help="hidden sizes; each one makes two jobs"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        compare(Path(temporary), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Run the separate commands, the sweep and the killed sweep, check that they agree, and print the table.

    Args:
        folder: folder for the runs and the pictures.
        options: options of the command line.
    """
    jobs = len(options.hidden) * len(RATES)
    settings = make_settings(folder, options)
    run_stage("extract", settings | {"all": [*settings["all"], f"runs={folder / 'first'}"]}, options.threads)

    separate, swept = folder / "separate", folder / "sweep"
    seconds = {f"{jobs} commands": timed(lambda: separately(settings, separate, options))}
    seconds["a sweep"] = timed(lambda: run(sweep(settings, swept, options.hidden), options.threads))
    assert metrics(separate) == metrics(swept), "the metrics differ"
    assert len(metrics(swept)) == jobs

    killed = folder / "killed"
    kill(sweep(settings, killed, options.hidden), killed, jobs // 2, options.threads)
    finished = times(killed)
    again = timed(lambda: run(sweep(settings, killed, options.hidden), options.threads))
    assert metrics(killed) == metrics(swept), "the metrics differ after the kill"

    seconds["the killed sweep, again"] = again
    rows = [
        {"what": what, "seconds": each, "relative to the sweep": each / seconds["a sweep"]}
        for what, each in seconds.items()
    ]
    report(f"{jobs} jobs, cnn={options.cnn}; metrics equal", rows, options.json)
    check_kill(finished, killed, jobs)


def make_settings(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """Return the settings of every job by stage, for `common.stage_settings`; all sides share the pictures."""
    synthetic = ["data=shapes", "data.train_images=40", "data.val_images=10", "cnn.weights=null"]
    data = options.settings or [*synthetic, f"data.root={folder / 'data'}"]
    return {
        "all": [*data, f"cnn={options.cnn}", "trainer.accelerator=cpu", "sampler.n=30", "num_workers=0"],
        "pretrain": [f"trainer.max_epochs={options.epochs}"],
    }


def kill(settings: list[str], runs: Path, done: int, threads: int) -> None:
    """Start a sweep, and kill it when `done` jobs have ended and a run has a checkpoint.

    Args:
        settings: arguments of train.py.
        runs: folder of the runs.
        done: number of jobs that must have ended.
        threads: number of OpenMP threads.
    """
    process = start("train.py", settings, threads)
    for number in range(done):
        wait_for(runs, f"sweeps/*/jobs/{number}.json", process)
    wait_for(runs, f"{RUNS}/checkpoints/last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_kill(finished: dict[Path, int], runs: Path, jobs: int) -> None:
    """Check that the completed sweep left the finished runs alone and lists all jobs in its table.

    Args:
        finished: modification times of the finished runs at the kill, see `times`.
        runs: folder of the runs after the second command.
        jobs: number of jobs.
    """
    now = times(runs)
    untouched = sum(now[path] == when for path, when in finished.items()) // 2
    (table,) = runs.glob("sweeps/*/table.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    print(f"killed with {len(finished) // 2} jobs done: {untouched} of them untouched, {len(rows)} rows in the table")
    assert 2 * untouched == len(finished)
    assert len(rows) == len(now) // 2 == jobs


def sweep(settings: dict[str, list[str]], runs: Path, hidden: list[int]) -> list[str]:
    """Return the command line of the sweep.

    Args:
        settings: settings of every job, by stage.
        runs: folder of the runs.
        hidden: hidden sizes of the classifiers; each is combined with every learning rate.

    Returns:
        The arguments of train.py.
    """
    sizes, rates = (",".join(map(str, values)) for values in (hidden, RATES))
    swept = [f"runs={runs}", f"classifier.hidden={sizes}", f"optimizer.lr={rates}"]
    return ["-m", *stage_settings("pretrain", settings), *swept]


def separately(settings: dict[str, list[str]], runs: Path, options: argparse.Namespace) -> None:
    """Run the extraction and then each job as a separate command.

    Args:
        settings: settings of every job, by stage.
        runs: folder of the runs.
        options: options of the command line.
    """
    settings = settings | {"all": [*settings["all"], f"runs={runs}"]}
    run_stage("extract", settings, options.threads)
    for size, rate in product(options.hidden, RATES):
        job = [*settings["pretrain"], f"classifier.hidden={size}", f"optimizer.lr={rate}"]
        run_stage("pretrain", settings | {"pretrain": job}, options.threads)


def run(settings: list[str], threads: int) -> None:
    """Run train.py and check that it succeeds."""
    assert start("train.py", settings, threads).wait() == 0


def timed(side: Any) -> float:
    """Return the seconds that a function takes."""
    begin = time.perf_counter()
    side()
    return time.perf_counter() - begin


def metrics(runs: Path) -> dict[str, Any]:
    """Return the metrics of each finished run by its name; equal settings give equal names."""
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob(f"{RUNS}/metrics.json")}


def times(runs: Path) -> dict[Path, int]:
    """Return the modification times (ns) of the model and the record of each finished run."""
    done = [path.parent for path in runs.glob(f"{RUNS}/metrics.json")]
    return {path: os.stat(path).st_mtime_ns for run in done for path in (run / "model.safetensors", run / "run.json")}


if __name__ == "__main__":
    main()
