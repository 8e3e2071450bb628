"""Data sets in Pascal VOC's layout, with Pascal VOC's classes or with other classes."""

import os
import tarfile
from dataclasses import replace
from pathlib import Path

from torchvision.datasets.utils import download_url
from torchvision.datasets.voc import DATASET_YEAR_DICT

from hypercolumns.data.class_files import Classes, Colours, class_list, read_ids
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.pairing import draw_splits, find_image, find_mask, image_files, read_pairs
from hypercolumns.data.voc_layout import VOC_MASK_FOLDERS
from hypercolumns.errors import ArgumentError, DataNotFoundError
from hypercolumns.io.files import expand_path, glob_files

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()
CLASS_FILES = ("labelmap.txt", "class_names.txt")  # of CVAT and Datumaro, and of labelme


class DatasetNotFoundError(DataNotFoundError):
    """An error for a data set that is not in the given folder, or could not be downloaded into this folder."""


def voc(
    root: str | Path = "data",
    year: str | int = "2012",
    name: str | None = None,
    classes: Classes | None = None,
    palette: Colours | None = None,
    train: str | None = "train",
    val: str | None = "val",
    val_fraction: float = 0.2,
    split_seed: int = 0,
    download: bool = False,
) -> DatasetIndex:
    """Index a data set in Pascal VOC's layout.

    Args:
        root: the folder that contains JPEGImages, or contains `VOCdevkit`, or `TrainVal/VOCdevkit` as in Pascal VOC's
            archive of 2011.
        year: selects the folder `VOCdevkit/VOC<year>`. It has no effect if `root` contains JPEGImages.
        name: the name of the data set, and of the folder of its runs; `voc<year>` by default.
        classes: a file that lists the classes, or their names, see `class_files.class_list`. By default, the file
            labelmap.txt or class_names.txt beside JPEGImages or, if there is none, Pascal VOC's 21 classes.
        palette: the classes' colours, see `class_files.class_list`. `voc`: Pascal VOC's colours.
        train: the name of the list of the images to train on: the file `ImageSets/Segmentation/<train>.txt`. None: all
            images.
        val: the name of the list of the images to validate on, in the same way. None: a random part of the images of
            `train`, which are then no longer trained on.
        val_fraction: the fraction of the images, in (0, 1), that this random part has.
        split_seed: the seed of the random part.
        download: whether to download Pascal VOC into `root` if the folder `VOC<year>` does not exist there. Torchvision
            verifies the checksum of the archive.

    Returns:
        The index of both splits. The files of the images and masks are not checked.

    Raises:
        DatasetNotFoundError: if the folder `VOC<year>` does not exist, or the download fails.
        ArgumentError: if the text file of a split, of the classes or of the palette does not exist or is invalid.
        HypercolumnsError: if a split lists an invalid id, see `make_index`.
    """
    root, year = expand_path("root", root), str(year)
    if download and _find(root, year) is None:
        try:
            _download(root, year)
        except (OSError, RuntimeError, ValueError, EOFError, tarfile.TarError) as error:
            reason = " ".join(str(error).split())
            if reason.startswith(
                "File not found or corrupted"
            ):  # torchvision's words; the file exists, as it was just downloaded
                reason = "the checksum of the downloaded file is wrong; remove the file"
            raise DatasetNotFoundError(
                f"download=true: Pascal VOC {year} could not be downloaded into {root} ({reason}); "
                f"download the archive by hand, and unpack it in this folder"
            ) from error
    folder = _find(root, year)
    if folder is None:
        raise DatasetNotFoundError(
            f"root={root} holds no Pascal VOC data: the folder {root / 'VOCdevkit' / f'VOC{year}'} does not exist; "
            f"give the folder that holds VOCdevkit or JPEGImages"
        )
    beside = next((path for path in (folder / file for file in CLASS_FILES) if path.is_file()), None)
    listed = class_list(classes or beside or ClassList.of_voc(CLASSES), palette)
    return read_layout(folder, name or f"voc{year}", listed, train, val, val_fraction, split_seed)


