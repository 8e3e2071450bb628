"""What the benchmarks share: models, timing in alternation, tables."""

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

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
HIDDEN, CLASSES = 512, 21


def arguments(description: str | None, rounds: int, **more: Any) -> argparse.ArgumentParser:
    """Make a parser of the options that every benchmark has.

    Args:
        description: the benchmark's docstring.
        rounds: the default of `--rounds`.
        more: other options by name, each with the arguments of `add_argument`.

    Returns:
        The parser, to which more can be added.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cnn", default="sqn", help="a file of conf/cnn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=rounds, help="of which the median is taken")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)
    return parser


def size(text: str) -> tuple[int, int]:
    """480x360, width first, as (height, width)."""
    width, height = text.split("x")
    return int(height), int(width)


def make_backbone(cnn: str, **settings: Any) -> Backbone:
    """The backbone of that config (`timm/<model>` for one of timm's), with random weights."""
    name, _, model = cnn.partition("/")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [f"cnn={name}", *([f"cnn.model={model}"] if model else [])]).cnn
    taps = config.taps and OmegaConf.to_container(config.taps)
    return Backbone(str(config.network), taps, **settings).eval()  # type: ignore[arg-type]


def make_segmenter(cnn: str, alignment: str = "exact", **settings: Any) -> Segmenter:
    """A segmenter with random weights, in which no number is 0 or 1 by chance."""
    backbone = make_backbone(cnn, **settings)
    torch.manual_seed(0)
    classifier = MLPClassifier(backbone.channels, CLASSES, HIDDEN)
    classifier.set_statistics(torch.randn(backbone.channels), torch.rand(backbone.channels) + 0.5)
    classes = [f"class {number}" for number in range(CLASSES)]
    return Segmenter(HypercolumnExtractor(backbone, alignment), classifier, classes).eval()  # type: ignore[arg-type]


def medians(
    sides: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Time some functions in turns, so that all see the same weather.

    In each turn a side runs twice, and the second time counts: the first one finds the caches, and the memory that the
    process has, as the other sides left them.

    Args:
        sides: the functions by name.
        rounds: how many turns each one has.
        clock: what tells the seconds.

    Returns:
        The median seconds of each side.
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
    """Start train.py or predict.py, silently.

    Args:
        script: its name.
        settings: as on the command line.
        threads: of the process.

    Returns:
        The process.
    """
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *settings],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )


def stage_settings(stage: str, settings: Mapping[str, Sequence[str]]) -> list[str]:
    """The command line of one stage, with no setting that is for another.

    Args:
        stage: its name.
        settings: of train.py, by the stage that takes them; those that every stage takes are under "all".

    Returns:
        The arguments of train.py.
    """
    return [f"stage={stage}", *settings["all"], *settings.get(stage, ())]


def run_stage(stage: str, settings: Mapping[str, Sequence[str]], threads: int) -> None:
    """Run a stage to its end by the command line.

    Args:
        stage: its name.
        settings: see `stage_settings`.
        threads: of the process.
    """
    assert start("train.py", stage_settings(stage, settings), threads).wait() == 0, f"stage {stage} failed"


def wait_for(folder: Path, pattern: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until there is a file, or the process that is to make it has ended.

    Args:
        folder: where it is looked for.
        pattern: of its path in the folder, as for `Path.glob`.
        process: that is to make it.
    """
    while process.poll() is None and not list(folder.glob(pattern)):
        time.sleep(0.01)


def difference(ours: torch.Tensor, reference: torch.Tensor) -> float:
    """The largest difference, relative to the range of the reference."""
    return float((ours - reference).abs().max() / (reference.max() - reference.min()))


def report(title: str, rows: Sequence[Mapping[str, Any]], file: Path | None) -> None:
    """Print rows as a table, and write them as JSON with the machine.

    Args:
        title: of the table.
        rows: all with the same columns.
        file: what is written; nothing if None.
    """
    machine = f"{torch.get_num_threads()} threads, torch {torch.__version__}, {_processor()}"
    table = Table(title=f"{title}\n{machine}")
    for name in rows[0]:
        table.add_column(name, justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else f"{value:.4g}" for value in row.values()))
    Console(width=160).print(table)
    if file is not None:
        file.write_text(json.dumps({"title": title, "machine": machine, "rows": list(rows)}, indent=1))


def _processor() -> str:
    """The processor's name, where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
