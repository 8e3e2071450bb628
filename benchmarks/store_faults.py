"""Extraction killed at random moments and shared among processes, against one that was left alone: the same bytes.

python benchmarks/store_faults.py

Runs `train.py stage=extract` on the synthetic set, with SqueezeNet and random weights. A kill is SIGKILL, at a random
moment between the first file of the store and its last; then the same command runs to its end.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import report, start, wait_for

FILES = "*/*/samples/*/*"  # of a store, in a folder of runs


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--writers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        begin(folder, "whole", options).wait()
        began = time.perf_counter()
        first = begin(folder, "alone", options)
        wait_for(folder / "alone", FILES, first)
        writing = time.perf_counter()
        assert first.wait() == 0
        seconds = time.perf_counter() - writing
        whole = contents(folder / "alone")
        assert whole == contents(folder / "whole"), "two runs that were left alone differ"
        print(f"left alone: {len(whole)} files, {writing - began:.1f} s to the first and {seconds:.1f} s more")

        same, left = 0, []
        for kill in range(options.kills):
            name = f"killed {kill}"
            process = begin(folder, name, options)
            wait_for(folder / name, FILES, process)
            time.sleep(chance.uniform(0, seconds))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            left.append(len(list((folder / name).rglob("*.safetensors"))))
            assert begin(folder, name, options).wait() == 0
            equal = contents(folder / name) == whole
            same += equal
            print(f"kill {kill + 1}: {left[-1]} shards were there; completed, it is {'' if equal else 'NOT '}the same")
        rows: list[dict[str, Any]] = [
            {"what": f"SIGKILL, {min(left)} to {max(left)} shards done", "tried": options.kills, "the same": same}
        ]
        for count in options.writers:
            name = f"{count} writers"
            writers = [begin(folder, name, options) for _ in range(count)]
            ends = [writer.wait() for writer in writers]
            equal = not any(ends) and contents(folder / name) == whole
            rows.append({"what": name, "tried": 1, "the same": int(equal)})
        report(f"a store of {options.images} images, {len(whole)} files", rows, options.json)
        assert all(row["tried"] == row["the same"] for row in rows), "some stores differ"


def begin(folder: Path, name: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start an extraction to runs/<name>."""
    settings = ["stage=extract", "data=shapes", f"data.train_images={options.images}", "data.val_images=40"]
    settings += ["cnn.weights=null", "sampler=uniform", "sampler.n=300", "embedding=0", "trainer.accelerator=cpu"]
    settings += [f"runs={folder / name}", f"data.root={folder / 'data'}"]
    return start("train.py", settings, options.threads)


def contents(runs: Path) -> dict[str, str]:
    """The sha256 of each file of the store, but for the config, which names the folder."""
    files = [path for path in runs.glob(FILES) if path.name != "config.yaml"]
    assert len({path.parent for path in files}) == 1, f"not one store in {runs}"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


if __name__ == "__main__":
    main()
