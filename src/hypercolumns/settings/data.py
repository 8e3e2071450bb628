"""Build data sets and data modules from a config."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
from hypercolumns.data.labelling import LabelSettings, label_scheme
from hypercolumns.data.layouts import seen_instead
from hypercolumns.data.mask_survey import Survey, survey_masks
from hypercolumns.data.subsets import drop_unlabelled
from hypercolumns.data.value_check import check_values, stretch_note
from hypercolumns.errors import DataNotFoundError, HypercolumnsError, check_int, escape_control_chars, setting_prefix
from hypercolumns.io.decoding import AS_STORED, FULL_RANGE, RGB, RULES, ImageDecoding
from hypercolumns.io.files import expand_path
from hypercolumns.io.images import set_max_pixels
from hypercolumns.overrides import quote_value, quote_word
from hypercolumns.reports.dataset_preview import write_preview
from hypercolumns.runtime import distributed
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import part, plain


@dataclass(frozen=True)
class Subset:
    """The settings that choose which images of a data set are used; all data sets have these settings.

    Attributes:
        group_pattern: a regular expression that finds the group of an image in the id of the image, see
            `data.groups.group_ids`; None if `val_group` is None.
        val_group: the name of the group of train images to validate on instead of the val split; None: the val split.
        train_subset: the number of train images to use, chosen at random; None: all.
        subset_seed: the seed of this random choice.
        unlabelled: `error`: stop at an image without a mask file; `skip`: leave out the image.
        overlap: `error`: stop if images are in several splits; `allow`: warn.
        on_bad: `error`: stop at an image or a mask that can't be used; `skip`: leave out the image and its mask.
        max_invalid: the largest fraction of the images of a split, in [0, 1], that `skip` may leave out.
    """

    group_pattern: str | None = None
    val_group: str | int | None = None
    train_subset: int | None = None
    subset_seed: int = 0
    unlabelled: str = "error"
    overlap: str = "error"
    on_bad: str = "error"
    max_invalid: float = 0.05


def listed_images(
    cfg: DictConfig, decoding: ImageDecoding = AS_STORED, strict: bool = True
) -> tuple[DatasetIndex, Subset]:
    """Return the index of all images of the data set, and the settings that choose which of the images are used.

    All masks are read once to decide what their values mean; later commands use the saved counts. Whether each file can
    be used is not checked. If images must be downloaded or drawn first, rank 0 does this while the other ranks wait.

    Args:
        cfg: the config.
        decoding: the rules for reading the images that the config does not give.
        strict: whether a missing mask, and a value or a colour of no class, are errors. If not, or if `data.on_bad` is
            `skip`, the check of the files reports each of these masks.

    Returns:
        The index, and the settings that choose which of its images are used.

    Raises:
        HypercolumnsError: if a setting is invalid, if the masks do not fit the classes, or if what they mean is not
            certain.
    """
    set_max_pixels(cfg.max_pixels)
    settings = plain(cfg.data)
    subset = Subset(**_take(settings, Subset.__dataclass_fields__))
    _take(settings, LabelSettings.__dataclass_fields__)  # `decide_labels` reads them
    with setting_prefix("data."):
        given = ImageDecoding(**_take(settings, RULES), prefix="data.")
    with distributed.rank_zero_first():
        images = replace(_read_index(settings), decoding=decoding.override(given))
    if given.range == FULL_RANGE and decoding.range is None:  # what a model was trained with is not questioned
        check_values(images)
    strict = strict and subset.on_bad != "skip"
    with setting_prefix("data."):
        if strict or subset.unlabelled == "skip":
            images = drop_unlabelled(images, subset.unlabelled, cfg.data.get("mask_name"))
    for note in images.notes:
        console.print(f"data {images.name}: {note}", markup=False)
    images, survey = decide_labels(cfg, images, strict)
    preview = write_preview(images, survey, checks_dir(cfg, images)) if distributed.is_rank_zero() else None
    if preview is not None:
        console.print(f"{'preview':>9}  {escape_control_chars(preview)}", markup=False)
    return images, subset


def decide_labels(
    cfg: DictConfig, images: DatasetIndex, strict: bool = True, all_classes: bool = True
) -> tuple[DatasetIndex, Survey]:
    """Read all masks of a data set, and decide what their values and colours mean.

    Args:
        cfg: the config, whose settings `data` say what the user knows about the masks.
        images: the data set.
        strict: see `label_scheme`.
        all_classes: whether a class without a pixel is an error, if `data.missing_classes` says so. False for a few
            masks that are only scored.

    Returns:
        The data set with the scheme of its masks, and the summary of each mask.

    Raises:
        HypercolumnsError: see `label_scheme`.
    """
    said = LabelSettings(**_take(plain(cfg.data), LabelSettings.__dataclass_fields__))
    said = said if all_classes else replace(said, missing_classes="allow")
    with setting_prefix("data."):
        survey = survey_masks(images, checks_dir(cfg, images), cfg.num_workers)
        scheme, notes = label_scheme(images, survey, said, strict)
    for note in notes:
        console.print(f"data {images.name}: {note}", markup=False)
    return replace(images, scheme=scheme), survey


def _take(settings: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Remove the settings of these names, and return those that there were."""
    return {name: settings.pop(name) for name in names if name in settings}


