"""Rank subsets of taps by the mIoU of a linear probe for each subset.

A linear probe is a small classifier that measures how useful some features are. It standardises the channels of a
subset of taps, reduces them to their leading principal components, and classifies these components by logistic
regression. All probes use the same number of components. Otherwise, a tap could score better only because it has more
channels.

Shapes: N samples, D channels of all taps together, S channels of a subset, d components, C classes.
A tap is given by its index among all taps.
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

Subset = tuple[int, ...]  # the indices of the taps, in ascending order

CHUNK = 4096  # number of samples that are converted to float32 at once
BLOCK = 512  # number of columns of the correlation matrix that are summed at once
# The number of additional components and of power iterations of the randomized SVD. Both make the leading components
# more accurate.
OVERSAMPLING, ITERATIONS = 16, 4
MIN_VARIANCE = 1e-6  # components of smaller variance are rounding errors, and are not scaled to a variance of 1
PENALTY = 1e-4  # factor of the squared weights in the loss; without them, the loss of separable classes has no minimum
STEPS = 30  # maximum number of iterations of L-BFGS; more iterations do not change the ranking


@dataclass(frozen=True)
class ProbeResult:
    """The result of one linear probe.

    Attributes:
        subset: the indices of the taps whose channels the probe used.
        components: the number of principal components that the probe used.
        miou: the mIoU over the val samples, in [0, 1].
        accuracy: the fraction of the val samples that the probe classified correctly, in [0, 1].
    """

    subset: Subset
    components: int
    miou: float
    accuracy: float


class LinearProbes:
    """Score subsets of taps by linear probes, which are fitted to train samples and scored on val samples.

    The object keeps all samples in memory as float16, and the correlations of all channels, (D, D) float32.

    Args:
        train: the samples that probes are fitted to.
        val: the samples that probes are scored on.
        statistics: the mean (D,) and the standard deviation (D,) of each channel, over all train samples of the store.
            `train` may hold only some of these samples.
        channels: the number of channels of each tap, in the order of the taps.
        classes: C, the number of classes.
        components: d, the number of principal components that a probe uses. For a subset with fewer channels, the probe
            uses as many components as the subset has channels.
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
        """Fit a probe to the channels of a subset of taps on the train samples, and score it on the val samples."""
        columns = torch.cat([self.columns[tap] for tap in subset])
        with randomness.seeded(self.seed, "components", *subset):
            projection = principal_components(self.correlations[columns[:, None], columns], self.components)
        weight, bias = fit_logistic(self._project(self.train, columns, projection), self.train.labels, self.classes)
        predicted = F.linear(self._project(self.val, columns, projection), weight, bias).argmax(1)
        figures = segmentation_metrics(confusion(predicted, self.val.labels, self.classes))
        return ProbeResult(subset, projection.shape[1], figures.miou or 0.0, figures.pixel_accuracy or 0.0)

    def _project(self, samples: Samples, columns: Tensor, projection: Tensor) -> Tensor:
        """Standardise the channels `columns` of the samples, and project them on the principal components.

        Args:
            samples: N samples.
            columns: (S,), the indices of the channels.
            projection: (S, d), the result of `principal_components`.

        Returns:
            (N, d) float32.
        """
        mean, std = self.mean[columns], self.std[columns]
        chunks = samples.features.split(CHUNK)
        return torch.cat([standardize(chunk[:, columns].float(), mean, std) @ projection for chunk in chunks])


