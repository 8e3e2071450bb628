"""How well subsets of taps tell the classes of samples apart, by linear probes of the same number of components.

The features of a subset are standardised, reduced to their leading principal components, and classified by logistic
regression. So a tap is judged by what it says of a pixel, not by how many channels it says it in.

N samples, D channels of all taps, S of those of a subset, d components, C classes. Taps go by their number.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hypercolumns.evaluation.metrics import confusion, segmentation_metrics
from hypercolumns.models.classifiers import standardize
from hypercolumns.models.slices import even_slices
from hypercolumns.runtime import randomness
from hypercolumns.runtime.progress import track
from hypercolumns.store import Samples

Subset = tuple[int, ...]  # ascending

CHUNK = 4096  # samples that are float32 at once
BLOCK = 512  # columns of the correlations that are summed at once
OVERSAMPLING, ITERATIONS = 16, 4  # more components than are asked for, and passes over the matrix, make them exact
MIN_VARIANCE = 1e-6  # of a component that is scaled up to 1; of less, nothing but rounding is left
PENALTY = 1e-4  # times the squared weights, so that there is a best probe where classes can be separated
STEPS = 30  # of L-BFGS; with more, the ranking stays as it is


@dataclass(frozen=True)
class ProbeResult:
    """A subset, the components its features were reduced to, and how its probe did on the val samples, in [0, 1]."""

    subset: Subset
    components: int
    miou: float
    accuracy: float


class LinearProbes:
    """Scores subsets of taps by probes that are fitted to some samples and scored on others.

    Holds the samples, as float16, and the correlations of all channels, (D, D) float32.
    """

    def __init__(
        self,
        train: Samples,
        val: Samples,
        statistics: tuple[Tensor, Tensor],
        channels: Sequence[int],
        classes: int,
        components: int,
        seed: int,
    ) -> None:
        """The probes on these samples.

        Args:
            train: what they are fitted to.
            val: what they are scored on.
            statistics: mean and standard deviation of all channels, (D,).
            channels: of each tap, in their order.
            classes: how many there are.
            components: d, principal components of each subset that has as many channels.
            seed: of the search for principal components.
        """
        self.train, self.val = train, val
        self.mean, self.std = (values.float() for values in statistics)
        self.columns = torch.arange(sum(channels)).split(list(channels))
        self.classes, self.components, self.seed = classes, components, seed
        self.correlations = correlations(train.features, self.mean, self.std)

    def score(self, subset: Subset) -> ProbeResult:
        """How well the taps of a subset tell the classes of the val samples apart."""
        columns = torch.cat([self.columns[tap] for tap in subset])
        with randomness.seeded(self.seed, "components", *subset):
            projection = principal_components(self.correlations[columns[:, None], columns], self.components)
        weight, bias = fit_logistic(self._project(self.train, columns, projection), self.train.labels, self.classes)
        predicted = F.linear(self._project(self.val, columns, projection), weight, bias).argmax(1)
        figures = segmentation_metrics(confusion(predicted, self.val.labels, self.classes))
        return ProbeResult(subset, projection.shape[1], figures.miou or 0.0, figures.pixel_accuracy or 0.0)

    def _project(self, samples: Samples, columns: Tensor, projection: Tensor) -> Tensor:
        """The features of these columns, standardised and projected, (N, d) float32."""
        mean, std = self.mean[columns], self.std[columns]
        chunks = samples.features.split(CHUNK)
        return torch.cat([standardize(chunk[:, columns].float(), mean, std) @ projection for chunk in chunks])


def correlations(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The correlations (D, D) float32 of the channels of features (N, D), a chunk of samples at a time."""
    sums = torch.zeros(features.shape[1], features.shape[1])
    for chunk in track(features.split(CHUNK), "rank_taps correlations"):
        rows = standardize(chunk.float(), mean, std)
        for block in even_slices(len(sums), BLOCK):  # on and below the diagonal: half the work
            sums[block.start :, block] += rows[:, block.start :].T @ rows[:, block]
    return (sums.tril() + sums.tril(-1).T) / len(features)


