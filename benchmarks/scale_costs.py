"""What an image, a sample and a step cost here: the things that are timed for `scale.py`.

They are this project's own parts, built as the stages build them. What is taken is the time of the processor, in one
thread: it does not count what other processes do on the machine, nor waiting for a disk.
"""

import itertools
import math
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from common import CONF, medians
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from scale_model import Costs

from hypercolumns.data import DatasetIndex, Example, SampleDataModule
from hypercolumns.data.batch_samplers import SHUFFLE_BUFFER, shuffled_rows
from hypercolumns.data.modules.image_data import collate
from hypercolumns.evaluation import Evaluation, intervals
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import NO_TTA
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import console
from hypercolumns.samplers import UniformSampler
from hypercolumns.settings import build
from hypercolumns.store import ImageSamples, SampleStore, StoreWriter
from hypercolumns.tasks import (
    EvaluationTask,
    LabelPredictor,
    PixelClassificationTask,
    SegmentationTask,
)

PIXELS = 2000  # of an image, in the sparse step of stage train
Sides = dict[str, tuple[Callable[[], object], int]]  # what is timed, and of how many things it is the time


def config(stage: str, settings: Sequence[str]) -> DictConfig:
    """The settings of a stage."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", [f"stage={stage}", *settings])


def measure(settings: list[str], folder: Path, rounds: int) -> tuple[Costs, list[dict[str, Any]]]:
    """All costs, and the times as a table."""
    warnings.filterwarnings("ignore", ".*self.log.*")  # nobody listens
    build.quiet_libraries()
    console.quiet = True
    cfg = config("extract", settings)
    images = build.image_set(cfg)
    store, of_samples = samples(cfg, images, folder)
    segmenter, of_training = trainings(settings, images, store, folder)
    of_scores = scores(cfg, images, segmenter)
    sides = reading(settings, images) | of_samples | of_training | of_scores
    times = medians({name: side for name, (side, _) in sides.items()}, rounds, time.process_time)
    each = {name: times[name] / number for name, (_, number) in sides.items()}
    each["learning"] = slope(times, sides, "learning", "of few samples")
    each["stepping"] = slope(times, sides, "stepping", "in few steps")
    del each["of few samples"], each["in few steps"]
    pairs = [pair for split in images.splits.values() for pair in split]
    tracemalloc.start()
    kept = build.image_set(cfg)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept == images, "the set has changed"
    split = store.split("train")
    costs = Costs(
        file_bytes=sum(path.stat().st_size for pair in pairs for path in (pair.image, pair.mask)) / len(pairs),
        id_bytes=memory / len(pairs),
        sample_bytes=split.bytes / len(split),
        parameters=sum(one.numel() for one in segmenter.classifier.parameters()),
        classes=len(images.classes),
        **each,
    )
    return costs, [{"of": name, "core-microseconds": each[name] * 1e6} for name in each]


def slope(times: Mapping[str, float], sides: Sides, many: str, few: str) -> float:
    """What one thing more takes, by what many and few of them take."""
    return (times[many] - times[few]) / (sides[many][1] - sides[few][1])


def reading(settings: list[str], images: DatasetIndex) -> Sides:
    """Listing, hashing and decoding."""
    cfg, train = config("extract", settings), config("train", settings)
    plain, data = build.image_data(cfg, images).dataset("train"), build.image_data(train, images)
    augmented = data.dataset("train")
    augmented.augmentation = data.augmentation
    some = range(min(len(plain), 16))
    count = sum(map(len, images.splits.values()))
    return {
        "listing": (lambda: build.image_set(cfg), count),
        "hashing": (images.fingerprint, count),
        "decoding": (lambda: [plain[index] for index in some], len(some)),
        "augmenting": (lambda: [augmented[index] for index in some], len(some)),
    }


def samples(cfg: DictConfig, images: DatasetIndex, folder: Path) -> tuple[SampleStore, Sides]:
    """Sampling, writing and reading samples; and the store that is read."""
    dataset = build.image_data(cfg, images).dataset("train")
    examples = [dataset[index] for index in range(min(len(dataset), 16))]
    backbone, sampler = build.backbone(cfg).eval(), instantiate(cfg.sampler)
    extractor = build.extractor(cfg, backbone)
    numbers, epochs = itertools.count(), itertools.count()

    def forward() -> None:
        with torch.inference_mode():
            for example in examples:
                backbone(example.image[None])

    def sample(example: Example) -> ImageSamples:
        points = sampler(example.mask, randomness.generator(cfg.seed, "sample", example.id))
        labels = example.mask[points[:, 0], points[:, 1]]
        size = (example.mask.shape[0], example.mask.shape[1])
        with torch.inference_mode():
            found = extractor.at(example.image[None], points[None])[0]
        return ImageSamples(example.id, size, points, labels, found.half())

    sampled = [sample(example) for example in examples]

    def write(images: Sequence[ImageSamples] = sampled) -> Path:
        with StoreWriter(folder / f"{next(numbers)}", {}, {"train": len(images), "val": len(images)}) as writer:
            for shard in [*writer.claims("train"), *writer.claims("val")]:
                writer.write(shard, images)
            writer.finish()
        return writer.folder

    store = SampleStore(write())
    rows = len(store.split("train"))
    return store, {
        "backbone": (forward, len(examples)),
        "sampling": (lambda: [sample(example) for example in examples], len(examples)),
        "writing": (write, 2 * rows),
        "fetching": (lambda: exhaust(SampleDataModule(store, 1024).train_dataloader()), rows),
        "ordering": (lambda: shuffled_rows(SHUFFLE_BUFFER, 0, next(epochs), 0, SHUFFLE_BUFFER), SHUFFLE_BUFFER),
    }


def trainings(settings: list[str], images: DatasetIndex, store: SampleStore, folder: Path) -> tuple[Segmenter, Sides]:
    """The steps of stages pretrain and train, at a rate of 0 so that all are alike; and the model that they train."""
    pretrain = config("pretrain", [*settings, "trainer.max_epochs=1", "trainer.limit_val_batches=1"])
    train, numbers = config("train", settings), itertools.count()
    split = store.split("train")
    backbone = build.backbone(pretrain)
    classifier = build.classifier(pretrain, backbone.channels, len(images.classes))
    classifier.set_statistics(*split.statistics())
    segmenter = Segmenter(backbone, classifier, images.classes, images.palette, pretrain.alignment)
    how = build.optimization(pretrain)
    pixels = PixelClassificationTask(classifier, images.classes, **how)
    sparse, dense = (SegmentationTask(segmenter, **how, sampler=sampler) for sampler in (UniformSampler(PIXELS), None))
    data = build.image_data(train, images)
    crops = next(iter(data.train_dataloader()))
    full, few = (split.fetch(torch.arange(min(rows, len(split)))) for rows in (pretrain.batch_size, 64))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=0.0)

    def step(task: pl.LightningModule, batch: Any) -> Callable[[], None]:
        def run() -> None:
            optimizer.zero_grad()
            task.training_step(batch, 0).backward()
            optimizer.step()

        return run

    def fit(batch_size: int) -> None:
        """An epoch of stage pretrain, in more or fewer steps of the same samples."""
        run, data = folder / f"run {next(numbers)}", SampleDataModule(store, batch_size)
        build.fit(
            pretrain, PixelClassificationTask(classifier, images.classes, **how), data, segmenter, run, run / "events"
        )

    def guess() -> None:
        with torch.inference_mode():
            classifier(full.features.float(), full.places).argmax(1)

    return segmenter, {
        "learning": (step(pixels, full), len(full.labels)),
        "of few samples": (step(pixels, few), len(few.labels)),
        "stepping": (lambda: fit(16), math.ceil(len(split) / 16)),
        "in few steps": (lambda: fit(1024), math.ceil(len(split) / 1024)),
        "guessing": (guess, len(full.labels)),
        "dense": (step(dense, crops), len(crops.ids)),
        "sparse": (step(sparse, crops), len(crops.ids)),
    }


def scores(cfg: DictConfig, images: DatasetIndex, segmenter: Segmenter) -> Sides:
    """Scoring images, and the intervals of their figures."""
    dataset, draws = build.image_data(cfg, images).dataset("val"), 20
    batches = [collate([dataset[index]]) for index in range(min(len(dataset), 4))]
    task = EvaluationTask(LabelPredictor(segmenter, NO_TTA).eval(), len(images.classes), cfg.boundary)

    def score() -> None:
        with torch.inference_mode():
            for batch in batches:
                task.test_step(batch, 0)

    score()
    evaluation = Evaluation.of(task.counts * 500, images.classes, cfg.boundary)
    return {
        "scoring": (score, len(batches)),
        "drawing": (lambda: intervals(evaluation, None, draws, 0), draws * len(evaluation.ids)),
    }


def exhaust(items: Iterable[object]) -> None:
    """Take them all and keep none."""
    for _ in items:
        pass
