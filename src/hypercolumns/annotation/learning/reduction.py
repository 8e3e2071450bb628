"""Fewer channels for each tap, by principal components, so that maps need less memory and training less time.

The classifier is trained on the reduced hypercolumns. As the reduction is affine, it can then be folded into the first
layer: the result is a plain classifier of complete hypercolumns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypercolumns.models.alignment import FeatureMap
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.models.classifiers.base import EPSILON

COMPONENTS = 64  # of a tap; on CamVid, a classifier of SqueezeNet's taps loses nothing
MIN_SCALE = 0.25  # of a channel's standard deviation, in those of the tap's channels on average
MIN_VARIANCE = 1e-9  # of the last component that is kept, in that of the first; below it, its direction is arbitrary
STORED = torch.float16  # dtype of reduced maps


@dataclass(frozen=True)
class TapReduction:
    """The reduction of the channels of one tap: `(x - mean) / std @ basis`.

    Attributes:
        mean: (C,).
        std: (C,), positive.
        basis: (C, q), with orthonormal columns; q is at most C.
    """

    mean: Tensor
    std: Tensor
    basis: Tensor

    @classmethod
    def fit(cls, cells: Tensor, components: int) -> "TapReduction":
        """Find the principal components of the standardised channels.

        A tap with too few cells for that, or whose cells hardly differ, keeps all its channels. A channel that varies
        much less than the others may do so in this image only. Its standard deviation is raised, so that it does not
        dominate in other images.

        Args:
            cells: (n, C) float, cells of the tap's map.
            components: q at most.

        Returns:
            The reduction.
        """
        mean, std = cells.mean(0), cells.std(0, correction=0)
        least = float(std.mean()) * MIN_SCALE
        std = std.clamp(min=least) if least > EPSILON else torch.ones_like(std)
        channels = cells.shape[1]
        if channels <= components or len(cells) <= components:
            return cls(mean, std, torch.eye(channels))
        standard = (cells - mean) / std
        variances, vectors = torch.linalg.eigh(standard.T.double() @ standard.double())
        if float(variances[-components]) <= MIN_VARIANCE * float(variances[-1]):
            return cls(mean, std, torch.eye(channels))
        return cls(mean, std, vectors[:, -components:].flip(1).float())

    def apply(self, values: Tensor) -> Tensor:
        """Reduce a map (1, C, h, w) to (1, q, h, w) float16 on the CPU, with a cell's channels together in memory."""
        weight = (self.basis / self.std[:, None]).to(values.device)
        cells = values.float().permute(0, 2, 3, 1) @ weight - (self.mean @ weight.cpu()).to(values.device)
        limit = torch.finfo(STORED).max
        return cells.clamp(-limit, limit).to("cpu", STORED).permute(0, 3, 1, 2)


class Reduction:
    """The reduction of all taps.

    Args:
        taps: the reduction of each tap.

    Attributes:
        channels: the length of a reduced hypercolumn.
    """

    def __init__(self, taps: Sequence[TapReduction]) -> None:
        self.taps = taps
        self.channels = sum(tap.basis.shape[1] for tap in taps)

    def apply(self, maps: Sequence[FeatureMap]) -> list[FeatureMap]:
        """Reduce the map (1, C_l, h_l, w_l) of each tap."""
        return [
            tap_map._replace(values=tap.apply(tap_map.values)) for tap, tap_map in zip(self.taps, maps, strict=True)
        ]

    def expand(self, classifier: MLPClassifier, classes: int) -> MLPClassifier:
        """Turn a classifier of reduced hypercolumns, without standardisation, into one of complete hypercolumns.

        Args:
            classifier: the classifier.
            classes: the number of its classes.

        Returns:
            A classifier with the same logits, in evaluation mode.
        """
        parts = classifier.first.weight.split([tap.basis.shape[1] for tap in self.taps], dim=1)
        weight = torch.cat([part @ tap.basis.T for part, tap in zip(parts, self.taps, strict=True)], dim=1)
        expanded = MLPClassifier(weight.shape[1], classes, classifier.hidden, classifier.dropout)
        expanded.load_state_dict(
            classifier.state_dict()
            | {
                "first.weight": weight,
                "mean": torch.cat([tap.mean for tap in self.taps]),
                "std": torch.cat([tap.std for tap in self.taps]) - EPSILON,
            }
        )
        return expanded.eval().requires_grad_(False)
