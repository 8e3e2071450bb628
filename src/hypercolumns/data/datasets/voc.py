"""Pascal VOC's layout, with VOC's classes or any others."""

import tarfile
from pathlib import Path

import torchvision.datasets

from hypercolumns.data.class_files import read_classes, read_ids, read_palette
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import expand_path

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()


class DatasetNotFoundError(ArgumentError):
    """A data set is not in its folder."""


def voc(
    root: str | Path = "data",
    year: str | int = "2012",
    name: str | None = None,
    classes: str | Path | None = None,
    palette: str | Path | None = None,
    train: str = "train",
    val: str = "val",
    download: bool = False,
) -> DatasetIndex:
    """The images of a folder in Pascal VOC's layout.

    Args:
        root: the folder that holds `VOCdevkit`.
        year: which `VOCdevkit/VOC<year>`.
        name: of the folder for the runs; `voc<year>` by default.
        classes: a file of class names, one a line; VOC's 21 by default.
        palette: a file of the classes' colours, `R G B` one a line; VOC's by default.
        train: the split to train on, a file `ImageSets/Segmentation/<train>.txt`.
        val: the split to validate on.
        download: fetch VOC itself through torchvision, which checks it by its checksum, if it is not there.

    Raises:
        DatasetNotFoundError: if there is no such folder, and it is not fetched or can't be.
        ArgumentError: if a split of it is not there.
    """
    root, year = expand_path("root", root), str(year)
    if download and _find(root, year) is None:
        try:
            torchvision.datasets.VOCSegmentation(root, year=year, image_set="train", download=True)
        except (OSError, RuntimeError, ValueError, EOFError, tarfile.TarError) as error:
            reason = " ".join(str(error).split())
            if reason.startswith("File not found or corrupted"):  # which is all that torchvision says
                reason = "what came is not that file: its checksum differs; remove it"
            raise DatasetNotFoundError(
                f"download=true: Pascal VOC {year} could not be fetched into {root} ({reason}); download it by hand"
            ) from error
    folder = _find(root, year)
    if folder is None:
        raise DatasetNotFoundError(
            f"root={root} holds no Pascal VOC data: looked for the folder {root / 'VOCdevkit' / f'VOC{year}'}; give "
            f"the folder that holds VOCdevkit"
        )
    names = list(CLASSES) if classes is None else read_classes(classes)
    images = read_layout(folder, name or f"voc{year}", names, train, val, palette)
    return images


def read_layout(
    folder: Path, name: str, classes: list[str], train: str, val: str, palette: str | Path | None = None
) -> DatasetIndex:
    """The images of `folder`, which holds JPEGImages, SegmentationClass and ImageSets/Segmentation."""
    splits = {}
    for split, listed in (("train", train), ("val", val)):
        path = folder / "ImageSets" / "Segmentation" / f"{listed}.txt"
        if not path.is_file():
            others = sorted(other.stem for other in path.parent.glob("*.txt"))
            raise ArgumentError(
                f"{split}={listed}: {path} does not exist; the splits there are {', '.join(others) or 'none'}"
            )
        splits[split] = [
            ImageMaskPair(line, folder / "JPEGImages" / f"{line}.jpg", folder / "SegmentationClass" / f"{line}.png")
            for line in read_ids(path, f"{split}={listed}")
        ]
    return make_index(name, classes, read_palette(palette, len(classes)), splits)


def _find(root: Path, year: str) -> Path | None:
    """The folder of that year, if it is there; VOC 2011's archive has a folder of its own around it."""
    candidates = (root / "VOCdevkit" / f"VOC{year}", root / "TrainVal" / "VOCdevkit" / f"VOC{year}")
    return next((folder for folder in candidates if folder.is_dir()), None)
