"""Peak memory of extraction and of an epoch of pretraining, as the store grows tenfold.

python benchmarks/store_memory.py

The benchmark runs `train.py` on the synthetic set with SqueezeNet and random weights. It samples the anonymous memory
(RssAnon) every 20 ms, of the main process alone and together with its workers. Memory-mapped pages of the store are not
counted, because the system can drop them at any time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import ROOT, report, stage_settings

STAGES = ("extract", "pretrain")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[80, 800])
    parser.add_argument("--samples", type=int, default=500, help="number of samples from each image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for images in options.images:
            rows.append(measure(Path(folder), images, options.samples, options.threads))
    for row in rows:
        row |= {f"{stage} / first row": row[f"{stage} MB"] / rows[0][f"{stage} MB"] for stage in STAGES}
    report("peak anonymous memory", rows, options.json)


def measure(folder: Path, images: int, samples: int, threads: int) -> dict[str, Any]:
    """Run both stages, and measure their peak memory and the size of the store.

    Args:
        folder: folder for the runs and the pictures.
        images: number of train images.
        samples: number of samples from each image.
        threads: number of OpenMP threads of each process.

    Returns:
        A row of the table.
    """
    row: dict[str, Any] = {"images": images}
    data = ["data=shapes", f"data.root={folder}/data", f"data.train_images={images}", "data.val_images=40"]
    settings = {
        "all": [*data, f"runs={folder}/{images}", "cnn.weights=null", "trainer.accelerator=cpu"],
        "extract": ["num_workers=0", "sampler=uniform", f"sampler.n={samples}"],
        "pretrain": ["trainer.max_epochs=1", "val_images=0", "batch_size=4096"],
    }
    for stage in STAGES:
        command = [sys.executable, str(ROOT / "train.py"), *stage_settings(stage, settings)]
        main_peak, tree_peak = peaks(command, threads)
        row |= {f"{stage} MB": main_peak / 1e6, f"{stage} with workers MB": tree_peak / 1e6}
    shards = (folder / str(images)).rglob("train-*.safetensors")
    return row | {"store MB": sum(path.stat().st_size for path in shards) / 1e6}


def peaks(command: list[str], threads: int) -> tuple[int, int]:
    """Run a command, and return its peak anonymous memory in bytes, without and with its child processes."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    main_peak = tree_peak = 0
    while process.poll() is None:
        main = anonymous(process.pid)
        main_peak = max(main_peak, main)
        tree_peak = max(tree_peak, main + sum(anonymous(child) for child in children(process.pid)))
        time.sleep(0.02)
    assert process.returncode == 0, f"{command} failed"
    return main_peak, tree_peak


def anonymous(process: int) -> int:
    """Return the anonymous memory of a process in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def children(process: int) -> list[int]:
    """Return the ids of the child processes of a process; none if the process has ended."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for each in lists for child in each.split()]


if __name__ == "__main__":
    main()
