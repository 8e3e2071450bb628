"""Split the images of a data set into train and val, by lists, by subfolders or at random."""

from collections.abc import Mapping
from pathlib import Path

from hypercolumns.data.class_files import read_ids
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.pairing import draw_splits, read_pairs
from hypercolumns.errors import ArgumentError
from hypercolumns.io.files import expand_path, file_hash
from hypercolumns.io.images import SUFFIXES


def choose_splits(
    pairs: Mapping[str, ImageMaskPair],
    images: Path,
    train: str | Path | None,
    val: str | Path | None,
    val_fraction: float,
    split_seed: int,
    base: Path = Path(),
) -> dict[str, list[ImageMaskPair]]:
    """Split images into train and val.

    Args:
        pairs: the images and masks, by their ids.
        images: the folder of images.
        train: a text file that lists the images to train on, one per line, as paths below `images` without suffix, or
            with the paths of the image and of its mask on each line; or a subfolder of `images`. None: a random split.
        val: the images to validate on, in the same way.
        val_fraction: the fraction of the images, in (0, 1), that the random split assigns to val.
        split_seed: the seed of the random split.
        base: the folder in which a list is looked up, too, if it is not found in the working directory.

    Returns:
        The images of `train` and of `val`.

    Raises:
        ArgumentError: if only one of `train` and `val` is given, if a list is not found, can't be read or names an
            unknown image, if two lists of its name differ, or if there are too few images for a random split.
    """
    if (train is None) != (val is None):
        raise ArgumentError(
            "train and val go together: give both lists of images, or leave out both for a random split"
        )
    if train is not None and val is not None:
        given = {"train": train, "val": val}
        return {split: _listed(pairs, path, split, images, base) for split, path in given.items()}
    if len(pairs) < 2:
        raise ArgumentError(
            f"images={images} has {len(pairs)} images ({' '.join(SUFFIXES)}); expected at least two, one for train "
            f"and one for val: add images, or give another folder"
        )
    return draw_splits(list(pairs.values()), val_fraction, split_seed)


def _listed(
    pairs: Mapping[str, ImageMaskPair], given: str | Path, split: str, images: Path, base: Path
) -> list[ImageMaskPair]:
    """Return the images of a split, which is a text file of ids or of pairs of paths, or a subfolder of `images`."""
    places = [*dict.fromkeys([expand_path(split, given), base / expand_path(split, given)])]
    files = [path for path in places if path.is_file()]
    if not files and (images / given).is_dir():
        prefix = f"{(images / given).relative_to(images).as_posix()}/"
        return [pair for id, pair in pairs.items() if id.startswith(prefix)]
    if not files:
        where = " and ".join(str(path.absolute()) for path in places)
        raise ArgumentError(
            f"{split}={given} is not found: {where} {'are no files' if len(places) > 1 else 'is no file'}, and "
            f"{images} has no such subfolder; give the path of a text file that lists images, or a subfolder"
        )
    path = files[0]
    if len(files) > 1 and file_hash(path) != file_hash(files[1]):
        raise ArgumentError(
            f"{split}={given} names two lists that differ, {path.absolute()} and {files[1].absolute()}; give the full "
            f"path of one of them"
        )
    names = read_ids(path, split)
    unknown = [name for name in names if name not in pairs]
    if unknown:
        listed = read_pairs(path, split, [path.parent, images, images.parent])
        if listed is not None:
            if not all(isinstance(pair.mask, Path) for pair in pairs.values()):
                raise ArgumentError(
                    f"{split}={given} names masks, but the masks are drawn from annotations; list only the images, as "
                    f"paths without suffix"
                )
            return listed
        raise ArgumentError(
            f"{split}={given} lists {len(unknown)} names without an image in {images}, such as {unknown[0]}; "
            f"names must be relative to this folder, without suffix"
        )
    return [pairs[name] for name in names]
