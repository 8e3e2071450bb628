"""Read from a config which images stage annotate labels, and how it reads and writes their masks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from hypercolumns.annotation.label_files import LabelFiles, LabelRules
from hypercolumns.annotation.label_store import journal_path
from hypercolumns.annotation.mask_coding import MaskCoding
from hypercolumns.data import DatasetIndex, ImageMaskPair
from hypercolumns.data.labelling import LabelSettings, check_binary, class_pixels, label_scheme
from hypercolumns.data.mask_survey import survey_masks
from hypercolumns.data.value_check import check_values
from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import FULL_RANGE, RULES, ImageDecoding
from hypercolumns.io.files import expand_path
from hypercolumns.io.images import set_max_pixels
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
    root = cfg.data.root
    return (Path() if root is None else expand_path("root", root)) / expand_path("masks", cfg.data.masks)


def label_files(cfg: DictConfig, images: DatasetIndex) -> list[LabelFiles]:
    """Return the files of the labels of each image."""
    masks = mask_folder(cfg)
    return [LabelFiles(pair.mask, journal_path(masks, pair.mask)) for pair in _pairs(images)]


def label_rules(
    cfg: DictConfig, images: DatasetIndex, files: list[LabelFiles]
) -> tuple[LabelRules, list[list[int] | None]]:
    """Decide how masks are read and written, and count the labels of each image.

    Masks that other programs wrote are read, and must be clear, as in all stages.

    Args:
        cfg: the config.
        images: the images.
        files: the files of their labels.

    Returns:
        The rules, and the number of labelled pixels of each class in each image; None for a mask that can't be read.

    Raises:
        HypercolumnsError: if the masks do not fit the classes, or if what they mean is not certain.
    """
    said = label_settings(cfg)
    with setting_prefix("data."):
        coding = MaskCoding.of(images.class_list.scheme(said.void, said.map))
        counts = [of_image.written_counts(coding) for of_image in files]
        pairs = _pairs(images)
        others = [pair for pair, known in zip(pairs, counts, strict=True) if known is None and pair.mask.is_file()]
        survey = survey_masks(replace(images, splits={"train": tuple(others)}), checks_dir(cfg, images))
        scheme, notes = label_scheme(images, survey, replace(said, missing_classes="allow"))
    for note in notes:
        console.print(f"data {images.name}: {note}", markup=False)
    for number, pair in enumerate(pairs):
        if counts[number] is None and pair.mask in survey:
            pixels = class_pixels(survey[pair.mask], scheme)
            counts[number] = [pixels[index] for index in range(len(scheme.classes))]
        elif counts[number] is None and not pair.mask.is_file():
            counts[number] = [0] * len(scheme.classes)
    return LabelRules(scheme, coding), counts


def label_settings(cfg: DictConfig) -> LabelSettings:
    """Return what the settings `data` say about the meaning of masks."""
    settings = plain(cfg.data)
    return LabelSettings(**{name: settings[name] for name in LabelSettings.__dataclass_fields__})


def training_overrides(cfg: DictConfig, images: DatasetIndex) -> list[str]:
    """Return the settings that a training on the masks needs beside those of this command."""
    said, needed = label_settings(cfg), []
    labelled = tuple(pair for pair in _pairs(images) if pair.mask.is_file())
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


def _pairs(images: DatasetIndex) -> "tuple[ImageMaskPair, ...]":
    return images.splits["train"]
