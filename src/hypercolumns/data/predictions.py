"""Read predicted masks from files, each together with the true mask of the same image."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from torch.utils.data import Dataset

from hypercolumns.coordinates import full_image_box
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.modules.image_data import Example
from hypercolumns.data.near_masks import CONVERT, PICTURE_SUFFIXES, nearest_mask
from hypercolumns.data.pairing import MASK_SUFFIXES, find_mask
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import walk_files
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import IGNORE_INDEX, LabelScheme


class PredictionDataset(Dataset[Example]):
    """Dataset of predicted masks, each together with the true mask of the same image.

    A predicted mask holds class indices, or the colours of the classes, as `predict.py` writes them. A true mask may
    hold other values and colours.

    In each `Example`, `image` holds the predicted class indices, and `mask` holds the true ones. Both are (H, W) uint8.

    Args:
        pairs: the files. The `image` of a pair is the predicted mask, and the `mask` is the true mask.
        scheme: the classes, and the rule that turns the pixels of a true mask into class indices.
    """

    def __init__(self, pairs: Sequence[ImageMaskPair], scheme: LabelScheme) -> None:
        self.pairs, self.scheme = pairs, scheme

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        """Read the predicted mask and the true mask of the pair at an index.

        Raises:
            HypercolumnsError: if a file can't be used, if the two masks differ in size, or if the predicted mask is
                void at a pixel that is labelled in the true mask.
        """
        pair = self.pairs[index]
        of_predictions = LabelScheme.of(self.scheme.classes, self.scheme.palette)
        labels, mask = read_mask(pair.image, of_predictions), read_mask(pair.mask, self.scheme)
        if labels.shape != mask.shape:
            raise HypercolumnsError(
                f"the predicted mask {pair.image} is {labels.shape[1]}x{labels.shape[0]}, but the true mask "
                f"{pair.mask} is {mask.shape[1]}x{mask.shape[0]}; the predicted mask must have the "
                f"size of the true mask"
            )
        unpredicted = int(((labels == IGNORE_INDEX) & (mask != IGNORE_INDEX)).sum())
        if unpredicted:
            raise HypercolumnsError(
                f"{pair.image}: {unpredicted} pixels are void ({IGNORE_INDEX}) in this file, but labelled in the "
                f"true mask; predict a class for every labelled pixel"
            )
        return Example(labels, mask, pair.id, full_image_box(mask.shape[-2:])[0])


def mask_pairs(predictions: Path, masks: Path) -> list[ImageMaskPair]:
    """Pair each true mask with the predicted mask of the same image.

    The true masks are the mask files below `masks`. The predicted mask has the same path below `predictions`, apart
    from its suffix.

    Whether the predicted masks exist is not checked: `PredictionDataset` raises an error when it reads a pair whose
    predicted mask is missing. The pairs are in the order of their paths.

    Raises:
        ArgumentError: if one of the two folders does not exist, or `masks` contains no mask file.
    """
    for name, folder, kind in (("predictions", predictions, "predicted"), ("masks", masks, "true")):
        if not folder.is_dir():
            raise ArgumentError(f"{name}={folder} is not a folder; give the folder of the {kind} masks")
    names = sorted(path.relative_to(masks) for path in walk_files(masks) if path.suffix.lower() in MASK_SUFFIXES)
    if not names:
        other = next((path for path in walk_files(masks) if path.suffix.lower() in PICTURE_SUFFIXES), None)
        remedy = "give the folder of true masks" if other is None else f"if {other} is a mask: {CONVERT}"
        raise ArgumentError(f"masks={masks} holds no {' or '.join(MASK_SUFFIXES)} files; {remedy}")
    ids = [name.with_suffix("").as_posix() for name in names]
    return [ImageMaskPair(id, find_mask([predictions], id), masks / name) for id, name in zip(ids, names, strict=True)]


def check_names(pairs: Sequence[ImageMaskPair], used: Collection[Path]) -> None:
    """Check that no predicted mask is missing while a file seems to be this mask, such as `1_mask.png` for `1.png`.

    Args:
        pairs: the predicted and true masks.
        used: files that are known to be no predicted masks.

    Raises:
        ArgumentError: if there is such a file. The message names it.
    """
    missing = [ImageMaskPair(pair.id, pair.image, pair.image) for pair in pairs if not os.path.isfile(pair.image)]
    near = nearest_mask(missing, {*used, *(pair.image for pair in pairs)})
    if near is not None:
        raise ArgumentError(f"predictions: {len(missing)} predicted masks are missing, such as {near.describe(None)}")
