"""From a config to images, and to batches of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hypercolumns.data import (
    Augmentation,
    DatasetIndex,
    DatasetNotFoundError,
    ImageDataModule,
    UnknownGroupError,
    check_headers,
    hold_out,
    quarantine,
    shared_ids,
    take_train_subset,
)
from hypercolumns.errors import HypercolumnsError, check_int, escape_control_chars, setting_prefix
from hypercolumns.io.files import expand_path
from hypercolumns.io.images import set_max_pixels
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import part, plain


@dataclass(frozen=True)
class Subset:
    """Which images of a data set are used: settings that all data sets have."""

    group_pattern: str | None = None
    val_group: str | int | None = None
    train_subset: int | None = None
    subset_seed: int = 0
    on_bad: str = "error"
    max_invalid: float = 0.05


def listed_images(cfg: DictConfig) -> tuple[DatasetIndex, Subset]:
    """The images that the config names, as they are listed, and which of them to use.

    The first process fetches or draws them if they are not there.
    """
    set_max_pixels(cfg.max_pixels)
    settings = plain(cfg.data)
    subset = {name: settings.pop(name) for name in Subset.__dataclass_fields__ if name in settings}
    with distributed.rank_zero_first():
        images = _read_index(settings)
    return images, Subset(**subset)


def _read_index(settings: dict[str, Any]) -> DatasetIndex:
    try:
        images: DatasetIndex = part("data", settings)
    except HypercolumnsError as error:
        if isinstance(error.__cause__, DatasetNotFoundError):
            fetch = "" if settings.get("download") else "data.download=true fetches it, "
            raise HypercolumnsError(f"{error} ({fetch}data=shapes needs no data)") from error
        raise
    return images


def image_index(cfg: DictConfig) -> DatasetIndex:
    """The images that the config names, all of which can be used, as far as can be told quickly.

    With `data.on_bad=skip` they have all been decoded once, and what can't be used is left out.

    Raises:
        HypercolumnsError: if something is wrong with the list or, without `data.on_bad=skip`, with the files.
    """
    images, subset = listed_images(cfg)
    images = _hold_out(images, subset)
    if subset.on_bad == "skip":
        with setting_prefix("data."):
            images = quarantine.drop_invalid(images, checks_dir(cfg, images), cfg.num_workers, subset.max_invalid)
    else:
        check_headers(images)
    shared = shared_ids(images)
    if shared:
        console.print(
            f"warning: data {images.name}: {len(shared)} images are in several splits, such as "
            f"{escape_control_chars(shared[0])}; figures of the val images tell nothing about new ones then",
            markup=False,
        )
    with setting_prefix("data."):
        return take_train_subset(images, subset.train_subset, subset.subset_seed)


def _hold_out(images: DatasetIndex, subset: Subset) -> DatasetIndex:
    try:
        with setting_prefix("data."):
            return hold_out(images, subset.group_pattern, subset.val_group)
    except HypercolumnsError as error:
        if isinstance(error.__cause__, UnknownGroupError):
            groups = ",".join(error.__cause__.groups)
            raise HypercolumnsError(f"{error}; all of them: -m data.val_group={groups}") from error
        raise


def resize(cfg: DictConfig) -> tuple[int, int] | None:
    """The setting `resize`, (height, width)."""
    return None if cfg.resize is None else (cfg.resize[0], cfg.resize[1])


def image_data(cfg: DictConfig, images: DatasetIndex) -> ImageDataModule:
    """The images as batches to train on, and to validate on."""
    if cfg.resize is not None and cfg.augment and (cfg.augment.crop is not None or cfg.augment.scale is not None):
        raise HypercolumnsError(
            "resize and augment.crop or augment.scale don't go together, for the backbone sees all images at one size; "
            "set augment.crop=null augment.scale=null, or resize=null"
        )
    with setting_prefix("augment."):
        augmentation = Augmentation(**plain(cfg.augment or {}))
    return ImageDataModule(images, cfg.batch_size, cfg.num_workers, resize(cfg), augmentation, cfg.seed)


def images_to_sample(cfg: DictConfig, images: DatasetIndex) -> ImageDataModule:
    """The images as stage extract samples them, with the augmentation of their copies."""
    colours = extract_augmentation(cfg)
    colours.pop("augmentations", None)
    return ImageDataModule(
        images,
        num_workers=cfg.num_workers,
        resize=resize(cfg),
        augmentation=Augmentation(**colours),
        seed=cfg.seed,
    )


def extract_augmentation(cfg: DictConfig) -> dict[str, Any]:
    """The settings `extract`: how many copies of each train image, and how their colours differ; {} for none."""
    settings: dict[str, Any] = plain(cfg.extract)
    with setting_prefix("extract."):
        check_int("augmentations", settings["augmentations"], minimum=0)
        Augmentation(**{name: value for name, value in settings.items() if name != "augmentations"})  # raises
    return settings if settings["augmentations"] else {}


def checks_dir(cfg: DictConfig, images: DatasetIndex) -> Path:
    """The folder of what is found out about a set of images: the cnn has no part in it."""
    return expand_path("runs", str(cfg.runs)) / images.name / "validate"
