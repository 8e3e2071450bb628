"""Stage extract: sample pixels of images with masks, and write their hypercolumns and labels to a store."""

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, StackDataset

from hypercolumns.data import Example, ImageDataModule
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import write_json
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import Tap
from hypercolumns.reports import projector
from hypercolumns.reports.store_tables import print_store
from hypercolumns.runs.environment import environment
from hypercolumns.runs.file_names import ENVIRONMENT
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import Sampler
from hypercolumns.settings import data, model
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import write_config
from hypercolumns.settings.fingerprint import shared_settings, store_fingerprint
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import machine, origin
from hypercolumns.settings.named_model import show_weights_model
from hypercolumns.settings.stage_inputs import store_folder
from hypercolumns.store import INDEX, ImageSamples, SampleStore, Shard, StoreInUseError, StoreWriter

POLL_SECONDS = 0.5  # time between two searches for shards that other processes have not written yet


def extract(cfg: DictConfig) -> Path:
    """Write the store that the config describes, and return the folder of the store.

    Shards that exist already are kept, unless `overwrite` is true. Several processes can share the work, whether one
    command or several commands have started them. Each process returns when the store is finished.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    images = data.image_index(cfg)
    backbone = model.backbone(cfg, decoding=images.decoding)
    sampler = model.sampler(cfg)
    guide = model.guide(cfg, images) if sampler.needs_logits else None
    fingerprint = store_fingerprint(cfg, shared_settings(cfg, images, backbone))
    folder = store_folder(cfg, images, fingerprint)
    with StoreWriter(folder, fingerprint, {split: len(pairs) for split, pairs in images.splits.items()}) as writer:
        if cfg.overwrite and distributed.is_rank_zero():
            projector.remove_projector(folder)
            _clear(writer)
        distributed.barrier()
        if (folder / INDEX).is_file() and not any(writer.missing(split) for split in images.splits):
            console.print(f"extract: already done, the store is {folder}", markup=False)
        else:
            show_weights_model(cfg)
            write_config(cfg, folder / "config.yaml")
            write_json(folder / ENVIRONMENT, environment(origin(cfg)) | {"shards": writer.total_shards()})
            extractor = model.extractor(cfg, backbone.to(machine(cfg).device()).eval())
            sample = functools.partial(_sample, extractor=extractor, sampler=sampler, guide=guide, seed=cfg.seed)
            batches = data.images_to_sample(cfg, images)
            for split in images.splits:
                copies = _copies(batches, split, cfg.extract.augmentations)
                _extract_split(writer, split, copies, cfg.num_workers, sample)
        writer.write_index()
    store = SampleStore(folder)
    print_store(store, images.classes)
    if cfg.embedding and distributed.is_rank_zero():
        remedy = "free some space, or set embedding=0"
        projector.write_projector(store, images, cfg.embedding, cfg.seed, data.resize(cfg), remedy)
    return folder


def _clear(writer: StoreWriter) -> None:
    """Remove all shards of the store that `writer` writes to.

    Raise HypercolumnsError if another process is writing to this store.
    """
    try:
        writer.clear()
    except StoreInUseError as error:
        raise HypercolumnsError(
            f"overwrite=true: {error}; to work on the same store together with the other process, leave out "
            f"overwrite=true"
        ) from error


def _copies(batches: ImageDataModule, split: str, augmentations: int) -> StackDataset[Any]:
    """Return a dataset that has, for each image of a split, a tuple of the copies to sample.

    Args:
        batches: the data module, which gives the images and augments them.
        split: the name of the split.
        augmentations: the number of augmented copies of each train image. If it is 0, or the split is not the train
            split, the only copy of an image is the unchanged image.

    Returns:
        The dataset, in the order of the images in the split.
    """
    if split != "train" or not augmentations:
        return StackDataset(batches.dataset(split))
    return StackDataset(*(batches.augmented(split, epoch) for epoch in range(augmentations)))


def _extract_split(
    writer: StoreWriter,
    split: str,
    copies: StackDataset[Any],
    num_workers: int,
    sample: Callable[[Sequence[Example]], ImageSamples],
) -> None:
    """Write the missing shards of a split, and wait until other processes have written theirs.

    Args:
        writer: the writer of the store.
        split: the name of the split.
        copies: a dataset that has, for each image of the split, a tuple of the copies to sample, see `_copies`.
        num_workers: the number of processes that load images; 0: this process.
        sample: takes the copies of an image, and returns the samples of the image.
    """
    waiting = False
    while missing := writer.missing(split):
        claims = writer.claims(split)
        first = next(claims, None)
        if first is not None:
            total = sum(len(writer.images(shard)) for shard in missing)
            for shard, images in _claimed(writer, itertools.chain([first], claims), split, copies, num_workers, total):
                writer.write(shard, [sample(copies) for copies in images])
        else:
            if not waiting:
                console.print(f"extract {split}: waiting for other processes to write {len(missing)} shards")
            waiting = True
            time.sleep(POLL_SECONDS)


def _claimed(
    writer: StoreWriter, claims: Iterator[Shard], split: str, copies: StackDataset[Any], num_workers: int, total: int
) -> Iterator[tuple[Shard, Iterator[Sequence[Example]]]]:
    """Load the images of the claimed shards, and yield each shard with an iterator over its images.

    Worker processes load images in advance, so a shard may be claimed before earlier shards are written.

    Args:
        writer: the writer of the store.
        claims: an iterator that claims a missing shard for this process and yields it, see `StoreWriter.claims`.
        split: the name of the split.
        copies: a dataset that has, for each image of the split, a tuple of the copies to sample, see `_copies`.
        num_workers: the number of processes that load images; 0: this process.
        total: the number of images in all missing shards, for the progress bar.

    Yields:
        A shard, and an iterator that gives the copies of each image of the shard. The iterator must be used up before
        the next shard is taken.
    """
    claimed: deque[Shard] = deque()

    def indices() -> Iterator[int]:
        for shard in claims:
            claimed.append(shard)
            yield from writer.images(shard)

    loader: DataLoader[Any] = DataLoader(
        copies,
        batch_size=None,
        sampler=indices(),
        num_workers=num_workers,
        worker_init_fn=ignore_signals_in_worker,
    )
    examples = iter(track(loader, f"extract {split}", total))
    for example in examples:
        shard, first = claimed.popleft(), [example]
        del example  # frees the memory of the shard's first image before the next one is read
        yield shard, _first_and(first, itertools.islice(examples, len(writer.images(shard)) - 1))


def _first_and(first: list[Any], others: Iterator[Any]) -> Iterator[Any]:
    """Yield the item of the list `first`, which is removed from it, and then the others."""
    yield first.pop()
    yield from others


def _sample(
    copies: Sequence[Example],
    extractor: HypercolumnExtractor,
    sampler: Sampler,
    guide: Segmenter | None,
    seed: int,
) -> ImageSamples:
    """Sample pixels of each copy of an image, and compute their hypercolumns.

    The random choices depend on the seed, the id of the image and the index of the copy, but not on the other images.

    Args:
        copies: the image, or augmented copies of the image, with masks.
        extractor: computes the hypercolumns.
        sampler: chooses the pixels.
        guide: the model whose logits the sampler gets; None: the sampler needs no logits.
        seed: the setting `seed`.

    Returns:
        The samples of all copies.
    """
    positions, labels, features = [], [], []
    for number, (image, mask, image_id, _) in enumerate(copies):
        logits = None if guide is None else functools.partial(_predicted, guide, image)
        generator = randomness.generator(seed, "sample", image_id, *([number] if number else []))
        points = sampler(mask, generator, logits)
        positions.append(points)
        labels.append(mask[points[:, 0], points[:, 1]])
        with torch.inference_mode():
            hypercolumns = extractor.at(image[None].to(extractor.backbone.device), points[None])[0]
        features.append(hypercolumns.half().cpu())
    all_features = torch.cat(features)
    first = copies[0]
    _refuse_unless_finite(all_features, extractor.backbone.taps, first.id)
    size = (first.mask.shape[0], first.mask.shape[1])
    return ImageSamples(first.id, size, torch.cat(positions), torch.cat(labels), all_features)


def _predicted(guide: Segmenter, image: Tensor, points: Tensor) -> Tensor:
    """Predict logits (N, classes) by the model `guide`, at the points (N, 2) = (row, column) of an image (3, H, W)."""
    return guide.predict_logits_at(image[None], points[None])[0]


def _refuse_unless_finite(features: Tensor, taps: Sequence[Tap], image: str) -> None:
    """Raise HypercolumnsError if hypercolumns (N, D) of an image contain NaN or infinity; the message names the tap."""
    if features.isfinite().all():
        return
    parts = features.split([tap.channels for tap in taps], dim=1)
    for tap, part in zip(taps, parts, strict=True):
        if not part.isfinite().all():
            raise HypercolumnsError(
                f"image {image}: tap {tap.name} gives values that are not finite or exceed the range of float16; "
                f"check cnn.weights, and the normalisation of the input by cnn.mean and cnn.std"
            )
