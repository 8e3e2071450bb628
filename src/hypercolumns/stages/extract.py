"""Stage extract: images and masks in, a store of sampled hypercolumns out."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from hypercolumns import seeds
from hypercolumns.data import Example, ImageData
from hypercolumns.errors import HypercolumnsError
from hypercolumns.progress import console, track
from hypercolumns.samplers import Sampler
from hypercolumns.stages import build, runs
from hypercolumns.store import IMAGES_PER_SHARD, INDEX, ImageSamples, SampleStore, StoreWriter
from hypercolumns.taps import Tap


def extract(cfg: DictConfig) -> Path:
    """Make the store that the config asks for, or what is missing of it; returns its folder."""
    build.prepare(cfg)
    images = build.image_set(cfg)
    backbone = build.backbone(cfg)
    fingerprint = runs.store_identity(cfg, runs.needs(cfg, images, backbone))
    folder = runs.home(cfg, images, "samples") / runs.key(fingerprint)
    if cfg.overwrite and folder.exists():
        shutil.rmtree(folder)
    if (folder / INDEX).is_file():
        console.print(f"extract: already done, {folder}", markup=False)
        return folder
    data = ImageData(images, num_workers=cfg.num_workers, resize=build.resize(cfg))
    read = build.reader(cfg, backbone.to(build.device(cfg)).eval())
    sampler: Sampler = instantiate(cfg.sampler)
    writer = StoreWriter(folder, fingerprint)
    OmegaConf.save(cfg, folder / "config.yaml", resolve=True)
    shards = {
        split: _extract_split(writer, split, data, backbone.taps, read, sampler, cfg.seed) for split in images.splits
    }
    for split, count in shards.items():
        if not writer.rows(split, count):
            raise HypercolumnsError(f"no samples of the {split} split: all pixels of its masks are void (255)")
    writer.finish(shards)
    _show(folder)
    return folder


def _extract_split(
    writer: StoreWriter,
    split: str,
    data: ImageData,
    taps: Sequence[Tap],
    read: build.Read,
    sampler: Sampler,
    seed: int,
) -> int:
    """Write the shards of a split that are not there yet; returns how many it has."""
    dataset = data.dataset(split)
    shards = [
        range(first, min(first + IMAGES_PER_SHARD, len(dataset))) for first in range(0, len(dataset), IMAGES_PER_SHARD)
    ]
    missing = [number for number in range(len(shards)) if not writer.has(split, number)]
    left = Subset(dataset, [index for number in missing for index in shards[number]])
    loader: DataLoader[Example] = DataLoader(left, batch_size=None, num_workers=data.num_workers)
    examples = iter(track(loader, f"extract {split}", len(left)))
    for number in missing:
        writer.write(split, number, [_sample(next(examples), taps, read, sampler, seed) for _ in shards[number]])
    next(examples, None)  # lets the progress end
    return len(shards)


def _sample(example: Example, taps: Sequence[Tap], read: build.Read, sampler: Sampler, seed: int) -> ImageSamples:
    """The samples of one image; a function of the image and the seed alone."""
    points = sampler(example.mask, seeds.generator(seed, "sample", example.id))
    hypercolumns = read(example.image, points).half().cpu()
    _refuse_unless_finite(hypercolumns, taps, example.id)
    labels = example.mask[points[:, 0], points[:, 1]]
    return ImageSamples(example.id, (example.mask.shape[0], example.mask.shape[1]), points, labels, hypercolumns)


def _refuse_unless_finite(hypercolumns: Tensor, taps: Sequence[Tap], image: str) -> None:
    if hypercolumns.isfinite().all():
        return
    parts = hypercolumns.split([tap.channels for tap in taps], dim=1)
    for tap, part in zip(taps, parts, strict=True):
        if not part.isfinite().all():
            raise HypercolumnsError(
                f"image {image}: tap {tap.name} gives values that are not finite or exceed float16; "
                f"check cnn.weights and the normalisation of the input"
            )


def _show(folder: Path) -> None:
    store = SampleStore(folder)
    counts = ", ".join(f"{len(store.split(split))} samples of {split}" for split in ("train", "val"))
    console.print(f"extract: {counts} in {folder}", markup=False)
