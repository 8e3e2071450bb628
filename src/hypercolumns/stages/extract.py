"""Stage extract: sample the hypercolumns of images with masks into a store."""

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
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import Tap
from hypercolumns.reports import projector
from hypercolumns.reports.store_tables import print_store
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import Sampler
from hypercolumns.settings import data, model
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import write_config
from hypercolumns.settings.fingerprint import shared_settings, store_fingerprint
from hypercolumns.settings.inference import quiet_libraries
from hypercolumns.settings.machine import machine
from hypercolumns.settings.stage_inputs import store_folder
from hypercolumns.store import INDEX, ImageSamples, SampleStore, Shard, StoreInUseError, StoreWriter

POLL_SECONDS = 0.5  # time between two checks whether other processes have written their shards


def extract(cfg: DictConfig) -> Path:
    """Write the store that the config describes, or its missing shards, and return the folder of the store.

    Several processes, started together or separately, share the work. Each process returns when the store is finished.
    """
    check_settings(cfg)
    quiet_libraries()
    distributed.launch(machine(cfg))
    images = data.image_index(cfg)
    backbone = model.backbone(cfg)
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
            console.print(f"extract: already done, {folder}", markup=False)
        else:
            write_config(cfg, folder / "config.yaml")
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
    """Remove the existing store; raise HypercolumnsError if another process is writing to it."""
    try:
        writer.clear()
    except StoreInUseError as error:
        raise HypercolumnsError(
            f"overwrite=true: {error}, and start further processes without overwrite=true"
        ) from error


def _copies(batches: ImageDataModule, split: str, augmentations: int) -> StackDataset[Any]:
    """Return a dataset with a tuple of examples for each image: the copies of the image to sample.

    They are `augmentations` augmented copies for an image of the train split, and otherwise the image alone.
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
    """Write the missing shards of a split, and wait for the shards that other processes are writing."""
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
    """Yield each claimed shard with an iterator that gives the copies of each of its images.

    Worker processes load images ahead, so a shard may be claimed before the shards in front of it are written.
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
        shard = claimed.popleft()
        yield shard, itertools.chain([example], itertools.islice(examples, len(writer.images(shard)) - 1))


def _sample(
    copies: Sequence[Example],
    extractor: HypercolumnExtractor,
    sampler: Sampler,
    guide: Segmenter | None,
    seed: int,
) -> ImageSamples:
    """Sample the pixels of an image, in each of its copies.

    The random choices depend on the seed, the image's id and the number of the copy, not on other images.
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
    """Predict the logits (N, classes) of the model `guide` at points (N, 2), row and column, of an image (3, H, W)."""
    return guide.predict_logits_at(image[None], points[None])[0]


def _refuse_unless_finite(features: Tensor, taps: Sequence[Tap], image: str) -> None:
    if features.isfinite().all():
        return
    parts = features.split([tap.channels for tap in taps], dim=1)
    for tap, part in zip(taps, parts, strict=True):
        if not part.isfinite().all():
            raise HypercolumnsError(
                f"image {image}: tap {tap.name} gives values that are not finite or exceed float16; "
                f"check cnn.weights and the normalisation of the input, cnn.mean and cnn.std"
            )
