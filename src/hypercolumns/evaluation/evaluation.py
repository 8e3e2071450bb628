"""The result of an evaluation: confusion matrices of each image, from which all metrics follow.

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
from hypercolumns.evaluation.metrics import confusion, metrics_from_confusion, segmentation_metrics
from hypercolumns.io.files import atomic_write
from hypercolumns.labels import IGNORE_INDEX, boundary_band

REMEDY = "remove it if it exists, and rerun the command that writes it"
BOUNDARY_WIDTH = 3  # pixels, by default


@dataclass(frozen=True)
class ImageConfusion:
    """The two confusion matrices of one image, each (C, C) int64 on the CPU, with a row for each true class.

    Attributes:
        id: the image id.
        all_pixels: the matrix of all pixels, without void pixels.
        boundary: the matrix of the pixels near boundaries of the true mask, without void pixels.
    """

    id: str
    all_pixels: Tensor
    boundary: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Two confusion matrices per image: of all pixels, and of the pixels near boundaries of the true mask.

    Attributes:
        classes: the names of the classes.
        ids: the image ids.
        all_pixels: (N, C, C) int64, a row for each true class, without void pixels.
        boundary: (N, C, C) int64, the same for the boundary band alone, see `labels.boundary_band`.
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
            counts: the confusion matrices of each image; can be empty.
            classes: the names of the classes.
            boundary_width: the `boundary_width` with which `count_image` made the matrices, in pixels.

        Returns:
            The evaluation, with the images in the given order.
        """
        counts = list(counts)
        empty = torch.zeros(0, len(classes), len(classes), dtype=torch.int64)
        all_pixels, boundary = (
            torch.stack(parts) if parts else empty
            for parts in ([image.all_pixels for image in counts], [image.boundary for image in counts])
        )
        return cls(tuple(classes), tuple(image.id for image in counts), all_pixels, boundary, boundary_width)

    def figures(self) -> dict[str, Any]:
        """Return the metrics of all images together, as in `metrics.json`.

        The metrics of the boundary band have names that begin with `boundary_`.
        """
        near = segmentation_metrics(self.boundary.sum(0)).as_dict(self.classes)
        return {
            "images": len(self.ids),
            **segmentation_metrics(self.all_pixels.sum(0)).as_dict(self.classes),
            "boundary_width": self.boundary_width,
            **{f"boundary_{name}": near[name] for name in ("pixels", "miou", "pixel_accuracy", "per_class_iou")},
        }

    def worst(self, count: int) -> list[int]:
        """Return the indices of the `count` images of lowest mIoU, lowest first.

        Images that are all void are left out.
        """
        miou = metrics_from_confusion(self.all_pixels)["miou"]
        return [int(index) for index in miou.argsort(stable=True) if not miou[index].isnan()][:count]

    def take(self, indices: Sequence[int]) -> "Evaluation":
        """Return the evaluation of the images with these indices, in this order."""
        chosen = list(indices)
        return Evaluation(
            self.classes,
            tuple(self.ids[index] for index in chosen),
            self.all_pixels[chosen],
            self.boundary[chosen],
            self.boundary_width,
        )

    def save(self, path: Path) -> None:
        """Write an `.npz` file of plain arrays: classes, ids, all_pixels, boundary, boundary_width."""
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
        """Read a file that `save` wrote.

        Raises:
            HypercolumnsError: if the file is missing, damaged or not an evaluation.
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
        except Exception as error:  # NumPy raises many types for files of other kinds
            raise HypercolumnsError(f"{path} is missing, damaged or not an evaluation; {REMEDY}") from error
        shape = (len(evaluation.ids), len(evaluation.classes), len(evaluation.classes))
        if evaluation.all_pixels.shape != shape or evaluation.boundary.shape != shape:
            raise HypercolumnsError(f"{path} is not an evaluation (the shapes of its arrays do not match); {REMEDY}")
        return evaluation


def count_image(id: str, labels: Tensor, mask: Tensor, classes: int, boundary_width: int) -> ImageConfusion:
    """Count the pixels of one image by true and predicted class.

    Args:
        id: the image id.
        labels: (H, W), predicted class indices.
        mask: (H, W), true class indices, 255 for void.
        classes: the number of classes.
        boundary_width: the width of the boundary band, in pixels, see `labels.boundary_band`.

    Returns:
        The confusion matrices of all pixels and of the boundary band, on the CPU.
    """
    near = torch.where(boundary_band(mask, boundary_width), mask.long(), IGNORE_INDEX)
    return ImageConfusion(id, confusion(labels, mask, classes).cpu(), confusion(labels, near, classes).cpu())
