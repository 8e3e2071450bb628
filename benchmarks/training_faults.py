"""Each stage killed at random moments and started again, against one that was left alone: the same bytes.

python benchmarks/training_faults.py
python benchmarks/training_faults.py data=voc data.root=DIR cnn.weights=FILE

A kill is SIGKILL, SIGTERM, SIGINT or SIGUSR1, in turns, at a random moment between the first file of the stage and the
end; one that comes too late is tried again. Settings of train.py may follow the options.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from common import report, start, wait_for

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SETTINGS = "data=shapes data.train_images=120 data.val_images=16 cnn.weights=null num_workers=1 embedding=0".split()
SETTINGS += "classifier.hidden=64 classifier.dropout=0.5 trainer.accelerator=cpu checkpoint_minutes=0.01".split()
OF_STAGE = {
    "extract": ["sampler.n=30"],
    "pretrain": ["trainer.max_epochs=10", "batch_size=128"],
    "train": [
        "trainer.max_epochs=3",
        "pixels=500",
        "augment.crop=64",
        "augment.flip=0.5",
        "start_share=0.5",
        "~callbacks.prediction_panels",
    ],
}
FIRST = {"extract": "samples/*/fingerprint.json", "pretrain": "pretrain/*/run.json", "train": "train/*/run.json"}
LAST = {"extract": "samples/*/index.json", "pretrain": "pretrain/latest", "train": "train/latest"}
RESULT = {"extract": "samples/*/*-*.*", "pretrain": "pretrain/*/model.*", "train": "train/*/model.*"}


def main() -> None:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help="of train.py")
    parser.add_argument("--stage", choices=OF_STAGE, help="the one that is killed; otherwise each of them")
    parser.add_argument("--kills", type=int, default=10, help="of each stage")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as data too")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for stage in OF_STAGE:
            process, begun = begin(stage, place, options), time.perf_counter()
            wait_for(place, f"runs/*/*/{FIRST[stage]}", process)
            first = time.perf_counter()
            assert process.wait() == 0
            seconds, whole, codes = time.perf_counter() - first, contents(stage, place), []
            if options.stage not in (None, stage):  # its result is there for the next
                continue
            print(f"{stage}: {first - begun:.1f} s to its first file, {seconds:.1f} s from there to the end")
            same = late = 0
            while len(codes) < options.kills:
                for folder in place.glob(f"runs/*/*/{FIRST[stage].partition('/')[0]}"):
                    shutil.rmtree(folder)
                process = begin(stage, place, options)
                wait_for(place, f"runs/*/*/{FIRST[stage]}", process)
                time.sleep(chance.uniform(0, seconds))
                process.send_signal(SIGNALS[len(codes) % len(SIGNALS)])
                process.wait()
                if any(place.glob(f"runs/*/*/{LAST[stage]}")):  # there was nothing more to do
                    late += 1
                    continue
                codes.append(process.returncode)
                number = SIGNALS[(len(codes) - 1) % len(SIGNALS)]
                assert codes[-1] in (-number, 128 + number), "it ended by itself"
                again = time.perf_counter()
                assert begin(stage, place, options).wait() == 0
                same += contents(stage, place) == whole
                print(f"kill {len(codes)}: exit code {codes[-1]}, then {time.perf_counter() - again:.1f} s to the end")
            rows.append({"stage": stage, "killed": len(codes), "too late to": late, "the same bytes": same})
            if stage == options.stage:
                break
    report("killed, and started again", rows, options.json)
    assert all(row["killed"] == row["the same bytes"] for row in rows), "some files differ"


def begin(stage: str, place: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start a stage."""
    where = [f"runs={place / 'runs'}", f"data.root={place / 'data'}"]
    settings = [*SETTINGS, *where, *OF_STAGE[stage], *options.settings, f"stage={stage}"]
    return start("train.py", settings, options.threads)


def contents(stage: str, place: Path) -> dict[str, str]:
    """The sha256 of what the stage is there to make, by path."""
    files = sorted(place.glob(f"runs/*/*/{RESULT[stage]}"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.parent.name != "latest"}


if __name__ == "__main__":
    main()
