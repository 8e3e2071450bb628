"""Rank subsets of taps by how well linear probes on their features separate the classes.

A probe standardises the features of a subset, reduces them to their leading principal components, and classifies these
by logistic regression. All probes see the same number of components, so a tap does not gain from having more channels.

Shapes: N samples, D channels of all taps, S channels of a subset, d components, C classes.
A tap is given by its index.
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

Subset = tuple[int, ...]  # indices of taps, ascending

CHUNK = 4096  # samples that are converted to float32 at once
BLOCK = 512  # columns of the correlation matrix that are summed at once
# The randomized SVD computes this many additional components and power iterations, to get the leading components right.
OVERSAMPLING, ITERATIONS = 16, 4
MIN_VARIANCE = 1e-6  # components of less variance are rounding errors and are not scaled up to a variance of 1
PENALTY = 1e-4  # factor of the squared weights; without this term, the loss of separable classes would have no minimum
STEPS = 30  # iterations of L-BFGS; more iterations do not change the ranking


@dataclass(frozen=True)
class ProbeResult:
    """The result of one linear probe.

    Attributes:
        subset: the indices of the taps.
        components: the number of principal components that the probe saw.
        miou: mIoU on the val samples, in [0, 1].
        accuracy: fraction of the val samples that are correct, in [0, 1].
    """

    subset: Subset
    components: int
    miou: float
    accuracy: float


class LinearProbes:
    """Score subsets of taps by linear probes that are fitted to the train samples and scored on the val samples.

    The object holds the samples as float16, and the correlations of all channels, (D, D) float32.

    Args:
        train: the samples that probes are fitted to.
        val: the samples that probes are scored on.
        statistics: the mean and the standard deviation of each channel over training samples, (D,) each.
        channels: the number of channels of each tap, in the order of the taps.
        classes: C.
        components: the number of principal components, d. A subset with fewer channels has as many components as
            channels.
        seed: the seed of the randomized SVD.
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
        self.train, self.val = train, val
        self.mean, self.std = (values.float() for values in statistics)
        self.columns = torch.arange(sum(channels)).split(list(channels))
        self.classes, self.components, self.seed = classes, components, seed
        self.correlations = correlations(train.features, self.mean, self.std)

    def score(self, subset: Subset) -> ProbeResult:
        """Fit a probe to the train samples of a subset of taps, and score it on the val samples."""
        columns = torch.cat([self.columns[tap] for tap in subset])
        with randomness.seeded(self.seed, "components", *subset):
            projection = principal_components(self.correlations[columns[:, None], columns], self.components)
        weight, bias = fit_logistic(self._project(self.train, columns, projection), self.train.labels, self.classes)
        predicted = F.linear(self._project(self.val, columns, projection), weight, bias).argmax(1)
        figures = segmentation_metrics(confusion(predicted, self.val.labels, self.classes))
        return ProbeResult(subset, projection.shape[1], figures.miou or 0.0, figures.pixel_accuracy or 0.0)

    def _project(self, samples: Samples, columns: Tensor, projection: Tensor) -> Tensor:
        """Standardise the features of these columns, and project them on the components: (N, d) float32."""
        mean, std = self.mean[columns], self.std[columns]
        chunks = samples.features.split(CHUNK)
        return torch.cat([standardize(chunk[:, columns].float(), mean, std) @ projection for chunk in chunks])


