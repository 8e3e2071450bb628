"""Stage extract: images and masks in, a store of sampled hypercolumns out."""

import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader, StackDataset

from hypercolumns.data import Augmentation, DatasetIndex, Example, ImageDataModule
from hypercolumns.errors import HypercolumnsError, check_int
from hypercolumns.io.files import atomic_write
from hypercolumns.models.extractor import HypercolumnExtractor
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.taps import Tap
from hypercolumns.reports import projector, tables
from hypercolumns.runs import run as runs
from hypercolumns.runtime import distributed, randomness
from hypercolumns.runtime.progress import console, track
from hypercolumns.runtime.signals import ignore_signals_in_worker
from hypercolumns.samplers import Sampler
from hypercolumns.settings import build
from hypercolumns.store import INDEX, ImageSamples, SampleStore, Shard, StoreWriter

SECONDS_BETWEEN_LOOKS = 0.5  # at what other processes have done


def extract(cfg: DictConfig) -> Path:
    """Make the store that the config asks for, or what is missing of it; returns its folder.

    Several processes may do so at once, started together or not, and share the work; each returns when the store is
    finished.
    """
    build.check_settings(cfg)
    check_int("embedding", cfg.embedding, minimum=0)
    images = build.image_set(cfg)
    backbone = build.backbone(cfg)
    sampler: Sampler = build.part("sampler", cfg.sampler)
    guide = _guide(cfg, images) if sampler.needs_logits else None
    fingerprint = runs.store_identity(cfg, runs.shared_settings(cfg, images, backbone))
    folder = runs.store_folder(cfg, images, fingerprint)
    with StoreWriter(folder, fingerprint, {split: len(pairs) for split, pairs in images.splits.items()}) as writer:
        if cfg.overwrite and distributed.is_rank_zero():
            projector.remove_projector(folder)
            writer.clear()
        distributed.barrier()
        if (folder / INDEX).is_file() and not any(writer.missing(split) for split in images.splits):
            console.print(f"extract: already done, {folder}", markup=False)
        else:
            with atomic_write(folder / "config.yaml") as temporary:
                OmegaConf.save(cfg, temporary, resolve=True)
            colours = build.views_to_sample(cfg)
            number = colours.pop("number", 0)
            data = ImageDataModule(
                images,
                num_workers=cfg.num_workers,
                resize=build.resize(cfg),
                augmentation=Augmentation(**colours),
                seed=cfg.seed,
            )
            extractor = build.extractor(cfg, backbone.to(distributed.device(cfg)).eval())
            sample = functools.partial(_sample, extractor=extractor, sampler=sampler, guide=guide, seed=cfg.seed)
            for split in images.splits:
                _extract_split(writer, split, _views(data, split, number), cfg.num_workers, sample)
        writer.finish()
    store = SampleStore(folder)
    tables.print_store(store, images.classes)
    if cfg.embedding and distributed.is_rank_zero():
        projector.write_projector(store, images, cfg.embedding, cfg.seed, build.resize(cfg))
    return folder


def _guide(cfg: DictConfig, images: DatasetIndex) -> Segmenter:
    """The model for a sampler that needs one."""
    if cfg.model is None:
        raise HypercolumnsError(
            f"sampler={cfg.sampler.kind} asks a model which pixels to take; give model=<the model.safetensors "
            f"of a finished run>, or choose another sampler"
        )
    return build.model(cfg, images).to(distributed.device(cfg))


def _views(data: ImageDataModule, split: str, number: int) -> StackDataset[Any]:
    """The views that samples of a split are taken from: of train images that many, of others the image as it is."""
    if split != "train" or not number:
        return StackDataset(data.dataset(split))
    return StackDataset(*(data.augmented(split, epoch) for epoch in range(number)))


def _extract_split(
    writer: StoreWriter,
    split: str,
    data: StackDataset[Any],
    num_workers: int,
    sample: Callable[[Sequence[Example]], ImageSamples],
) -> None:
    """Write the shards of a split that are missing, and wait for those that other processes are writing."""
    waiting = False
    while missing := writer.missing(split):
        claims = writer.claims(split)
        first = next(claims, None)
        if first is not None:
            total = sum(len(writer.images(shard)) for shard in missing)
            for shard, images in _claimed(writer, itertools.chain([first], claims), split, data, num_workers, total):
                writer.write(shard, [sample(views) for views in images])
        else:
            if not waiting:
                console.print(f"extract {split}: waiting for other processes to write {len(missing)} shards")
            waiting = True
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _claimed(
    writer: StoreWriter, claims: Iterator[Shard], split: str, data: StackDataset[Any], num_workers: int, total: int
) -> Iterator[tuple[Shard, Iterator[Sequence[Example]]]]:
    """Each shard with the views of its images; workers read ahead, so it is claimed once their reading reaches it."""
    claimed: deque[Shard] = deque()

    def indices() -> Iterator[int]:
        for shard in claims:
            claimed.append(shard)
            yield from writer.images(shard)

    loader: DataLoader[Any] = DataLoader(
        data,
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
    views: Sequence[Example],
    extractor: HypercolumnExtractor,
    sampler: Sampler,
    guide: Segmenter | None,
    seed: int,
) -> ImageSamples:
    """The samples of one image; a function of its views, the seed and the model that guides the sampler alone."""
    positions, labels, features = [], [], []
    for number, (image, mask, image_id, _) in enumerate(views):
        logits = None if guide is None else functools.partial(_predicted, guide, image)
        generator = randomness.generator(seed, "sample", image_id, *([number] if number else []))
        points = sampler(mask, generator, logits)
        positions.append(points)
        labels.append(mask[points[:, 0], points[:, 1]])
        with torch.inference_mode():
            hypercolumns = extractor.at(image[None].to(extractor.backbone.device), points[None])[0]
        features.append(hypercolumns.half().cpu())
    found = torch.cat(features)
    first = views[0]
    _refuse_unless_finite(found, extractor.backbone.taps, first.id)
    size = (first.mask.shape[0], first.mask.shape[1])
    return ImageSamples(first.id, size, torch.cat(positions), torch.cat(labels), found)


def _predicted(guide: Segmenter, image: Tensor, points: Tensor) -> Tensor:
    """The guide's logits at points (N, 2) of an image, (N, classes)."""
    return guide.predict_logits_at(image[None], points[None])[0]


def _refuse_unless_finite(features: Tensor, taps: Sequence[Tap], image: str) -> None:
    if features.isfinite().all():
        return
    parts = features.split([tap.channels for tap in taps], dim=1)
    for tap, part in zip(taps, parts, strict=True):
        if not part.isfinite().all():
            raise HypercolumnsError(
                f"image {image}: tap {tap.name} gives values that are not finite or exceed float16; "
                f"check cnn.weights and the normalisation of the input"
            )
