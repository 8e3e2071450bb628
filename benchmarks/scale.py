"""What an image, a sample and a step cost on this machine, and what the stages would then cost at any size.

python benchmarks/scale.py
python benchmarks/scale.py data=voc data.root=DIR cnn.weights=FILE --machines 1 8 64

Costs are measured with the settings given (those of train.py), by default on pictures of grain and with random weights,
in one thread; `scale_model.py` has the arithmetic. What they come to is printed for this machine, and for others that
are assumed (--cores, --disk, --network, --memory, --accelerator, --machines). Then each stage in --check is run by its
command, on few and on all of the train images, and what all took more is compared with the prediction.
"""

import argparse
import itertools
import math
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, report, start
from PIL import Image
from scale_costs import PIXELS, config, measure
from scale_model import STAGES, Case, Costs, Machines, counts_bytes, ids_bytes, store_bytes
from store import CHANNELS, PER_IMAGE, make_store

from hypercolumns.data.batch_samplers import SampleBatchSampler
from hypercolumns.io.images import write_image, write_mask
from hypercolumns.labels import voc_palette
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter
from hypercolumns.store.writer import MIN_SHARD_IMAGES

CASES = (Case("VOC 2012", 1464, 1449), Case("10^5 images", 90_000, 10_000), Case("10^7 images", 9_000_000, 1_000_000))
CASES += (Case("10^9 samples", 1_800_000, 200_000),)
SETTINGS = ["sampler=uniform", "sampler.n=500", "trainer.accelerator=cpu"]
CLASSES, SIZE = 21, (375, 500)
FEW = 8  # the smaller run of a stage has 1 in so many of the train images