def correlations(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Compute the correlations of channels, a chunk of samples at a time.

    Args:
        features: (N, D).
        mean: (D,), the mean of each channel.
        std: (D,), the standard deviation of each channel.

    Returns:
        (D, D) float32.
    """
    sums = torch.zeros(features.shape[1], features.shape[1])
    for chunk in track(features.split(CHUNK), "rank_taps correlations"):
        rows = standardize(chunk.float(), mean, std)
        # The matrix is symmetric, so only its lower triangle is summed.
        for block in even_slices(len(sums), BLOCK):
            sums[block.start :, block] += rows[:, block.start :].T @ rows[:, block]
    return (sums.tril() + sums.tril(-1).T) / len(features)


def principal_components(correlations: Tensor, count: int) -> Tensor:
    """Compute the projection on the principal components of largest variance.

    Each component is scaled to a variance of 1, unless its variance is below `MIN_VARIANCE`.
    A randomized SVD with subspace iteration (Halko et al., arXiv:0909.4061) is several times faster than computing all
    eigenvectors.

    Args:
        correlations: (S, S).
        count: the maximum number of components.

    Returns:
        The projection, (S, d), with d = min(count, S).
    """
    components = min(count, len(correlations))
    rank = min(components + OVERSAMPLING, len(correlations))
    vectors, variances, _ = torch.svd_lowrank(correlations, q=rank, niter=ITERATIONS)
    return vectors[:, :components] / variances[:components].clamp(min=MIN_VARIANCE).sqrt()


def fit_logistic(features: Tensor, labels: Tensor, classes: int, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression with L-BFGS, each step on all samples.

    Args:
        features: (N, d) float32.
        labels: (N,) int64, class indices.
        classes: C.
        steps: the maximum number of iterations.

    Returns:
        Weight (C, d) and bias (C,).
    """
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, tolerance_grad=1e-6, line_search_fn="strong_wolfe")
    columns = features.T.contiguous()  # twice as fast with the samples in the last dimension

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
    """Constraints that a subset of taps must meet to be tried.

    Attributes:
        channels: the number of channels of each tap. The taps are the layers of the network, shallow to deep, followed
            by the context taps.
        layers: the number of taps that are layers of the network. A subset must have at least one of these taps.
        from_deepest: the indices of the context taps that are computed from the deepest layer. A subset with such a
            context tap must have the deepest layer, too.
        max_taps: the maximum number of taps in a subset; None: no limit.
        max_channels: the maximum number of channels in a subset; None: no limit.
    """

    channels: Sequence[int]
    layers: int
    from_deepest: Collection[int] = ()
    max_taps: int | None = None
    max_channels: int | None = None

    def total_channels(self, subset: Subset) -> int:
        """Return the number of channels of a subset."""
        return sum(self.channels[tap] for tap in subset)

    def allow(self, subset: Subset) -> bool:
        """Whether a subset meets the constraints."""
        deepest = self.layers - 1
        return (
            any(tap < self.layers for tap in subset)
            and (deepest in subset or not any(tap in self.from_deepest for tap in subset))
            and (self.max_taps is None or len(subset) <= self.max_taps)
            and (self.max_channels is None or self.total_channels(subset) <= self.max_channels)
        )

    def larger(self, subset: Subset) -> list[Subset]:
        """Return the allowed subsets with one tap more (and the deepest layer, if the new tap is computed from it)."""
        candidates = []
        for tap in range(len(self.channels)):
            if tap not in subset:
                required = {self.layers - 1} if tap in self.from_deepest else set()
                candidates.append(tuple(sorted({*subset, tap} | required)))
        return [candidate for candidate in candidates if self.allow(candidate)]


class SelectionStep(NamedTuple):
    """A step of a forward selection.

    Attributes:
        new: the results of the subsets that this step was the first to try.
        kept: the best result of all subsets of the step, including those tried before. The next step adds a tap to
            the subset of this result.
    """

    new: list[ProbeResult]
    kept: ProbeResult


def forward_selection(constraints: SubsetConstraints, score: Callable[[Subset], ProbeResult]) -> list[SelectionStep]:
    """Add taps one by one, each time the tap that gives the highest mIoU, until the constraints allow no further tap.

    For n taps, this tries about n^2 / 2 of the 2^n subsets. If no single tap improves the mIoU, the selection goes on:
    two more taps together can improve it. Of subsets with equal mIoU, the one with the fewest channels is kept.

    Args:
        constraints: the constraints that subsets must meet.
        score: scores a subset; called once for each subset that is tried.

    Returns:
        The steps, in order. Empty if the constraints allow no subset.
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
