"""Predicted masks from files, paired with the ground truth."""

from collections.abc import Sequence
from pathlib import Path

from torch.utils.data import Dataset

from hypercolumns.coordinates import full_image_box
from hypercolumns.data.index import ImageMaskPair
from hypercolumns.data.modules.image_data import Example
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import walk_files
from hypercolumns.io.images import read_mask
from hypercolumns.labels import IGNORE_INDEX, Palette


class PredictionDataset(Dataset[Example]):
    """Examples whose image is a predicted mask: class indices (H, W) int64 in place of the pixels.

    Args:
        pairs: the files. The `image` of a pair is the predicted mask, its `mask` the ground truth.
        palette: the colours of the classes, for masks in colour.
        classes: the number of classes.
    """

    def __init__(self, pairs: Sequence[ImageMaskPair], palette: Palette, classes: int) -> None:
        self.pairs, self.palette, self.classes = pairs, palette, classes

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        """Read a predicted and a true mask.

        Raises:
            HypercolumnsError: if a file can't be used, the sizes differ, or a labelled pixel has no prediction.
        """
        pair = self.pairs[index]
        labels, mask = (read_mask(path, self.palette, self.classes) for path in (pair.image, pair.mask))
        if labels.shape != mask.shape:
            raise HypercolumnsError(
                f"{pair.image} is {labels.shape[1]}x{labels.shape[0]}, the true mask {pair.mask} is "
                f"{mask.shape[1]}x{mask.shape[0]}; a prediction must have the original size"
            )
        unpredicted = int(((labels == IGNORE_INDEX) & (mask != IGNORE_INDEX)).sum())
        if unpredicted:
            raise HypercolumnsError(
                f"{pair.image}: {unpredicted} pixels are void ({IGNORE_INDEX}) but labelled in the true mask; a "
                f"prediction must give a class to each of them"
            )
        return Example(labels.long(), mask.long(), pair.id, full_image_box(mask.shape[-2:])[0])


def mask_pairs(predictions: Path, masks: Path) -> list[ImageMaskPair]:
    """Pair each PNG below `masks` with the file of the same name below `predictions`.

    The predictions need not exist: reading the pair raises the error.

    Raises:
        ArgumentError: if one of the folders does not exist, or `masks` contains no PNG.
    """
    for name, folder in (("predictions", predictions), ("masks", masks)):
        if not folder.is_dir():
            raise ArgumentError(f"{name}={folder} is not a folder")
    names = sorted(path.relative_to(masks) for path in walk_files(masks) if path.suffix == ".png")
    if not names:
        raise ArgumentError(f"masks={masks} holds no .png files")
    return [ImageMaskPair(name.with_suffix("").as_posix(), predictions / name, masks / name) for name in names]