def correlations(features: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Compute the correlation of each pair of channels.

    The samples are processed in chunks, so only one chunk at a time is converted to float32.

    Args:
        features: (N, D), the hypercolumns of the samples.
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
    """Compute the matrix that projects standardised channels on their principal components of largest variance.

    Each component is scaled to a variance of 1, unless its variance is below `MIN_VARIANCE`. A randomized SVD with
    subspace iteration (Halko et al., arXiv:0909.4061) computes the components. This is several times faster than the
    computation of all eigenvectors.

    Args:
        correlations: (S, S), the correlations of the channels.
        count: the maximum number of components.

    Returns:
        (S, d) with d = min(count, S). The product of standardised channels (N, S) with this matrix gives the components
        (N, d).
    """
    components = min(count, len(correlations))
    rank = min(components + OVERSAMPLING, len(correlations))
    vectors, variances, _ = torch.svd_lowrank(correlations, q=rank, niter=ITERATIONS)
    return vectors[:, :components] / variances[:components].clamp(min=MIN_VARIANCE).sqrt()


def fit_logistic(features: Tensor, labels: Tensor, classes: int, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Fit a multinomial logistic regression by L-BFGS. Each iteration uses all samples.

    Args:
        features: (N, d) float32 or float64, which is also the type of the result.
        labels: (N,) int64, class indices.
        classes: C, the number of classes.
        steps: the maximum number of iterations.

    Returns:
        The weight (C, d) and the bias (C,).
    """
    weight = features.new_zeros(classes, features.shape[1]).requires_grad_()
    bias = features.new_zeros(classes, 1).requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, tolerance_grad=1e-6, line_search_fn="strong_wolfe")
    columns = features.T.contiguous()  # with the samples in the last dimension, training is twice as fast

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
    """The constraints that a subset of taps must meet before a forward selection tries the subset.

    Attributes:
        channels: the number of channels of each tap. The first taps are layers of the network, from shallow to deep;
            the other taps are context taps.
        layers: the number of taps that are layers of the network. A subset must contain at least one of these taps.
        from_deepest: the indices of the context taps that are computed from the deepest map. A subset with such a
            context tap must also contain the deepest tap that is a layer.
        max_taps: the maximum number of taps in a subset; None: no limit.
        max_channels: the maximum number of channels of all taps in a subset together; None: no limit.
    """

    channels: Sequence[int]
    layers: int
    from_deepest: Collection[int] = ()
    max_taps: int | None = None
    max_channels: int | None = None

    def total_channels(self, subset: Subset) -> int:
        """Return the number of channels of all taps in a subset together."""
        return sum(self.channels[tap] for tap in subset)

    def allow(self, subset: Subset) -> bool:
        """Return whether a subset meets all constraints."""
        deepest = self.layers - 1
        return (
            any(tap < self.layers for tap in subset)
            and (deepest in subset or not any(tap in self.from_deepest for tap in subset))
            and (self.max_taps is None or len(subset) <= self.max_taps)
            and (self.max_channels is None or self.total_channels(subset) <= self.max_channels)
        )

    def larger(self, subset: Subset) -> list[Subset]:
        """Return the allowed subsets that contain all taps of `subset` and one new tap.

        If the new tap is a context tap that is computed from the deepest map, the deepest layer is added too.
        """
        candidates = []
        for tap in range(len(self.channels)):
            if tap not in subset:
                required = {self.layers - 1} if tap in self.from_deepest else set()
                candidates.append(tuple(sorted({*subset, tap} | required)))
        return [candidate for candidate in candidates if self.allow(candidate)]


class SelectionStep(NamedTuple):
    """One step of a forward selection.

    Attributes:
        new: the results of the subsets that were tried for the first time in this step.
        kept: the best result of all subsets of this step, including subsets that an earlier step had tried. The next
            step adds a tap to the subset of this result.
    """

    new: list[ProbeResult]
    kept: ProbeResult


def forward_selection(constraints: SubsetConstraints, score: Callable[[Subset], ProbeResult]) -> list[SelectionStep]:
    """Select taps one by one: in each step, add the tap that gives the highest mIoU.

    The selection ends when the constraints allow no further tap. It does not end earlier, even if the best new tap
    lowers the mIoU, because two new taps together may raise it. If several subsets of a step have the highest mIoU, the
    subset with the fewest channels is kept. For n taps, the selection tries about n^2 / 2 of the 2^n subsets.

    Args:
        constraints: the constraints that a subset must meet to be tried.
        score: a function that scores a subset. It is called once for each subset that is tried.

    Returns:
        The steps, in order. The list is empty if the constraints allow no subset.
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
