"""Compare predictions with true masks while the images are being predicted."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.evaluation import BOUNDARY_WIDTH, Evaluation, ImageConfusion, count_image
from hypercolumns.io.images import read_mask
from hypercolumns.labels import Palette
from hypercolumns.prediction.sources import Source


class GroundTruth:
    """A folder of true masks, and the confusion matrices of the predictions that were compared with them.

    The mask of the image `name` is `<name>.png`.

    Args:
        masks: the folder.
        sources: the images that will be predicted. The masks of video frames are not looked for until `compare`.
        classes: the names of the classes.
        palette: the colour of each class, to read RGB masks.

    Raises:
        ArgumentError: if `masks` is not a folder, or the mask of an image is missing.
    """

    def __init__(self, masks: Path, sources: Sequence[Source], classes: Sequence[str], palette: Palette) -> None:
        self.folder, self.classes, self.palette = masks, classes, palette
        self._counts: dict[str, ImageConfusion] = {}
        if not masks.is_dir():
            raise ArgumentError(f"masks={masks} is not a folder; give the folder of the true masks, or leave out masks")
        missing = [source.name for source in sources if not source.video and not self._path(source.name).is_file()]
        if missing:
            raise ArgumentError(
                f"masks={masks} lacks {len(missing)} masks, such as {missing[0]}.png; "
                f"add them, or leave out masks to predict without scoring"
            )

    def compare(self, name: str, labels: Tensor) -> None:
        """Add the predicted labels (H, W) of an image to the counts.

        Raises:
            HypercolumnsError: if the mask can't be read or has another size than the image.
        """
        path = self._path(name)
        truth = read_mask(path, self.palette, len(self.classes))
        if truth.shape != labels.shape:
            raise HypercolumnsError(
                f"the mask {path} is {truth.shape[1]}x{truth.shape[0]}, but its image is "
                f"{labels.shape[1]}x{labels.shape[0]}; both must have the same size"
            )
        self._counts[name] = count_image(name, labels, truth, len(self.classes), BOUNDARY_WIDTH)

    def evaluation(self) -> Evaluation:
        """Return the counts of all compared images, sorted by image name."""
        return Evaluation.of([self._counts[name] for name in sorted(self._counts)], self.classes, BOUNDARY_WIDTH)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.png"
