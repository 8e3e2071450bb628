"""True masks that predictions are compared with as they are made."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.evaluation import BOUNDARY_WIDTH, Evaluation, ImageConfusion, count_image
from hypercolumns.io.images import read_mask
from hypercolumns.labels import Palette
from hypercolumns.prediction.sources import Source


class GroundTruth:
    """A folder of true masks, <name>.png for each image, and the counts of those that were compared."""

    def __init__(self, masks: Path, sources: Sequence[Source], classes: Sequence[str], palette: Palette) -> None:
        """Look for the masks.

        Args:
            masks: their folder.
            sources: what will be predicted; masks of a video's frames are looked for as they are compared.
            classes: their names.
            palette: by which masks in RGB are understood.

        Raises:
            ArgumentError: if a mask is missing.
        """
        self.folder, self.classes, self.palette = masks, classes, palette
        self._counts: dict[str, ImageConfusion] = {}
        if not masks.is_dir():
            raise ArgumentError(f"masks={masks} is not a folder; name that of the true masks, or leave out masks")
        missing = [source.name for source in sources if not source.video and not self._path(source.name).is_file()]
        if missing:
            raise ArgumentError(
                f"masks={masks} lacks {len(missing)} masks, such as {missing[0]}.png; "
                f"add them, or leave out masks to predict without scoring"
            )

    def compare(self, name: str, labels: Tensor) -> None:
        """Count the labels (H, W) of an image; raises HypercolumnsError if its mask does not fit or can't be read."""
        path = self._path(name)
        truth = read_mask(path, self.palette, len(self.classes))
        if truth.shape != labels.shape:
            raise HypercolumnsError(
                f"{path} is {truth.shape[1]}x{truth.shape[0]}, its image {labels.shape[1]}x{labels.shape[0]}; they "
                f"must have the same size"
            )
        self._counts[name] = count_image(name, labels, truth, len(self.classes), BOUNDARY_WIDTH)

    def evaluation(self) -> Evaluation:
        """The counts of the images that were compared, by name."""
        return Evaluation.of([self._counts[name] for name in sorted(self._counts)], self.classes, BOUNDARY_WIDTH)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.png"
