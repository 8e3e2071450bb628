"""True masks that predictions are compared with as they are made."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation import (
    BOUNDARY_WIDTH,
    DRAWS,
    Evaluation,
    ImageConfusion,
    count_image,
    intervals,
)
from hypercolumns.io.files import read_json, write_json
from hypercolumns.io.images import read_mask
from hypercolumns.labels import Palette
from hypercolumns.prediction import Source
from hypercolumns.reports import tables
from hypercolumns.runs.run import Run


class GroundTruth:
    """A folder of true masks, <name>.png for each image, and the counts of those that were compared."""

    def __init__(self, folder: Path, sources: Sequence[Source], classes: Sequence[str], palette: Palette) -> None:
        """Raise HypercolumnsError if a mask is missing."""
        self.folder, self.classes, self.palette = folder, classes, palette
        self._counts: dict[str, ImageConfusion] = {}
        if not folder.is_dir():
            raise HypercolumnsError(f"masks={folder} is not a folder; name that of the true masks, or leave out masks=")
        missing = [one.name for one in sources if not one.video and not (folder / f"{one.name}.png").is_file()]
        if missing:
            raise HypercolumnsError(
                f"masks={folder} lacks {len(missing)} masks, such as {missing[0]}.png; "
                f"add them, or leave out masks= to predict without scoring"
            )

    def compare(self, name: str, labels: Tensor) -> None:
        """Count the labels (H, W) of an image; raises HypercolumnsError if its mask does not fit or can't be read."""
        path = self.folder / f"{name}.png"
        truth = read_mask(path, self.palette, len(self.classes))
        if truth.shape != labels.shape:
            raise HypercolumnsError(
                f"{path} is {truth.shape[1]}x{truth.shape[0]}, its image {labels.shape[1]}x{labels.shape[0]}; they "
                f"must have the same size"
            )
        self._counts[name] = count_image(name, labels, truth, len(self.classes), BOUNDARY_WIDTH)

    def conclude(self, run: Run, about: Mapping[str, Any]) -> None:
        """Write and show the figures of all that was compared, if anything was."""
        if not self._counts:
            return
        evaluation = Evaluation.of([self._counts[name] for name in sorted(self._counts)], self.classes, BOUNDARY_WIDTH)
        evaluation.save(run.counts)
        uncertainty = {"intervals": intervals(evaluation, None, DRAWS, 0)}
        evaluated = {**about, "masks": str(self.folder)}
        write_json(run.metrics, evaluation.figures() | uncertainty | {"evaluated": evaluated})
        title = f"{len(self._counts)} images against {self.folder}"
        tables.print_metrics(read_json(run.metrics), title, {"metrics": run.metrics})


def remove_figures(run: Run) -> None:
    """Remove the figures of what was predicted into a folder before, if there are any."""
    if run.metrics.is_file() and "boundary_width" in read_json(run.metrics):
        for stale in (run.counts, run.metrics):
            stale.unlink(missing_ok=True)
