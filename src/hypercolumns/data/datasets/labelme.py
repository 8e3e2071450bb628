"""Data sets that are annotated in labelme, with a JSON file for each image."""

from collections.abc import Mapping
from pathlib import Path

from hypercolumns.data.annotations.classes import annotation_classes
from hypercolumns.data.annotations.drawn_mask import VOID_VALUE, drawn_mask, not_annotated
from hypercolumns.data.annotations.empty import empty_notes, is_annotated
from hypercolumns.data.annotations.labelme import (
    IGNORE,
    LIBRARY,
    LabelmeFile,
    draw_labelme_shape,
    labelme_box,
    read_labelme,
)
from hypercolumns.data.annotations.labelme_images import find_images
from hypercolumns.data.annotations.outside import OutsideCount
from hypercolumns.data.class_files import Classes, Colours
from hypercolumns.data.index import DatasetIndex, ImageMaskPair, make_index
from hypercolumns.data.pairing import image_files
from hypercolumns.data.splits import choose_splits
from hypercolumns.errors import ArgumentError, DataNotFoundError
from hypercolumns.io.files import base_folder, existing_folder, walk_files
from hypercolumns.labels import is_background


def labelme(
    images: str | Path | None,
    annotations: str | Path | None = None,
    root: str | Path | None = None,
    classes: Classes | None = None,
    palette: Colours | None = None,
    name: str = "labelme",
    unannotated: str = "background",
    overlaps: str = "order",
    orientation: str = "auto",
    empty: str = "background",
    train: str | Path | None = None,
    val: str | Path | None = None,
    val_fraction: float = 0.2,
    split_seed: int = 0,
) -> DatasetIndex:
    """Index a folder of images and the files that labelme wrote for them. Masks are drawn when they are read.

    Args:
        images: the folder of images, searched with its subfolders.
        annotations: the folder of labelme's JSON files, searched in the same way; None: the folder of images.
        root: the folder that the other paths are relative to; None: the working directory.
        classes: the labels, in the order of the classes, see `class_files.class_list`. None: all labels that the files
            have, in the order of the alphabet.
        palette: the classes' colours, see `class_files.class_list`.
        name: the name of the data set, and of the folder of its runs.
        unannotated: the class of pixels without a shape; `void`: they are void.
        overlaps: `order`: shapes lie over those before them in the file; `smaller_on_top`: over larger ones.
        orientation: on which form of an image with an EXIF orientation shapes were drawn, see `drawn_form`.
        empty: `background`: an image whose file lists no shape has no objects; `unlabelled`: it is not annotated yet.
        train: a list of the images to train on, see `splits.choose_splits`.
        val: a list of the images to validate on, in the same way.
        val_fraction: the fraction of the images, in (0, 1), that a random split assigns to val.
        split_seed: the seed of the random split.

    Returns:
        The index of both splits. An image without a JSON file is not annotated. Shapes are not checked.

    Raises:
        ArgumentError: if a folder does not exist or holds no JSON files, if a JSON file is invalid, if two files are
            for the same image, or if another argument is invalid.
        HypercolumnsError: if a split is empty or lists an invalid id, see `make_index`.
    """
    if images is None:
        raise DataNotFoundError("images is not set; the data set needs the folder of images")
    base = base_folder(root)
    images = existing_folder("images", images, base)
    annotations = images if annotations is None else existing_folder("annotations", annotations, base)
    files = [read_labelme(path) for path in walk_files(annotations) if path.suffix.lower() == ".json"]
    if not files:
        raise DataNotFoundError(f"annotations={annotations} holds no .json files; give the folder of labelme's files")
    found = {label for file in files for label, _ in file.objects} - {IGNORE}
    # shapes labelled `_background_` are no class of their own, but of that of the pixels without a shape
    background = {*filter(is_background, found)} if classes is None and is_background(unannotated) else set()
    labels = sorted(found - background)
    decided = annotation_classes(labels, str(annotations), _without_ignore(classes), palette, unannotated)
    values = {**decided.values, **dict.fromkeys(background, decided.fill), IGNORE: VOID_VALUE}
    pairs, path_notes = _pairs(images, annotations, files, values, decided.fill, overlaps, orientation, empty)
    notes = [decided.note, *path_notes]
    notes += empty_notes(sum(not file.objects for file in files), len(files), empty, "a labelme file without shapes")
    if classes is None:
        notes.insert(0, f"the classes are all labels that the files have: {', '.join(labels)}")
    splits = choose_splits(pairs, images, train, val, val_fraction, split_seed, base)
    return make_index(name, decided.listed, splits, notes)


def _without_ignore(classes: Classes | None) -> Classes | None:
    """Remove `__ignore__` from a list of names, as `read_class_list` does for a file."""
    if classes is None or isinstance(classes, str | Path | Mapping):
        return classes
    return [name for name in classes if name != IGNORE]


def _pairs(
    images: Path,
    annotations: Path,
    files: list[LabelmeFile],
    values: Mapping[str, int],
    fill: int,
    overlaps: str,
    orientation: str,
    empty: str,
) -> tuple[dict[str, ImageMaskPair], list[str]]:
    """Return all images with their masks, by id, and lines for the user.

    A file whose image is not found is listed with the missing image.
    """
    found = image_files(images, "{id}.*")
    ids, notes = find_images(files, annotations, found, images)
    pairs: dict[str, ImageMaskPair] = {}
    count = OutsideCount(labelme_box)
    for file, id in zip(files, ids, strict=True):
        if id in pairs:
            raise ArgumentError(
                f"annotations: {file.path} and {pairs[id].mask} are for the same image; remove one of the files"
            )
        image = found.get(id, file.path.parent / file.image)
        objects = [(values[label], described) for label, described in file.objects]
        mask = drawn_mask(
            *(file.path, image, file.shape, objects, draw_labelme_shape, fill, overlaps),
            annotated=is_annotated(len(objects), empty),
            void_below=False,
            orientation=orientation,
            library=LIBRARY,
        )
        count.add(mask, (described for _, described in objects))
        pairs[id] = ImageMaskPair(id, image, mask)
    for id, path in found.items():
        if id not in pairs:
            mask = not_annotated(annotations / f"{id}.json", path, draw_labelme_shape, fill)
            pairs[id] = ImageMaskPair(id, path, mask)
    return dict(sorted(pairs.items())), notes + count.notes(str(annotations))
