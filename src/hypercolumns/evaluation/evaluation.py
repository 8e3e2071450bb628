"""The result of an evaluation: two confusion matrices for each image, from which all metrics are computed.

Shapes: N images, C classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation.metrics import BOUNDARY_METRICS, confusion, metrics_from_confusion, segmentation_metrics
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import IGNORE_INDEX, boundary_band

REMEDY = "remove it if it exists, and rerun the command that writes this file"
BOUNDARY_WIDTH = 3  # default width of the boundary band, in pixels


@dataclass(frozen=True)
class ImageConfusion:
    """The two confusion matrices of one image.

    Each matrix is (C, C) int64 on the CPU, with a row for each true class and a column for each predicted class. Void
    pixels are not counted.

    Attributes:
        id: the image id.
        all_pixels: the matrix of all pixels.
        boundary: the matrix of the pixels in the boundary band of the true mask, see `labels.boundary_band`.
    """

    id: str
    all_pixels: Tensor
    boundary: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Two confusion matrices for each image: of all pixels, and of the pixels near label boundaries of the true mask.

    Each matrix has a row for each true class and a column for each predicted class. Void pixels are not counted.

    Attributes:
        classes: the names of the classes, in the order of the class indices.
        ids: the ids of the N images.
        all_pixels: (N, C, C) int64, the matrices of all pixels.
        boundary: (N, C, C) int64, the matrices of the pixels in the boundary band, see `labels.boundary_band`.
        boundary_width: the width of the boundary band, in pixels.
    """

    classes: tuple[str, ...]
    ids: tuple[str, ...]
    all_pixels: Tensor
    boundary: Tensor
    boundary_width: int

    @classmethod
    def of(cls, counts: Iterable[ImageConfusion], classes: Sequence[str], boundary_width: int) -> "Evaluation":
        """Make an evaluation from the confusion matrices of images.

        Args:
            counts: the confusion matrices of each image. There may be no images.
            classes: the names of the classes, in the order of the class indices.
            boundary_width: the width of the boundary band, in pixels, that `count_image` used for the matrices.

        Returns:
            The evaluation, with the images in the order of `counts`.
        """
        counts = list(counts)
        empty = torch.zeros(0, len(classes), len(classes), dtype=torch.int64)
        all_pixels, boundary = (
            torch.stack(parts) if parts else empty
            for parts in ([image.all_pixels for image in counts], [image.boundary for image in counts])
        )
        return cls(tuple(classes), tuple(image.id for image in counts), all_pixels, boundary, boundary_width)

    def figures(self) -> dict[str, Any]:
        """Compute the metrics from the pixels of all images together, and return them as in `metrics.json`.

        The names of the metrics of the boundary band begin with `boundary_`.
        """
        near = segmentation_metrics(self.boundary.sum(0)).as_dict(self.classes)
        return {
            "images": len(self.ids),
            **segmentation_metrics(self.all_pixels.sum(0)).as_dict(self.classes),
            "boundary_width": self.boundary_width,
            **{f"boundary_{name}": near[name] for name in ("pixels", *BOUNDARY_METRICS)},
        }

    def worst(self, count: int) -> list[int]:
        """Return the indices of the `count` images with the lowest mIoU, the lowest first.

        Images whose pixels are all void are left out, so there may be fewer than `count`.
        """
        miou = metrics_from_confusion(self.all_pixels)["miou"]
        return [int(index) for index in miou.argsort(stable=True) if not miou[index].isnan()][:count]

    def take(self, indices: Sequence[int]) -> "Evaluation":
        """Return an evaluation of only the images with these indices, in the order of `indices`."""
        chosen = list(indices)
        return Evaluation(
            self.classes,
            tuple(self.ids[index] for index in chosen),
            self.all_pixels[chosen],
            self.boundary[chosen],
            self.boundary_width,
        )

    def of_images(self, ids: Sequence[str]) -> "Evaluation | None":
        """Return the evaluation with the images in the order of `ids`; None if it is of other images."""
        position = {id: index for index, id in enumerate(self.ids)}
        return self.take([position[id] for id in ids]) if sorted(ids) == sorted(self.ids) else None

    def save(self, path: Path) -> None:
        """Write the evaluation to an `.npz` file, with one array for each attribute.

        The file appears at `path` only when it is complete.
        """
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                classes=np.array(self.classes),
                ids=np.array(self.ids),
                all_pixels=self.all_pixels.numpy(),
                boundary=self.boundary.numpy(),
                boundary_width=np.array(self.boundary_width),
            )

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Read an evaluation from a file that `save` wrote.

        Raises:
            HypercolumnsError: if the file is missing, is damaged or does not contain an evaluation.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                evaluation = cls(
                    tuple(map(str, arrays["classes"])),
                    tuple(map(str, arrays["ids"])),
                    torch.from_numpy(arrays["all_pixels"]),
                    torch.from_numpy(arrays["boundary"]),
                    int(arrays["boundary_width"]),
                )
        except Exception as error:  # NumPy raises errors of many types if the file is not a valid .npz file
            raise HypercolumnsError(f"{path} is missing, damaged or not an evaluation; {REMEDY}") from error
        shape = (len(evaluation.ids), len(evaluation.classes), len(evaluation.classes))
        if evaluation.all_pixels.shape != shape or evaluation.boundary.shape != shape:
            raise HypercolumnsError(
                f"{path} is not an evaluation (the shapes of its arrays do not match each other); {REMEDY}"
            )
        return evaluation


def count_image(id: str, labels: Tensor, mask: Tensor, classes: int, boundary_width: int) -> ImageConfusion:
    """Count the pixels of one image by true and predicted class.

    Args:
        id: the image id.
        labels: (H, W), the predicted class indices.
        mask: (H, W), the true class indices, 255 for void.
        classes: the number of classes.
        boundary_width: the width of the boundary band, in pixels, see `labels.boundary_band`.

    Returns:
        The confusion matrices of all pixels and of the boundary band, on the CPU.
    """
    near = mask.masked_fill(~boundary_band(mask, boundary_width), IGNORE_INDEX)
    return ImageConfusion(id, confusion(labels, mask, classes).cpu(), confusion(labels, near, classes).cpu())
