"""Ready-made masks beside the true ones."""

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
    """Predicted class indices (H, W), in place of the image, and the true ones (H, W); both int64."""

    def __init__(self, pairs: Sequence[ImageMaskPair], palette: Palette, classes: int) -> None:
        """The pairs, whose `image` is a predicted mask."""
        self.pairs, self.palette, self.classes = pairs, palette, classes

    def __len__(self) -> int:
        """The number of images."""
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        """Read one; raises HypercolumnsError if its files can't be used."""
        pair = self.pairs[index]
        labels, mask = (read_mask(path, self.palette, self.classes) for path in (pair.image, pair.mask))
        if labels.shape != mask.shape:
            raise HypercolumnsError(
                f"{pair.image} is {labels.shape[1]}x{labels.shape[0]}, the true mask {pair.mask} is "
                f"{mask.shape[1]}x{mask.shape[0]}; a prediction is scored at the original size"
            )
        undecided = int(((labels == IGNORE_INDEX) & (mask != IGNORE_INDEX)).sum())
        if undecided:
            raise HypercolumnsError(
                f"{pair.image}: {undecided} pixels that have a class in truth are void ({IGNORE_INDEX}); a prediction "
                f"must name a class for each of them"
            )
        return Example(labels.long(), mask.long(), pair.id, full_image_box(mask.shape[-2:])[0])


def mask_pairs(predictions: Path, masks: Path) -> list[ImageMaskPair]:
    """A pair of each PNG below `masks` and the file of the same name below `predictions`.

    Raises ArgumentError if a folder is not there, or there are no masks.
    """
    for name, folder in (("predictions", predictions), ("masks", masks)):
        if not folder.is_dir():
            raise ArgumentError(f"{name}={folder} is not a folder")
    names = sorted(path.relative_to(masks) for path in walk_files(masks) if path.suffix == ".png")
    if not names:
        raise ArgumentError(f"masks={masks} holds no .png files")
    return [ImageMaskPair(name.with_suffix("").as_posix(), predictions / name, masks / name) for name in names]