def _read_index(settings: dict[str, Any]) -> DatasetIndex:
    """Build the index of a data set from the settings `data`.

    If the data set is not found, the error says which layout the folders have, or how to get a data set.
    """
    try:
        images: DatasetIndex = part("data", settings)
    except HypercolumnsError as error:
        if not isinstance(error.__cause__, DataNotFoundError):
            raise
        if seen := seen_instead(_places(settings)):
            raise HypercolumnsError(f"{error}{seen}") from error
        if isinstance(error.__cause__, DatasetNotFoundError):
            fetch = "" if settings.get("download") else "to download Pascal VOC, set data.download=true; "
            raise HypercolumnsError(
                f"{error}; {fetch}to try the project without a data set, set data=shapes"
            ) from error
        raise
    return images


def _places(settings: Mapping[str, Any]) -> list[Path]:
    """Return the folders in which the settings `data` look for images and masks, and the one that holds them."""
    given = [expand_path(name, settings[name]) for name in ("images", "masks", "annotations") if settings.get(name)]
    if settings.get("root"):
        root = expand_path("root", settings["root"])
        return [root, *(root / path for path in given)]
    around = [parent for parent in {path.parent for path in given} if len(given) > 1]
    return [*around, *given] if len(around) == 1 else given


def image_index(cfg: DictConfig, decoding: ImageDecoding = AS_STORED) -> DatasetIndex:
    """Return the index of the images that the config selects, after checking the files of the images and masks.

    With `data.on_bad=error`, the check reads only the headers of the files. With `data.on_bad=skip`, it decodes every
    file that no earlier command has checked, and images are left out if the image or its mask can't be used.

    Args:
        cfg: the config.
        decoding: the rules for reading the images that the config does not give, such as those of a model.

    Returns:
        The index.

    Raises:
        HypercolumnsError: if a setting or the list of images is invalid, if a file can't be used (`data.on_bad=error`),
            or if too many images would be left out (`data.on_bad=skip`).
    """
    images, subset = listed_images(cfg, decoding)
    images = _hold_out(images, subset)
    if subset.on_bad == "skip":
        with setting_prefix("data."):
            images = quarantine.drop_invalid(images, checks_dir(cfg, images), cfg.num_workers, subset.max_invalid)
    else:
        if images.decoding.range is None:
            check_values(images)
        check_headers(images)
    if (note := stretch_note(images)) is not None:
        console.print(f"data {images.name}: {escape_control_chars(note)}", markup=False)
    shared = shared_ids(images)
    if shared:
        overlap = (
            f"data {images.name}: {len(shared)} images are in several splits, such as "
            f"{escape_control_chars(shared[0])}; metrics on val do not show how well a model predicts new images, so "
            f"keep each image in one split only"
        )
        if subset.overlap == "error":
            raise HypercolumnsError(f"{overlap}, or set data.overlap=allow")
        console.print(f"warning: {overlap}", markup=False)
    with setting_prefix("data."):
        return take_train_subset(images, subset.train_subset, subset.subset_seed)