def read_layout(
    folder: Path,
    name: str,
    classes: ClassList,
    train: str | None = "train",
    val: str | None = "val",
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index the images of a `VOC<year>` folder.

    The mask of an image is in SegmentationClass or, if it is not there, in SegmentationClassAug. The second folder
    holds the masks of the Semantic Boundaries Dataset (SBD), which the list `trainaug` names beside Pascal VOC's own.

    Args:
        folder: the folder that contains JPEGImages, SegmentationClass and ImageSets/Segmentation.
        name: the name of the data set, and of the folder of its runs.
        classes: the classes.
        train: the name of the list of the images to train on, see `voc`.
        val: the name of the list of the images to validate on, see `voc`.
        val_fraction: see `voc`.
        split_seed: see `voc`.

    Returns:
        The index of both splits. The files of the images and masks are not checked.

    Raises:
        ArgumentError: if the text file of a split does not exist or is invalid.
        HypercolumnsError: if a split lists an invalid id, see `make_index`.
    """
    train_pairs = _listed(folder, train, "train")
    if val is None:
        if len(train_pairs) < 2:
            raise ArgumentError(
                f"train={train} has {len(train_pairs)} images; expected at least two, because val=null takes a part of "
                f"them for val"
            )
        return make_index(name, classes, draw_splits(train_pairs, val_fraction, split_seed))
    return make_index(name, classes, {"train": train_pairs, "val": _listed(folder, val, "val")})


def _listed(folder: Path, listed: str | None, split: str) -> list[ImageMaskPair]:
    """Return the images of a list in `folder`/ImageSets/Segmentation; all images of the folder if `listed` is None.

    Each line of the list is an id, or the paths of an image and of its mask.

    Raises:
        ArgumentError: if the list does not exist or is invalid.
    """
    images = folder / "JPEGImages"
    masks = [folder / name for name in VOC_MASK_FOLDERS]
    if listed is None:
        found = image_files(images, "{id}.*")
        return [ImageMaskPair(id, path, find_mask(masks, id)) for id, path in found.items()]
    path = folder / "ImageSets" / "Segmentation" / f"{listed}.txt"
    if not path.is_file():
        others = [other.stem for other in glob_files(path.parent, "*.txt")]
        raise ArgumentError(
            f"{split}={listed}: {path} does not exist; the lists in this folder are {', '.join(others) or 'none'}. "
            f"With val=null, a random part of the images of train={others[0] if others else 'null'} is val"
        )
    ids = read_ids(path, f"{split}={listed}")
    pairs = [ImageMaskPair(id, find_image(images, id), find_mask(masks, id)) for id in ids]
    if not any(os.path.lexists(pair.image) for pair in pairs):
        of_paths = read_pairs(path, f"{split}={listed}", [folder, folder.parent, path.parent])
        if of_paths is not None:
            return [replace(pair, id=pair.id.removeprefix("JPEGImages/")) for pair in of_paths]
    return pairs


def _download(root: Path, year: str) -> None:
    """Download Pascal VOC's archive of a year into `root`, and unpack it there.

    Unpacking uses tarfile's `data` filter, which refuses members outside `root` and links that lead there.
    Torchvision's own unpacking is not used, because it has no such filter before version 0.29.2.
    """
    years = [name for name in DATASET_YEAR_DICT if name.isdecimal()]
    if year not in years:
        raise ValueError(f"year={year} must be one of {', '.join(sorted(years))}")
    archive = DATASET_YEAR_DICT[year]
    download_url(archive["url"], root, archive["filename"], archive["md5"])
    with tarfile.open(root / archive["filename"]) as tar:
        tar.extractall(root, filter="data")


def _find(root: Path, year: str) -> Path | None:
    """Return `root` if it contains JPEGImages, or else the folder `VOC<year>` below it; None if it does not exist.

    Pascal VOC's archive of 2011 contains the folder as `TrainVal/VOCdevkit/VOC2011`. The archives of other years
    contain it as `VOCdevkit/VOC<year>`.
    """
    if (root / "JPEGImages").is_dir():
        return root
    candidates = (
        root / "VOCdevkit" / f"VOC{year}",
        root / "TrainVal" / "VOCdevkit" / f"VOC{year}",
        root / f"VOC{year}",
    )
    return next((folder for folder in candidates if folder.is_dir()), None)
