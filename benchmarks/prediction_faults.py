"""predict.py killed at random moments and run again, against one that was left alone: the same files.

python benchmarks/prediction_faults.py MODEL IMAGES

A kill is SIGKILL, at a random moment between the first output and the last; then every file that is there is read, and
the same command runs to its end.
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

import numpy as np
from common import report, start, wait_for
from PIL import Image

RECORD = "predictions.jsonl"  # tells what was done more than once
PICTURES = "**/*.png"


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--number", type=int, default=50, help="of images")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, path in enumerate(sorted(options.images.iterdir())[: options.number]):
            link = folder / "images" / ("deep" if number % 2 else ".") / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        process = begin(folder, "alone", options)
        wait_for(folder / "alone", PICTURES, process)
        writing = time.perf_counter()
        assert process.wait() == 0
        seconds = time.perf_counter() - writing
        whole = contents(folder / "alone")
        print(f"left alone: {len(whole)} files, {seconds:.1f} s from the first to the last")
        same, sound, left = 0, 0, []
        for kill in range(options.kills):
            out = folder / f"killed {kill}"
            process = begin(folder, out.name, options)
            wait_for(out, PICTURES, process)
            time.sleep(chance.uniform(0, seconds))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            there = {name: digest for name, digest in contents(out).items() if name in whole}
            left.append(len(there))
            sound += all(whole[name] == digest for name, digest in there.items() if name != "class_fractions.csv")
            assert begin(folder, out.name, options).wait() == 0
            same += contents(out) == whole and not list(out.rglob(".*"))
            print(f"kill {kill + 1}: {left[-1]} files were there")
    rows: list[dict[str, Any]] = [
        {"what": f"files that a kill left ({min(left)} to {max(left)}) whole", "tried": options.kills, "so": sound},
        {"what": "all files, after the same command", "tried": options.kills, "so": same},
    ]
    report(f"{options.number} images, {len(whole)} files", rows, options.json)
    assert all(row["tried"] == row["so"] for row in rows), "some files differ"


def begin(folder: Path, name: str, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start a prediction to that folder."""
    settings = [f"model={options.model}", f"images={folder / 'images'}", f"out={folder / name}", "device=cpu"]
    settings += ["outputs.confidence=true", "outputs.probabilities=true"]
    return start("predict.py", settings, options.threads)


def contents(out: Path) -> dict[str, str]:
    """The sha256 of what each file holds, but for the record; raises if one can't be read."""
    found = {}
    files = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in sorted(path for path in files if path.name != RECORD):
        if path.suffix == ".npz":  # which also holds the time when it was written
            with np.load(path) as arrays:
                data = b"".join(arrays[name].tobytes() for name in arrays.files)
        else:
            data = path.read_bytes()
            if path.suffix in (".png", ".jpg"):
                with Image.open(path) as image:
                    image.load()
        found[path.relative_to(out).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


if __name__ == "__main__":
    main()
