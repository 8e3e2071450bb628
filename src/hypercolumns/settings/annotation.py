"""Read from a config which images stage annotate labels, and how it reads and writes their masks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules, OwnMask
from hypercolumns.annotation.labels.label_store import journal_path
from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.data import DatasetIndex, ImageMaskPair
from hypercolumns.data.labelling import LabelSettings, check_binary, class_pixels, label_scheme
from hypercolumns.data.mask_survey import survey_masks
from hypercolumns.data.pairing import MASK_SUFFIXES
from hypercolumns.data.value_check import check_values
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import FULL_RANGE, RULES, ImageDecoding
from hypercolumns.io.files import base_folder, expand_path
from hypercolumns.io.images import image_size, set_max_pixels
from hypercolumns.io.masks import check_sizes, mask_size, read_mask
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import part, plain
from hypercolumns.settings.data import Subset, checks_dir

OF_SPLITS = ("train", "val", "val_fraction", "split_seed")  # which images are for validation is decided in training


def images_to_label(cfg: DictConfig) -> DatasetIndex:
    """Return the index of all images of `data.images`, whose masks need not exist, in the split `train`.

    Raises:
        HypercolumnsError: if a setting is invalid, or the data set is no folder of images and masks.
    """
    set_max_pixels(cfg.max_pixels)
    settings: dict[str, Any] = plain(cfg.data)
    if settings.get("kind") != "folder":
        raise HypercolumnsError(
            "stage=annotate labels the images of a folder; set data=folder data.images=FOLDER data.masks=FOLDER "
            "data.classes=FILE"
        )
    if settings["val_images"] is not None or settings["val_masks"] is not None:
        raise HypercolumnsError(
            "stage=annotate labels one folder at a time; leave out data.val_images and data.val_masks, or give them as "
            "data.images and data.masks"
        )
    for name in (*Subset.__dataclass_fields__, *LabelSettings.__dataclass_fields__, *OF_SPLITS):
        settings.pop(name, None)
    for name in ("val_images", "val_masks"):
        del settings[name]
    with setting_prefix("data."):
        decoding = ImageDecoding(**{name: settings.pop(name) for name in RULES if name in settings}, prefix="data.")
    settings["_target_"] = "hypercolumns.data.datasets.folder_to_label"
    images: DatasetIndex = replace(part("data", settings), decoding=decoding)
    if decoding.range in (None, FULL_RANGE):
        check_values(images)
    return images


def mask_folder(cfg: DictConfig) -> Path:
    """Return the folder of masks that the settings `data` name."""
    return base_folder(cfg.data.root) / expand_path("masks", cfg.data.masks)


def label_files(cfg: DictConfig, images: DatasetIndex) -> list[LabelFiles]:
    """Return the files of the labels of each image.

    Raises:
        HypercolumnsError: if masks can't be written to files of these names.
    """
    masks = mask_folder(cfg)
    unreadable = next((mask for _, mask in _pairs(images) if mask.suffix.lower() not in MASK_SUFFIXES), None)
    if unreadable is not None:
        raise HypercolumnsError(
            f"data.mask_name={cfg.data.mask_name}: {unreadable.name} can't hold labels; let the name end with "
            f"{', '.join(MASK_SUFFIXES[:-1])} or {MASK_SUFFIXES[-1]}, or with .* for .png"
        )
    return [LabelFiles(mask, journal_path(masks, mask)) for _, mask in _pairs(images)]


def label_rules(cfg: DictConfig, images: DatasetIndex, own: Sequence[OwnMask | None]) -> LabelRules:
    """Decide how masks are read and written.

    Masks that other programs wrote are read, and must be clear, as in all stages. Own masks are clear, also those that
    were written before a class was added.

    Args:
        cfg: the config.
        images: the images.
        own: the mask of each image that this program wrote; None for others.

    Returns:
        The rules.

    Raises:
        HypercolumnsError: if the masks do not fit the classes, or if what they mean is not certain.
    """
    said = label_settings(cfg)
    with setting_prefix("data."):
        coding = MaskCoding.of(images.class_list.scheme(said.void, said.map))
        of_others = tuple(
            pair
            for (pair, mask), own_mask in zip(_pairs(images), own, strict=True)
            if own_mask is None and mask.is_file()
        )
        survey = survey_masks(replace(images, splits={"train": of_others}), checks_dir(cfg, images))
        scheme, notes = label_scheme(images, survey, replace(said, missing_classes="allow"))
        coding.check(scheme)
    for note in notes:
        console.print(f"data {images.name}: {note}", markup=False)
    return LabelRules(scheme, coding)


def count_labels(
    images: DatasetIndex, own: Sequence[OwnMask | None], rules: LabelRules
) -> tuple[list[list[int]], dict[int, str]]:
    """Count the labels in the masks of images.

    Args:
        images: the images.
        own: the mask of each image that this program wrote; None for others.
        rules: how masks are read.

    Returns:
        The number of labelled pixels of each class in each image, and why masks can't be used, by the numbers of their
        images.
    """
    counts, problems = [], {}
    for number, ((pair, mask), own_mask) in enumerate(zip(_pairs(images), own, strict=True)):
        labelled = [0] * len(rules.scheme.classes)
        if mask.is_file():
            try:
                size = mask_size(mask)
                check_sizes(pair.image, image_size(pair.image, size, images.decoding), mask, size)
                labelled = _count(mask, own_mask, rules)
            except HypercolumnsError as error:
                problems[number] = str(error)
        counts.append(labelled)
    return counts, problems


def _count(mask: Path, own: OwnMask | None, rules: LabelRules) -> list[int]:
    """Return the number of labelled pixels of each class, which the journal knows if the classes are still the same."""
    if own is not None and own.coding == rules.coding:
        return own.labelled
    counts = read_mask(mask, rules.scheme).flatten().bincount(minlength=IGNORE_INDEX + 1)
    return counts[: len(rules.scheme.classes)].tolist()


def label_settings(cfg: DictConfig) -> LabelSettings:
    """Return what the settings `data` say about the meaning of masks."""
    settings = plain(cfg.data)
    return LabelSettings(**{name: settings[name] for name in LabelSettings.__dataclass_fields__})


def training_overrides(cfg: DictConfig, images: DatasetIndex) -> list[str]:
    """Return the settings that a training on the masks needs beside those of this command."""
    said, needed = label_settings(cfg), []
    labelled = tuple(pair for pair, mask in _pairs(images) if mask.is_file())
    if len(labelled) < len(_pairs(images)) and cfg.data.unlabelled != "skip":
        needed.append("data.unlabelled=skip")
    images = replace(images, splits={"train": labelled})
    survey = survey_masks(images, checks_dir(cfg, images))
    scheme = images.class_list.scheme(said.void, said.map)
    if said.void is None:
        try:
            check_binary(survey.values(), scheme)
        except HypercolumnsError:
            needed.append("data.void=255")
    seen = {index for summary in survey.values() for index, count in class_pixels(summary, scheme).items() if count}
    if said.missing_classes != "allow" and not seen >= {*range(len(scheme.classes))}:
        needed.append("data.missing_classes=allow")
    return needed


def _pairs(images: DatasetIndex) -> list[tuple[ImageMaskPair, Path]]:
    """Return each image with the path of its mask file, which is the only kind of mask in a folder."""
    return [(pair, pair.mask) for pair in images.splits["train"] if isinstance(pair.mask, Path)]
