"""The Semantic Boundaries Dataset (SBD): images of Pascal VOC with masks in MATLAB files."""

from pathlib import Path

from hypercolumns.data.annotations.mat_mask import MatMask, check_scipy
from hypercolumns.data.class_files import Classes, Colours, class_list, read_ids
from hypercolumns.data.class_list import ClassList
from hypercolumns.data.datasets.voc import CLASSES
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.named_layouts import find_sbd
from hypercolumns.data.pairing import draw_splits, find_image, image_files
from hypercolumns.errors import ArgumentError, DataNotFoundError
from hypercolumns.io.files import expand_path, glob_files


def sbd(
    root: str | Path | None,
    name: str = "sbd",
    classes: Classes | None = None,
    palette: Colours | None = None,
    train: str | None = "train",
    val: str | None = "val",
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index the Semantic Boundaries Dataset. Its masks are read as they are, without a conversion.

    Args:
        root: the folder that holds `img` and `cls`, or the folder `benchmark_RELEASE` above it, or one above that.
        name: the name of the data set, and of the folder of its runs.
        classes: a file that lists the classes, or their names, see `class_files.class_list`. None: the 21 classes of
            Pascal VOC.
        palette: the classes' colours, see `class_files.class_list`. None: those of Pascal VOC.
        train: the name of the list of the images to train on: the file `<train>.txt` beside `cls`. None: all images.
        val: the name of the list of the images to validate on, in the same way. None: a random part of the images of
            `train`, which are then no longer trained on.
        val_fraction: the fraction of the images, in (0, 1), that this random part has.
        split_seed: the seed of the random part.

    Returns:
        The index of both splits. The files of the images and masks are not checked.

    Raises:
        ArgumentError: if scipy is not installed, if no folder has the layout, or if a list does not exist or is
            invalid.
        HypercolumnsError: if a split lists an invalid id, see `make_index`.
    """
    if root is None:
        raise ArgumentError("root=None must be the folder of the data set")
    folder = find_sbd(expand_path("root", root))
    if folder is None:
        raise DataNotFoundError(
            f"root={root} holds no Semantic Boundaries Dataset: a folder img of images beside a folder cls of .mat "
            f"files; give the folder benchmark_RELEASE/dataset"
        )
    check_scipy(f"root={root}")
    listed = class_list(classes or ClassList.of_voc(CLASSES), palette)
    train_pairs = _listed(folder, train, "train")
    if val is None:
        return make_index(name, listed, draw_splits(train_pairs, val_fraction, split_seed))
    return make_index(name, listed, {"train": train_pairs, "val": _listed(folder, val, "val")})


def _listed(folder: Path, listed: str | None, split: str) -> list[ImageMaskPair]:
    """Return the images of a list in a folder; all images of the folder if `listed` is None.

    Raises:
        ArgumentError: if the list does not exist or is invalid.
    """
    if listed is None:
        images = image_files(folder / "img", "{id}.*")
    else:
        path = folder / f"{listed}.txt"
        if not path.is_file():
            others = ", ".join(other.stem for other in glob_files(folder, "*.txt")) or "none"
            raise ArgumentError(
                f"{split}={listed}: {path} does not exist; the lists in this folder are {others}. With train=null, all "
                f"images are used; with val=null, a random part of the train images is val"
            )
        images = {id: find_image(folder / "img", id) for id in read_ids(path, f"{split}={listed}")}
    return [ImageMaskPair(id, path, MatMask(folder / "cls" / f"{id}.mat")) for id, path in images.items()]