def principal_components(correlations: Tensor, count: int) -> Tensor:
    """The projection (S, d) on the principal components of most variance, each scaled to a variance of 1.

    d is `count`, or S if that is less. By subspace iteration from a random start (Halko et al., arXiv:0909.4061),
    several times faster than all eigenvectors of `correlations` (S, S).
    """
    kept = min(count, len(correlations))
    sought = min(kept + OVERSAMPLING, len(correlations))
    vectors, variances, _ = torch.svd_lowrank(correlations, q=sought, niter=ITERATIONS)
    return vectors[:, :kept] / variances[:kept].clamp(min=MIN_VARIANCE).sqrt()


def fit_logistic(features: Tensor, labels: Tensor, classes: int, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Logistic regression of labels (N,) on features (N, d): weight (C, d) and bias (C,), by L-BFGS on all samples."""
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, tolerance_grad=1e-6, line_search_fn="strong_wolfe")
    columns = features.T.contiguous()  # samples last: twice as fast

    def loss() -> Tensor:
        optimizer.zero_grad()
        likelihood = F.cross_entropy((weight @ columns + bias)[None], labels[None])
        value = likelihood + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return weight.detach(), bias.detach()[:, 0]


@dataclass(frozen=True)
class SubsetConstraints:
    """Which subsets may be chosen.

    Attributes:
        channels: of each tap; those of layers of the network first, from shallow to deep, then context taps.
        layers: how many are layers of the network; there is at least one in every subset.
        from_deepest: the context taps that are made from the deepest layer, which stands beside them in every subset.
        max_taps: taps in a subset; None: any number.
        max_channels: channels in a subset; None: any number.
    """

    channels: Sequence[int]
    layers: int
    from_deepest: Collection[int] = ()
    max_taps: int | None = None
    max_channels: int | None = None

    def total_channels(self, subset: Subset) -> int:
        """The channels of a subset."""
        return sum(self.channels[tap] for tap in subset)

    def allow(self, subset: Subset) -> bool:
        """Whether a subset may be chosen."""
        deepest = self.layers - 1
        return (
            any(tap < self.layers for tap in subset)
            and (deepest in subset or not any(tap in self.from_deepest for tap in subset))
            and (self.max_taps is None or len(subset) <= self.max_taps)
            and (self.max_channels is None or self.total_channels(subset) <= self.max_channels)
        )

    def larger(self, subset: Subset) -> list[Subset]:
        """The subset with each other tap in turn, and with the deepest layer where that tap needs it, if allowed."""
        found = []
        for tap in range(len(self.channels)):
            if tap not in subset:
                needed = {self.layers - 1} if tap in self.from_deepest else set()
                found.append(tuple(sorted({*subset, tap} | needed)))
        return [larger for larger in found if self.allow(larger)]


class SelectionStep(NamedTuple):
    """A step of a forward selection: the subsets that were not tried before, and the best one, to go on from."""

    new: list[ProbeResult]
    kept: ProbeResult


def forward_selection(constraints: SubsetConstraints, score: Callable[[Subset], ProbeResult]) -> list[SelectionStep]:
    """Add tap by tap, each time the one that makes the best subset, as long as the constraints allow one.

    Of n taps it tries about n^2 / 2 subsets in all, where there are 2^n. It goes on when no tap improves the score, for
    two may together.
    """
    tried: dict[Subset, ProbeResult] = {}
    steps: list[SelectionStep] = []
    while larger := constraints.larger(steps[-1].kept.subset if steps else ()):
        new = [subset for subset in larger if subset not in tried]
        tried |= {subset: score(subset) for subset in track(new, f"rank_taps step {len(steps) + 1}")}
        candidates = [tried[subset] for subset in larger]
        kept = max(candidates, key=lambda result: (result.miou, -constraints.total_channels(result.subset)))
        steps.append(SelectionStep([tried[subset] for subset in new], kept))
    return steps
