"""Code that the benchmarks share: models, alternating timings and tables."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime.memory import keep_freed_memory

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
HIDDEN, CLASSES = 512, 21


class KeepMemory(argparse.Action):
    """Keep freed memory in this process as soon as the option is read."""

    def __call__(self, *_: object) -> None:
        """Change the memory allocator of this process."""
        assert keep_freed_memory(), "this system has no glibc"


def arguments(description: str | None, rounds: int, **more: Any) -> argparse.ArgumentParser:
    """Make a parser of the options that most benchmarks share.

    Args:
        description: the docstring of the benchmark, for the help.
        rounds: default of `--rounds`.
        more: further options by name; the value holds the arguments of `add_argument`.

    Returns:
        The parser; a benchmark may add arguments to it.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cnn", default="sqn", help="a file of conf/cnn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=rounds, help="timings of each side; the table shows their median")
    parser.add_argument("--keep-memory", action=KeepMemory, nargs=0, help="keep freed memory, as train.py does")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)
    return parser


def size(text: str) -> tuple[int, int]:
    """Parse a size such as 480x360, width first, into (height, width)."""
    width, height = text.split("x")
    return int(height), int(width)


def make_backbone(cnn: str, **settings: Any) -> Backbone:
    """Build a backbone with random weights from a file of conf/cnn, or from `timm/<model>`."""
    name, _, model = cnn.partition("/")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"cnn={name}", *([f"cnn.model={model}"] if model else [])]).cnn
    taps = config.taps and OmegaConf.to_container(config.taps)
    return Backbone(str(config.network), taps, **settings).eval()  # type: ignore[arg-type]


def make_segmenter(cnn: str, alignment: str = "exact", **settings: Any) -> Segmenter:
    """Build a segmenter with random weights and random standardisation, so that no step is an identity."""
    backbone = make_backbone(cnn, **settings)
    torch.manual_seed(0)
    classifier = MLPClassifier(backbone.channels, CLASSES, HIDDEN)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    classes = [f"class {number}" for number in range(CLASSES)]
    return Segmenter(HypercolumnExtractor(backbone, alignment), classifier, classes).eval()  # type: ignore[arg-type]


def medians(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time functions in turns, so that changes in the load of the machine affect all of them alike.

    In each turn a function runs twice and the second run counts. The first run restores the caches and the allocated
    memory, which the other functions have changed.

    Args:
        sides: functions by name.
        rounds: number of turns.
        clock: returns the time in seconds.

    Returns:
        The median seconds of each function.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side()
            start = clock()
            side()
            times[name].append(clock() - start)
    return {name: statistics.median(each) for name, each in times.items()}


def start(script: str, settings: Sequence[str], threads: int) -> subprocess.Popen[bytes]:
    """Start train.py or predict.py without output.

    Args:
        script: file name of the script.
        settings: arguments as on the command line.
        threads: number of OpenMP threads.

    Returns:
        The process.
    """
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *settings],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )


def stage_settings(stage: str, settings: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the command line of a stage, without the settings of other stages.

    Args:
        stage: name of the stage.
        settings: arguments by the stage that takes them; arguments for every stage stand under "all".
    """
    return [f"stage={stage}", *settings["all"], *settings.get(stage, ())]


def run_stage(stage: str, settings: Mapping[str, Sequence[str]], threads: int) -> None:
    """Run a stage by the command line and check that it succeeds.

    Args:
        stage: name of the stage.
        settings: see `stage_settings`.
        threads: number of OpenMP threads.
    """
    assert start("train.py", stage_settings(stage, settings), threads).wait() == 0, f"stage {stage} failed"


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file exists or the process that writes it has ended.

    Args:
        folder: the folder to look in.
        pattern: glob pattern of the file in the folder.
        process: the process that writes the file.
    """
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest absolute difference, relative to the range of the reference."""
    return float((ours - reference).abs().max() / (reference.max() - reference.min()))


def report(title: str, rows: Sequence[Mapping[str, Any]], file: Path | None) -> None:
    """Print rows as a table, and write them as JSON together with a description of the machine.

    Args:
        title: title of the table.
        rows: values by column; all rows have the same columns.
        file: the JSON file; None writes no file.
    """
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}, {processor()}"
    table = Table(title=f"{title}\n{machine}")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.4g}" for value in row.values()))
    Console(width=160).print(table)
    if file is not None:
        file.write_text(json.dumps({"title": title, "machine": machine, "rows": list(rows)}, indent=1))


def processor() -> str:
    """Return the name of the processor, as precisely as the system knows it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
