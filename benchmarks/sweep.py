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

from common import report, run_stage, stage_settings, start, wait_for

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
    with tempfile.TemporaryDirectory() as temporary:
        compare(Path(temporary), options)


def compare(folder: Path, options: argparse.Namespace) -> None:
    """Run both sides and the killed sweep, check that they agree, and print.

    Args:
        folder: of the runs and the pictures.
        options: of the command line.
    """
    jobs = len(options.hidden) * len(RATES)
    settings = make_settings(folder, options)
    run_stage("extract", settings | {"all": [*settings["all"], f"runs={folder / 'first'}"]}, options.threads)

    separate, swept = folder / "separate", folder / "sweep"
    seconds = {f"{jobs} commands": timed(lambda: separately(settings, separate, options))}
    seconds["a sweep"] = timed(lambda: run(sweep(settings, swept, options.hidden), options.threads))
    assert figures(separate) == figures(swept), "the figures differ"
    assert len(figures(swept)) == jobs

    killed = folder / "killed"
    kill(sweep(settings, killed, options.hidden), killed, jobs // 2, options.threads)
    finished = times(killed)
    again = timed(lambda: run(sweep(settings, killed, options.hidden), options.threads))
    assert figures(killed) == figures(swept), "the figures differ after the kill"

    seconds["the killed sweep, again"] = again
    rows = [
        {"what": what, "seconds": each, "against the sweep": each / seconds["a sweep"]}
        for what, each in seconds.items()
    ]
    report(f"{jobs} jobs, cnn={options.cnn}; figures equal", rows, options.json)
    check_kill(finished, killed, jobs)


def make_settings(folder: Path, options: argparse.Namespace) -> dict[str, list[str]]:
    """The settings of every job by stage, see `common.stage_settings`; pictures are drawn once, for all sides."""
    synthetic = ["data=shapes", "data.train_images=40", "data.val_images=10", "cnn.weights=null"]
    data = options.settings or [*synthetic, f"data.root={folder / 'data'}"]
    return {
        "all": [*data, f"cnn={options.cnn}", "trainer.accelerator=cpu", "sampler.n=30", "num_workers=0"],
        "pretrain": [f"trainer.max_epochs={options.epochs}"],
    }


def kill(settings: list[str], runs: Path, done: int, threads: int) -> None:
    """Start a sweep and kill it when so many jobs are done and the next one is at work.

    Args:
        settings: of the sweep.
        runs: its folder.
        done: how many jobs.
        threads: of the process.
    """
    process = start("train.py", settings, threads)
    for number in range(done):
        wait_for(runs, f"sweeps/*/jobs/{number}.json", process)
    wait_for(runs, f"{RUNS}/checkpoints/last.ckpt", process)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check_kill(finished: dict[Path, int], runs: Path, jobs: int) -> None:
    """Check that what a killed sweep had finished was not touched afterwards, and that its table has all jobs.

    Args:
        finished: when the files of its finished runs were written, see `times`.
        runs: its folder, after the same command.
        jobs: how many it has.
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
    """The command line of all jobs at once.

    Args:
        settings: of every job, by stage.
        runs: the folder of the runs.
        hidden: the sizes of the classifiers, each with every rate.

    Returns:
        The arguments of train.py.
    """
    sizes, rates = (",".join(map(str, values)) for values in (hidden, RATES))
    own = [f"runs={runs}", f"classifier.hidden={sizes}", f"optimizer.lr={rates}"]
    return ["-m", *stage_settings("pretrain", settings), *own]


def separately(settings: dict[str, list[str]], runs: Path, options: argparse.Namespace) -> None:
    """Run the extraction, then each job by a command of its own.

    Args:
        settings: of every job, by stage.
        runs: the folder of the runs.
        options: of the command line.
    """
    settings = settings | {"all": [*settings["all"], f"runs={runs}"]}
    run_stage("extract", settings, options.threads)
    for size, rate in product(options.hidden, RATES):
        own = [*settings["pretrain"], f"classifier.hidden={size}", f"optimizer.lr={rate}"]
        run_stage("pretrain", settings | {"pretrain": own}, options.threads)


def run(settings: list[str], threads: int) -> None:
    """Run train.py to its end."""
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
