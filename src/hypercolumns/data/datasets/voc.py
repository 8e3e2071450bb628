"""Data sets in Pascal VOC's layout, with Pascal VOC's classes or with other classes."""

import tarfile
from pathlib import Path

from torchvision.datasets.utils import download_url
from torchvision.datasets.voc import DATASET_YEAR_DICT

from hypercolumns.data.class_files import read_classes, read_ids, read_palette
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import expand_path
from hypercolumns.labels import LabelScheme

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()


class DatasetNotFoundError(ArgumentError):
    """An error for a data set that is not in the given folder, or could not be downloaded into this folder."""


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
    """Index a data set in Pascal VOC's layout.

    Args:
        root: the folder that contains `VOCdevkit`, or `TrainVal/VOCdevkit` as in Pascal VOC's archive of 2011.
        year: selects the folder `VOCdevkit/VOC<year>`.
        name: the name of the data set, and of the folder of its runs; `voc<year>` by default.
        classes: a text file of class names, one per line, in the order of the class indices; Pascal VOC's 21 classes by
            default.
        palette: a text file of the classes' colours, one `R G B` per line, in the order of the class indices; Pascal
            VOC's colours by default.
        train: the name of the list of the images to train on: the file `ImageSets/Segmentation/<train>.txt`.
        val: the name of the list of the images to validate on: the file `ImageSets/Segmentation/<val>.txt`.
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
            f"give the folder that holds VOCdevkit"
        )
    names = list(CLASSES) if classes is None else read_classes(classes)
    return read_layout(folder, name or f"voc{year}", names, train, val, palette)


def read_layout(
    folder: Path, name: str, classes: list[str], train: str, val: str, palette: str | Path | None = None
) -> DatasetIndex:
    """Index the images of a `VOC<year>` folder.

    Args:
        folder: the folder that contains JPEGImages, SegmentationClass and ImageSets/Segmentation.
        name: the name of the data set, and of the folder of its runs.
        classes: the class names, in the order of the class indices.
        train: the name of the list of the images to train on: the file `ImageSets/Segmentation/<train>.txt`.
        val: the name of the list of the images to validate on: the file `ImageSets/Segmentation/<val>.txt`.
        palette: a text file of the classes' colours, one `R G B` per line, in the order of the class indices; Pascal
            VOC's colours by default.

    Returns:
        The index of both splits. The files of the images and masks are not checked.

    Raises:
        ArgumentError: if the text file of a split or of the palette does not exist or is invalid.
        HypercolumnsError: if a split lists an invalid id, see `make_index`.
    """
    splits = {}
    for split, listed in (("train", train), ("val", val)):
        path = folder / "ImageSets" / "Segmentation" / f"{listed}.txt"
        if not path.is_file():
            others = sorted(other.stem for other in path.parent.glob("*.txt"))
            raise ArgumentError(
                f"{split}={listed}: {path} does not exist; the lists in this folder are {', '.join(others) or 'none'}"
            )
        splits[split] = [
            ImageMaskPair(line, folder / "JPEGImages" / f"{line}.jpg", folder / "SegmentationClass" / f"{line}.png")
            for line in read_ids(path, f"{split}={listed}")
        ]
    return make_index(name, LabelScheme.of(classes, read_palette(palette, len(classes))), splits)


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
    """Return the folder `VOC<year>` below `root`; None if it does not exist.

    Pascal VOC's archive of 2011 contains the folder as `TrainVal/VOCdevkit/VOC2011`. The archives of other years
    contain it as `VOCdevkit/VOC<year>`.
    """
    candidates = (root / "VOCdevkit" / f"VOC{year}", root / "TrainVal" / "VOCdevkit" / f"VOC{year}")
    return next((folder for folder in candidates if folder.is_dir()), None)
