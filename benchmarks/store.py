"""Random mini-batches from a sample store compared with numpy, and pretraining with Lightning with a bare loop.

python benchmarks/store.py

The benchmark writes a store to a temporary folder, which needs twice the size of the store. The first table times the
reading of all rows in random mini-batches: numpy indexes one memory-mapped array with the rows in random or ascending
order, and the loader of stage pretrain reads the store. A warm-up reads all rows first, so they come from memory if
they fit. The second table times the training of the default classifier; the bare loop has the same batches in memory.
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
from hypercolumns.settings.loggers import run_loggers
from hypercolumns.settings.training import optimization, trainer
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter
from hypercolumns.store.reader import Samples, Split
from hypercolumns.tasks import PixelClassificationTask

CHANNELS, PER_IMAGE = 1504, 500


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.5, help="size of the store")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=80, help="training steps in an epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="timings of each side; the tables show their median")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="folder for the temporary folder")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the second table as JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for title, side, samples in (
        ("random mini-batches", reading, int(options.gigabytes * 1e9 / (CHANNELS * 2))),
        ("pretraining", training, options.steps * options.batch),
    ):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            store = make_store(Path(folder) / "store", max(16, samples // PER_IMAGE))
            report(title, [side(store, Path(folder), options)], options.json)


def make_store(folder: Path, images: int) -> SampleStore:
    """Write a store of random samples of `images` images; the class means differ a little in every channel."""
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
    """Time the reading of all rows by numpy and by the store in turns, and check that they read the same rows.

    Args:
        store: the sample store.
        folder: a folder with room for a copy of the features.
        options: options `batch` and `rounds`.

    Returns:
        A row of the table.
    """
    split = store.split("train")
    array = as_array(split, folder / "all.npy")
    times: dict[str, list[float]] = {"numpy": [], "numpy, ascending": [], "ours": []}
    for epoch in range(options.rounds + 1):  # the first round warms up
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
    assert torch.equal(split.fetch(first)[0], torch.from_numpy(array[first.numpy()])), (
        "the store returned other rows than numpy"
    )
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
    """Copy the features of a split to a file, and return the memory-mapped array (N, D) float16."""
    array = np.lib.format.open_memmap(file, "w+", np.float16, (len(split), CHANNELS))
    for number in range(len(split.shards)):
        features = split.tensors(number)["features"].numpy()
        array[split.start(number) : split.start(number) + len(features)] = features
    array.flush()
    mapped: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return mapped


def training(store: SampleStore, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Time training with Lightning and in a bare loop in turns, and check that the classifiers are the same.

    Args:
        store: the sample store.
        folder: folder for the runs.
        options: options `batch`, `epochs` and `rounds`.

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
    for number in range(options.rounds + 1):  # the first round warms up
        for name, side in sides.items():
            begin = time.perf_counter()
            ends[name] = side(number)
            times[name].append(time.perf_counter() - begin)
    seconds = {name: float(np.median(each[1:])) for name, each in times.items()}
    off = difference_of_logits(ends["Lightning"], ends["bare loop"], split)
    assert off < 1e-2, f"the classifiers differ: their logits are {off} apart"
    return {
        "batch": options.batch,
        "steps": options.epochs * len(held[0]),
        "Lightning s": seconds["Lightning"],
        "bare loop s": seconds["bare loop"],
        "Lightning / bare loop": seconds["Lightning"] / seconds["bare loop"],
        "difference of the logits": off,
    }


def pretrain_config(batch: int, epochs: int) -> DictConfig:
    """Compose the settings of stage pretrain with a constant learning rate."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"batch_size={batch}", f"trainer.max_epochs={epochs}", "trainer.accelerator=cpu"]
        return compose("train", ["stage=pretrain", "scheduler=constant", *settings])


def hold_batches(split: Split, batch: int, epochs: int, seed: int) -> list[list[Samples]]:
    """Read the batches of every epoch into memory in the order of stage pretrain.

    Args:
        split: a split of the store.
        batch: number of samples in a batch.
        epochs: number of epochs.
        seed: seed of the order.

    Returns:
        The batches of each epoch.
    """
    return [
        [split.fetch(rows) for rows in SampleBatchSampler(len(split), batch, seed, epoch)] for epoch in range(epochs)
    ]


def new_classifier(split: Split) -> MLPClassifier:
    """Return a classifier with the same random weights at each call."""
    torch.manual_seed(0)
    classifier = MLPClassifier(CHANNELS, CLASSES, HIDDEN)
    classifier.set_statistics(*split.statistics())
    return classifier


def train_by_lightning(cfg: DictConfig, store: SampleStore, backbone: Backbone, run: Path) -> MLPClassifier:
    """Train a classifier as stage pretrain does.

    Args:
        cfg: the settings of stage pretrain.
        store: the sample store.
        backbone: the backbone that checkpoints contain; the training does not use it.
        run: a new folder for the run.

    Returns:
        The classifier of the last epoch.
    """
    classifier = new_classifier(store.split("train"))
    names = [str(label) for label in range(CLASSES)]
    task = PixelClassificationTask(classifier, names, **optimization(cfg))
    data = SampleDataModule(store, cfg.batch_size, cfg.num_workers, cfg.seed)
    segmenter = Segmenter(HypercolumnExtractor(backbone), classifier, names)
    loggers = run_loggers(cfg, Run(run), {})
    fit(task, data, run, lambda: trainer(cfg, Run(run), loggers, data, segmenter))
    task.load_state_dict(torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    return classifier


def train_by_bare_loop(cfg: DictConfig, split: Split, epochs: list[list[Samples]]) -> MLPClassifier:
    """Train a classifier on batches that are in memory.

    Args:
        cfg: the settings of stage pretrain.
        split: the split with the samples.
        epochs: the batches of each epoch.

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
        ours: the classifier to check.
        reference: the classifier to compare with.
        split: a split of the store.

    Returns:
        The largest difference of the logits, relative to the largest logit of the reference.
    """
    features, _, coordinates = split.fetch(torch.arange(min(len(split), 10_000)))
    with torch.inference_mode():
        logits, expected = (each.eval()(features.float(), coordinates) for each in (ours, reference))
    return float((logits - expected).abs().max() / expected.abs().max())


if __name__ == "__main__":
    main()
