"""Peak memory of extraction and of an epoch of pretraining, as the store grows tenfold.

python benchmarks/store_memory.py

Runs `train.py` on the synthetic set, with SqueezeNet and random weights. Counted is anonymous memory (RssAnon), for
pages of the store that are mapped can be dropped at any time; sampled every 20 ms, of the main process and of it with
its workers.
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
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[80, 800])
    parser.add_argument("--samples", type=int, default=500, help="of each image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for images in options.images:
            rows.append(measure(Path(folder), images, options.samples, options.threads))
    for row in rows:
        row |= {f"{stage} / the first": row[f"{stage} MB"] / rows[0][f"{stage} MB"] for stage in STAGES}
    report("peak anonymous memory", rows, options.json)


def measure(folder: Path, images: int, samples: int, threads: int) -> dict[str, Any]:
    """Run both stages, and see what memory they need and how large the store is.

    Args:
        folder: of the runs and of the pictures.
        images: to train on.
        samples: of each image.
        threads: of each process.

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
    """Run a command; the most bytes of anonymous memory that it has, without and with its children."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    main_peak = tree_peak = 0
    while process.poll() is None:
        own = anonymous(process.pid)
        main_peak = max(main_peak, own)
        tree_peak = max(tree_peak, own + sum(anonymous(child) for child in children(process.pid)))
        time.sleep(0.02)
    assert process.returncode == 0, f"{command} failed"
    return main_peak, tree_peak


def anonymous(process: int) -> int:
    """Bytes of anonymous memory that a process has now; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def children(process: int) -> list[int]:
    """The processes that it has started."""
    try:
        lists = [path.read_text() for path in Path(f"/proc/{process}/task").glob("*/children")]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(child) for each in lists for child in each.split()]


if __name__ == "__main__":
    main()