def main() -> None:
    """Measure, work out, check, and print."""
    options = parse()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        given = any(setting.startswith("data=") for setting in options.settings)
        data = [] if given else synthetic(Path(folder), options.images)
        settings = [*data, *options.settings, *SETTINGS, f"runs={folder}/runs"]
        costs, rows = measure(settings, Path(folder), options.rounds)
        report(f"costs, {' '.join(options.settings)}", rows, options.json)
        disk, network = options.disk * 1e6, options.network * 1e9 / 8
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        here = Machines(os.cpu_count() or 1, disk, network, memory)
        other = Machines(options.cores, disk, network, options.memory * 1e9, accelerator=options.accelerator)
        for machines in (here, *(other._replace(number=number) for number in options.machines)):
            title = f"{machines.number} machines, each {machines.cores} cores, accelerator as {machines.accelerator:g}"
            report(title, [line for case in CASES for line in predict(costs, case, machines)], None)
        report("disk and memory", [sizes(costs, case) for case in CASES], None)
        report("a shard", [shards(Path(folder) / "shards", options.shards)], None)
        samples = int(options.gigabytes * 1e9 / CHANNELS / 2)
        store = make_store(Path(folder) / "store", max(samples // PER_IMAGE, 64))
        report("reading a store from disk", [cold(store, number) for number in (1, 8, 64)], None)
        if options.check:
            report("predicted and measured", [check(costs, stage, settings, options) for stage in options.check], None)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = arguments(__doc__, 3)
    parser.set_defaults(threads=1)
    parser.add_argument("settings", nargs="*", help="of train.py; without data=, synthetic pictures")
    parser.add_argument("--images", type=int, default=256, help="of the synthetic train split; a quarter to validate")
    parser.add_argument("--disk", type=float, default=2000, metavar="MB/s", help="of each machine")
    parser.add_argument("--network", type=float, default=10, metavar="Gbit/s", help="of each machine")
    parser.add_argument("--memory", type=float, default=64, metavar="GB", help="that can hold files")
    parser.add_argument("--cores", type=int, default=16, help="of each machine")
    parser.add_argument("--accelerator", type=float, default=100, help="how many such cores it is as fast as; 0: none")
    parser.add_argument("--machines", type=int, nargs="*", default=[1, 8], help="how many")
    parser.add_argument("--shards", type=int, default=512, help="of the store that measures what they cost")
    parser.add_argument("--gigabytes", type=float, default=2, help="of the store that is read from disk")
    parser.add_argument("--runs", type=int, default=3, help="of each command, of which the median is taken")
    parser.add_argument(
        "--check", nargs="*", default=["extract", "pretrain", "train"], help="stages that are run, in this order"
    )
    return parser.parse_args()


def synthetic(folder: Path, images: int) -> list[str]:
    """The settings of a new set in VOC's layout: blots of 20 classes in grain, whose JPEGs are as large as photos'."""
    layout = folder / "VOCdevkit" / "VOC2012"
    (layout / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, count in (("train", images), ("val", max(images // 4, 1))):
        names = [f"{split}_{number:06d}" for number in range(count)]
        (layout / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
        for number, name in enumerate(names):
            random = np.random.default_rng([number, split == "val"])
            blots = Image.fromarray(random.integers(0, 256, (6, 8, 3), np.uint8)).resize(
                SIZE[::-1], Image.Resampling.BICUBIC
            )
            grain = random.normal(0, 45, (*SIZE, 3))
            write_image(
                layout / "JPEGImages" / f"{name}.jpg", Image.fromarray((blots + grain).clip(0, 255).astype(np.uint8))
            )
            labels = np.asarray(blots)[..., 0] // 64 * 5 + np.asarray(blots)[..., 1] // 52
            write_mask(layout / "SegmentationClass" / f"{name}.png", labels, voc_palette(CLASSES))
    return ["data=voc", f"data.root={folder}", "cnn.weights=null"]


def predict(costs: Costs, case: Case, machines: Machines) -> Iterator[dict[str, Any]]:
    """A row of a table for each stage."""
    for name, stage in STAGES.items():
        load = stage(costs, case, machines)
        parts = ", ".join(f"{part} {duration(seconds)}" for part, seconds in load.parts.items())
        yield {"case": case.name, "stage": name, "all": duration(load.seconds), "first": load.first, "parts": parts}


def duration(seconds: float) -> str:
    """In the unit that suits."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    unit, length = next(one for one in units if seconds >= 2 * one[1] or one[1] == 1)
    return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"


def sizes(costs: Costs, case: Case) -> dict[str, Any]:
    """What a case takes of memory and disk."""
    return {
        "case": case.name,
        "files GB": case.images * costs.file_bytes / 1e9,
        "store GB": store_bytes(costs, case) / 1e9,
        "ids GB": ids_bytes(costs, case) / 1e9,
        "counts GB": counts_bytes(costs, case) / 1e9,
    }


def cold(store: SampleStore, processes: int) -> dict[str, Any]:
    """What one of several processes reads of a store in an epoch, if none of it is in memory before (on Linux)."""
    for shard in store.split("train").shards:
        with shard.file.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    split, before, begin = SampleStore(store.folder).split("train"), from_disk(), time.perf_counter()
    for rows in SampleBatchSampler(len(split), 1024 // processes, 0, world_size=processes):
        split.fetch(rows)
    seconds, read = time.perf_counter() - begin, from_disk() - before
    return {
        "processes": processes,
        "its share": 1 / processes,
        "wall s": seconds,
        "MB/s": read / seconds / 1e6,
        "read / store": read / split.bytes,
    }


def from_disk() -> int:
    """Bytes that this process has caused to be read."""
    return int(Path("/proc/self/io").read_text().partition("read_bytes: ")[2].split()[0])


def shards(folder: Path, number: int) -> dict[str, Any]:
    """What a shard costs, whatever is in it, in a store of so many."""
    nothing = torch.zeros(1, 1)
    image = ImageSamples("2012_000001", (1, 1), torch.zeros(1, 2), nothing[0].long(), nothing)
    images = [image] * MIN_SHARD_IMAGES
    clock = [time.process_time()]
    with StoreWriter(folder, {}, {"train": number * len(images)}) as writer:
        for shard in writer.claims("train"):
            writer.write(shard, images)
        writer.finish()
    clock.append(time.process_time())
    assert not StoreWriter(folder, {}, {"train": number * len(images)}).missing("train")
    clock.append(time.process_time())
    SampleStore(folder).split("train").statistics()
    clock.append(time.process_time())
    each = (1e3 * (after - before) / number for before, after in itertools.pairwise(clock))
    names = ("claim and write", "look whether it is there", "open and map")
    return {"shards": number} | {f"{name}, core ms each": one for name, one in zip(names, each, strict=True)}


def check(costs: Costs, stage: str, settings: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """What a stage takes for all train images more than for some of them, predicted and measured."""
    images = image_index(config(stage, settings))
    train, val = (len(images.splits[split]) for split in ("train", "val"))
    once = ["trainer.max_epochs=1", f"pixels={PIXELS}"] if stage == "train" else ["val_images=0", "embedding=0"]
    few = max(train // FEW, 1)
    walls: dict[int, list[float]] = {few: [], train: []}
    cores: dict[int, list[float]] = {few: [], train: []}
    for _, number in itertools.product(range(options.runs), walls):
        command = [f"stage={stage}", *settings, *once, f"data.train_subset={number}", "overwrite=true"]
        begin = time.perf_counter(), used()
        assert start("train.py", command, options.threads).wait() == 0, f"stage {stage} failed"
        walls[number].append(time.perf_counter() - begin[0])
        cores[number].append(used() - begin[1])
    work = STAGES["train, some pixels" if stage == "train" else stage]
    every = os.cpu_count() or 1
    own = (
        options.threads if options.threads < every else 0
    )  # cores of the main process, beside which workers have theirs
    free = Machines(every, disk=math.inf, network=math.inf, memory=math.inf, accelerator=own)
    cases = [Case("", number, val, train_epochs=1) for number in walls]
    wall, core = (statistics.median(of[train]) - statistics.median(of[few]) for of in (walls, cores))
    low, high = (work(costs, case, free).seconds for case in cases)
    least, most = (sum(work(costs, case, free._replace(cores=1, accelerator=0)).parts.values()) for case in cases)
    return {
        "stage": stage,
        "train images": f"{train} - {few}",
        "wall s": wall,
        "predicted wall s": high - low,
        "predicted / measured": (high - low) / wall,
        "core s": core,
        "predicted core s": most - least,
        "predicted / measured core s": (most - least) / core,
    }


def used() -> float:
    """Seconds of the processor that the processes that have been started and have ended took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
