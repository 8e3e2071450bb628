"""Random mini-batches from a store of samples, against numpy; and pretraining through Lightning, against a bare loop.

python benchmarks/store.py

The store is made for the occasion, in a temporary folder that needs twice its size. First, all rows are read in random
mini-batches: by numpy, indexing one memory-mapped array with the rows in the order drawn and in ascending order, and by
the loader of stage pretrain. They have been read before, so they come from memory as far as it holds them. Then the
default classifier is trained: the bare loop has the same batches in memory.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, HIDDEN, make_backbone, report
from hydra import compose, initialize_config_dir

from hypercolumns.data import SampleDataModule
from hypercolumns.data.batch_samplers import SampleBatchSampler
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.settings import build, inference
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter
from hypercolumns.tasks import PixelClassificationTask

CONF = Path(__file__).parents[1] / "conf"
CHANNELS, PER_IMAGE = 1504, 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.5, help="of the store")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=80, help="of training in an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the second table as data too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for title, side, samples in (
        ("random mini-batches", reading, int(options.gigabytes * 1e9 / (CHANNELS * 2))),
        ("pretraining", training, options.steps * options.batch),
    ):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            store = make_store(Path(folder) / "store", max(64, samples // PER_IMAGE))
            report(title, [side(store, Path(folder), options)], options.json)


def make_store(folder: Path, images: int) -> SampleStore:
    """A store of random samples of so many images, whose classes differ a little in all channels."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(PER_IMAGE + images, CHANNELS, generator=generator).half()
    centres = torch.randn(CLASSES, CHANNELS, generator=generator).half()

    def samples(number: int) -> ImageSamples:
        labels = torch.randint(CLASSES, (PER_IMAGE,), generator=torch.Generator().manual_seed(number))
        features = noise[number : number + PER_IMAGE] + centres[labels] / 24
        return ImageSamples(str(number), (PER_IMAGE, 1), torch.zeros(PER_IMAGE, 2), labels, features)

    with StoreWriter(folder, {"of": "random numbers"}, {"train": images, "val": 1}) as writer:
        for split in ("train", "val"):
            for shard in writer.claims(split):
                writer.write(shard, [samples(number) for number in writer.images(shard)])
        writer.finish()
    return SampleStore(folder)


def reading(store: SampleStore, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Rows a second of both sides, in turns, and that they read the same."""
    split = store.split("train")
    array = np.lib.format.open_memmap(folder / "all.npy", "w+", np.float16, (len(split), CHANNELS))
    for number in range(len(split.shards)):
        features = split.tensors(number)["features"].numpy()
        array[split.start(number) : split.start(number) + len(features)] = features
    array.flush()
    array = np.load(folder / "all.npy", mmap_mode="r")
    times: dict[str, list[float]] = {"numpy": [], "numpy, ascending": [], "ours": []}
    for epoch in range(options.rounds + 1):  # the first one warms up
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(epoch))
        drawn = [rows.numpy() for rows in order.split(options.batch)]
        ascending = [np.sort(rows) for rows in drawn]
        for name, rows in {"numpy": drawn, "numpy, ascending": ascending}.items():
            start = time.perf_counter()
            for each in rows:
                array[each]
            times[name].append(time.perf_counter() - start)
        loader = SampleDataModule(store, options.batch, seed=epoch).train_dataloader()
        start = time.perf_counter()
        for _ in loader:
            pass
        times["ours"].append(time.perf_counter() - start)
    rows = next(iter(SampleBatchSampler(len(split), options.batch, options.rounds)))
    assert torch.equal(split.fetch(rows)[0], torch.from_numpy(array[rows.numpy()])), "ours are not the same rows"
    pace = {name: len(split) / float(np.median(each[1:])) for name, each in times.items()}
    return {
        "GB": split.bytes / 1e9,
        "shards": len(split.shards),
        "batch": options.batch,
        **{f"{name} rows/s": rows for name, rows in pace.items()},
        "ours / numpy": pace["ours"] / pace["numpy"],
        "ours / numpy, ascending": pace["ours"] / pace["numpy, ascending"],
    }


def training(store: SampleStore, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Seconds of both sides, in turns, and that they end with the same classifier."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"batch_size={options.batch}", f"trainer.max_epochs={options.epochs}", "trainer.accelerator=cpu"]
        cfg = compose("train", ["stage=pretrain", "scheduler=constant", *settings])
    inference.quiet_libraries()
    split = store.split("train")
    held = [
        [split.fetch(rows) for rows in SampleBatchSampler(len(split), options.batch, cfg.seed, epoch)]
        for epoch in range(options.epochs)
    ]

    def start() -> MLPClassifier:
        torch.manual_seed(0)
        classifier = MLPClassifier(CHANNELS, CLASSES, HIDDEN)
        classifier.set_statistics(*split.statistics())
        return classifier

    backbone, classes = make_backbone("sqn"), [str(label) for label in range(CLASSES)]

    def lightning(number: int) -> MLPClassifier:
        classifier = start()
        task = PixelClassificationTask(classifier, classes, **build.optimization(cfg))
        data = SampleDataModule(store, options.batch, cfg.num_workers, cfg.seed)
        build.fit(
            cfg,
            task,
            data,
            Segmenter(backbone, classifier, classes),
            folder / f"run {number}",
            folder / f"events {number}",
        )
        task.load_state_dict(
            torch.load(folder / f"run {number}/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        )
        return classifier

    def bare(number: int) -> MLPClassifier:
        classifier = start().train()
        optimizer = build.optimization(cfg)["optimizer"](classifier.parameters())
        for batches in held:
            for features, labels, places in batches:
                loss = torch.nn.functional.cross_entropy(classifier(features.float(), places), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return classifier

    times: dict[str, list[float]] = {"Lightning": [], "bare loop": []}
    ends: dict[str, MLPClassifier] = {}
    for number in range(options.rounds + 1):
        for name, side in (("Lightning", lightning), ("bare loop", bare)):
            begin = time.perf_counter()
            ends[name] = side(number)
            times[name].append(time.perf_counter() - begin)
    seconds = {name: float(np.median(each[1:])) for name, each in times.items()}
    features, _, places = split.fetch(torch.arange(min(len(split), 10_000)))
    with torch.inference_mode():
        logits = {name: classifier.eval()(features.float(), places) for name, classifier in ends.items()}
    off = float((logits["Lightning"] - logits["bare loop"]).abs().max() / logits["bare loop"].abs().max())
    assert off < 1e-2, f"they don't end with the same classifier: {off}"
    return {
        "batch": options.batch,
        "steps": options.epochs * len(held[0]),
        "Lightning s": seconds["Lightning"],
        "bare loop s": seconds["bare loop"],
        "Lightning / bare loop": seconds["Lightning"] / seconds["bare loop"],
        "difference of the logits": off,
    }


if __name__ == "__main__":
    main()
