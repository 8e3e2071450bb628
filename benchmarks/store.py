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
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import CLASSES, CONF, HIDDEN, make_backbone, report
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor

from hypercolumns.data import SampleDataModule
from hypercolumns.data.batch_samplers import SampleBatchSampler
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runs.fit import fit
from hypercolumns.runs.run import Run
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.training import optimization, trainer
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter
from hypercolumns.store.reader import Samples, Split
from hypercolumns.tasks import PixelClassificationTask

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
        writer.write_index()
    return SampleStore(folder)


def reading(store: SampleStore, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Read all rows by both sides, in turns, and check that they read the same.

    Args:
        store: of samples.
        folder: that has room for a copy of its features.
        options: with `batch` and `rounds`.

    Returns:
        A row of the table.
    """
    split = store.split("train")
    array = as_array(split, folder / "all.npy")
    times: dict[str, list[float]] = {"numpy": [], "numpy, ascending": [], "ours": []}
    for epoch in range(options.rounds + 1):  # the first one warms up
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(epoch))
        drawn = [rows.numpy() for rows in order.split(options.batch)]
        for name, batches in {"numpy": drawn, "numpy, ascending": [np.sort(rows) for rows in drawn]}.items():
            start = time.perf_counter()
            for rows in batches:
                array[rows]
            times[name].append(time.perf_counter() - start)
        loader = SampleDataModule(store, options.batch, seed=epoch).train_dataloader()
        start = time.perf_counter()
        for _ in loader:
            pass
        times["ours"].append(time.perf_counter() - start)
    first: Tensor = next(iter(SampleBatchSampler(len(split), options.batch, options.rounds)))
    assert torch.equal(split.fetch(first)[0], torch.from_numpy(array[first.numpy()])), "ours are not the same rows"
    pace = {name: len(split) / float(np.median(each[1:])) for name, each in times.items()}
    return {
        "GB": split.bytes / 1e9,
        "shards": len(split.shards),
        "batch": options.batch,
        **{f"{name} rows/s": each for name, each in pace.items()},
        "ours / numpy": pace["ours"] / pace["numpy"],
        "ours / numpy, ascending": pace["ours"] / pace["numpy, ascending"],
    }


def as_array(split: Split, file: Path) -> NDArray[np.float16]:
    """Copy the features of a split to a file, and map it into memory; (N, D) float16."""
    array = np.lib.format.open_memmap(file, "w+", np.float16, (len(split), CHANNELS))
    for number in range(len(split.shards)):
        features = split.tensors(number)["features"].numpy()
        array[split.start(number) : split.start(number) + len(features)] = features
    array.flush()
    mapped: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return mapped


def training(store: SampleStore, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Train by both sides, in turns, and check that they end with the same classifier.

    Args:
        store: of samples.
        folder: of the runs.
        options: with `batch`, `epochs` and `rounds`.

    Returns:
        A row of the table.
    """
    cfg = pretrain_config(options.batch, options.epochs)
    quiet_libraries()
    split, backbone = store.split("train"), make_backbone("sqn")
    held = hold_batches(split, options.batch, options.epochs, cfg.seed)
    sides: dict[str, Callable[[int], MLPClassifier]] = {
        "Lightning": lambda number: train_by_lightning(cfg, store, backbone, folder / f"run {number}"),
        "bare loop": lambda _: train_by_bare_loop(cfg, split, held),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    ends: dict[str, MLPClassifier] = {}
    for number in range(options.rounds + 1):  # the first one warms up
        for name, side in sides.items():
            begin = time.perf_counter()
            ends[name] = side(number)
            times[name].append(time.perf_counter() - begin)
    seconds = {name: float(np.median(each[1:])) for name, each in times.items()}
    off = difference_of_logits(ends["Lightning"], ends["bare loop"], split)
    assert off < 1e-2, f"they don't end with the same classifier: {off}"
    return {
        "batch": options.batch,
        "steps": options.epochs * len(held[0]),
        "Lightning s": seconds["Lightning"],
        "bare loop s": seconds["bare loop"],
        "Lightning / bare loop": seconds["Lightning"] / seconds["bare loop"],
        "difference of the logits": off,
    }


def pretrain_config(batch: int, epochs: int) -> DictConfig:
    """The settings of stage pretrain, at a constant rate."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"batch_size={batch}", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu"]
        return compose("train", ["stage=pretrain", "scheduler=constant", *settings])


def hold_batches(split: Split, batch: int, epochs: int, seed: int) -> list[list[Samples]]:
    """Read the batches of every epoch into memory, as stage pretrain draws them.

    Args:
        split: of a store.
        batch: the samples of a step.
        epochs: how many.
        seed: of the order.

    Returns:
        The batches of each epoch.
    """
    return [
        [split.fetch(rows) for rows in SampleBatchSampler(len(split), batch, seed, epoch)] for epoch in range(epochs)
    ]


def new_classifier(split: Split) -> MLPClassifier:
    """The same random classifier at each call."""
    torch.manual_seed(0)
    classifier = MLPClassifier(CHANNELS, CLASSES, HIDDEN)
    classifier.set_statistics(*split.statistics())
    return classifier


def train_by_lightning(cfg: DictConfig, store: SampleStore, backbone: Backbone, run: Path) -> MLPClassifier:
    """Train a classifier as stage pretrain does.

    Args:
        cfg: the settings of stage pretrain.
        store: of samples.
        backbone: that a checkpoint holds beside the classifier; not used.
        run: a new folder.

    Returns:
        The classifier of the last epoch.
    """
    classifier = new_classifier(store.split("train"))
    names = [str(label) for label in range(CLASSES)]
    task = PixelClassificationTask(classifier, names, **optimization(cfg))
    data = SampleDataModule(store, cfg.batch_size, cfg.num_workers, cfg.seed)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, names)
    fit(task, data, run, lambda: trainer(cfg, Run(run), data, segmenter))
    task.load_state_dict(torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    return classifier


def train_by_bare_loop(cfg: DictConfig, split: Split, epochs: list[list[Samples]]) -> MLPClassifier:
    """Train a classifier on batches that are in memory.

    Args:
        cfg: the settings of stage pretrain.
        split: that the batches are of.
        epochs: the batches of each.

    Returns:
        The classifier of the last epoch.
    """
    classifier = new_classifier(split).train()
    optimizer = optimization(cfg)["optimizer"](classifier.parameters())
    for batches in epochs:
        for features, labels, coordinates in batches:
            loss = torch.nn.functional.cross_entropy(classifier(features.float(), coordinates), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return classifier


def difference_of_logits(ours: MLPClassifier, reference: MLPClassifier, split: Split) -> float:
    """Compare two classifiers on the first samples of a split.

    Args:
        ours: the one that is judged.
        reference: the other one.
        split: of a store.

    Returns:
        The largest difference of the logits, relative to the largest logit of the reference.
    """
    features, _, coordinates = split.fetch(torch.arange(min(len(split), 10_000)))
    with torch.inference_mode():
        found, wanted = (each.eval()(features.float(), coordinates) for each in (ours, reference))
    return float((found - wanted).abs().max() / wanted.abs().max())


if __name__ == "__main__":
    main()