def _hold_out(images: DatasetIndex, subset: Subset) -> DatasetIndex:
    """Return the data set, with the group `data.val_group` as its val split if the setting is set.

    If the data set has no such group, the error lists all groups.
    """
    try:
        with setting_prefix("data."):
            return hold_out(images, subset.group_pattern, subset.val_group)
    except HypercolumnsError as error:
        if isinstance(error.__cause__, UnknownGroupError):
            names = error.__cause__.groups
            listed = [name if name.isdecimal() and name == str(int(name)) else quote_value(name) for name in names]
            each = quote_word(f"data.val_group={','.join(listed)}")
            raise HypercolumnsError(f"{error}; to validate on each group: -m {each}") from error
        raise


def resize(cfg: DictConfig) -> tuple[int, int] | None:
    """Return the (height, width) in pixels to which the setting `resize` resizes images; None: no resizing."""
    return None if cfg.resize is None else (cfg.resize[0], cfg.resize[1])


def image_data(cfg: DictConfig, images: DatasetIndex) -> ImageDataModule:
    """Build the data module of stage train, with its augmentation.

    Raises:
        HypercolumnsError: if `resize` is combined with `augment.scale` or `augment.crop`, or `augment` is invalid.
    """
    check_augmentation(cfg)
    with setting_prefix("augment."):
        augmentation = _augmentation(plain(cfg.augment or {}), images)
    return ImageDataModule(images, cfg.batch_size, cfg.num_workers, resize(cfg), augmentation, cfg.seed)


def check_augmentation(cfg: DictConfig) -> None:
    """Check the settings of the group `augment`, before any work starts.

    Raises:
        HypercolumnsError: if a setting is invalid, or if `resize` is combined with `augment.scale` or `augment.crop`.
    """
    if cfg.resize is not None and cfg.augment and (cfg.augment.crop is not None or cfg.augment.scale is not None):
        raise HypercolumnsError(
            "resize can't be combined with augment.crop or augment.scale, because resize gives all images the same "
            "size; set augment.crop=null augment.scale=null, or resize=null"
        )
    with setting_prefix("augment."):
        Augmentation(**plain(cfg.augment or {}))


def _augmentation(settings: dict[str, Any], images: DatasetIndex) -> Augmentation:
    """Build the augmentation, and say which settings have less effect on images that are not RGB."""
    channels = images.decoding.image_channels
    augmentation = Augmentation(**settings, channels=channels)
    if channels != RGB and (settings.get("color_jitter") or settings.get("grayscale")):
        console.print(
            f"data {images.name}: images of {channels} channels have no hue, saturation and greyscale, so color_jitter "
            f"changes only their brightness and contrast, and grayscale has no effect",
            markup=False,
        )
    return augmentation


def images_to_sample(cfg: DictConfig, images: DatasetIndex) -> ImageDataModule:
    """Build the data module of stage extract, with the augmentation of the copies of train images."""
    settings = extract_augmentation(cfg)
    settings.pop("augmentations", None)
    return ImageDataModule(
        images,
        num_workers=cfg.num_workers,
        resize=resize(cfg),
        augmentation=_augmentation(settings, images),
        seed=cfg.seed,
    )


def extract_augmentation(cfg: DictConfig) -> dict[str, Any]:
    """Check and return the settings of the group `extract`; return {} if stage extract samples the unchanged images."""
    settings: dict[str, Any] = plain(cfg.extract)
    with setting_prefix("extract."):
        check_int("augmentations", settings["augmentations"], minimum=0)
        # The constructor raises an error if a value is invalid.
        Augmentation(**{name: value for name, value in settings.items() if name != "augmentations"})
    return settings if settings["augmentations"] else {}


def checks_dir(cfg: DictConfig, images: DatasetIndex) -> Path:
    """Return the folder to which the results of a data set's file checks are written, <runs>/<data>/validate."""
    return expand_path("runs", str(cfg.runs)) / images.name / "validate"
