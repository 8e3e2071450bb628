"""Confidence intervals of metrics by the bootstrap over images, or over groups of images that are not independent.

A bootstrap sample consists of as many images (or groups) as the evaluation has, drawn with replacement. Each bootstrap
sample gives one value of each metric. The interval of a metric contains the middle 95 % of the values from all
bootstrap samples (Efron, Bootstrap Methods, Annals of Statistics 1979).

Shapes: R bootstrap samples, N images, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypercolumns.data.groups import group_ids
from hypercolumns.evaluation.evaluation import Evaluation
from hypercolumns.evaluation.metrics import BOUNDARY_METRICS, class_sums, metrics_from_class_sums
from hypercolumns.runtime import randomness

LEVEL = 0.95  # fraction of the values that an interval contains
BOOTSTRAP_SAMPLES = 1000  # default number of bootstrap samples


def resampling_groups(ids: Sequence[str], group_pattern: str | None) -> Tensor:
    """Number the groups of images that the bootstrap draws as a whole, and return the group of each image.

    Args:
        ids: the ids of the N images.
        group_pattern: a regular expression that determines the group of an id, see `data.groups.group_ids`. None: each
            image is a group by itself.

    Returns:
        (N,) int64, the number of each image's group. The numbers start at 0.

    Raises:
        ArgumentError: if `group_pattern` is not a valid regular expression, or does not match every id.
    """
    if group_pattern is None:
        return torch.arange(len(ids))
    groups = group_ids(ids, group_pattern, "group_pattern")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return torch.tensor([numbers[group] for group in groups], dtype=torch.int64)


def resample(evaluation: Evaluation, groups: Tensor, bootstrap_samples: int, seed: int) -> dict[str, Tensor]:
    """Draw R bootstrap samples, and compute the metrics of each.

    Which groups are drawn depends only on the seed and the number of groups. If two evaluations have the same images in
    the same order, and you pass the same seed and groups for both, each bootstrap sample consists of the same images in
    both. You can then compare the metrics of the two evaluations sample by sample.

    Args:
        evaluation: the evaluation, with the confusion matrices of N images.
        groups: (N,) int64, the number of each image's group; the numbers start at 0.
        bootstrap_samples: R, the number of bootstrap samples.
        seed: the seed of the random numbers.

    Returns:
        The values of each metric by the metric's name, float64: (R,), or (R, C) for metrics of each class. The names of
        the metrics of the boundary band begin with `boundary_`. A value is NaN if it is not defined, such as the IoU of
        a class that does not occur in a bootstrap sample.
    """
    units = int(groups.max()) + 1
    sums = torch.stack(
        [part for counts in (evaluation.all_pixels, evaluation.boundary) for part in class_sums(counts)], dim=1
    )
    unit_sums = torch.zeros(units, *sums.shape[1:], dtype=torch.float64).index_add_(0, groups, sums.double())
    generator = randomness.generator(seed, "bootstrap")
    drawn = torch.stack(
        [
            torch.bincount(torch.randint(units, (units,), generator=generator), minlength=units).double()
            @ unit_sums.flatten(1)
            for _ in range(bootstrap_samples)
        ]
    ).unflatten(1, sums.shape[1:])
    all_pixels, boundary = (metrics_from_class_sums(*drawn[:, start : start + 3].unbind(1)) for start in (0, 3))
    return all_pixels | {f"boundary_{name}": boundary[name] for name in BOUNDARY_METRICS}


def percentile_interval(values: Tensor) -> Tensor:
    """Return the lower and the upper end of the middle 95 % of R values, without NaN values.

    The values are (R, ...), and the ends are (2, ...).
    """
    return values.nanquantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype), dim=0)


def as_json(values: dict[str, Tensor], classes: Sequence[str]) -> dict[str, Any]:
    """Compute the interval of each metric, for a JSON file.

    Args:
        values: the values of each metric over the bootstrap samples, see `resample`.
        classes: the names of the classes.

    Returns:
        The interval [low, high] of each metric, by the metric's name. A per-class metric has a dictionary of intervals
        by class name instead. An interval is None if the metric is NaN in all bootstrap samples.
    """
    ends: dict[str, Any] = {}
    for name, drawn in values.items():
        interval = percentile_interval(drawn)
        ends[name] = dict(zip(classes, map(_ends, interval.T), strict=True)) if drawn.ndim == 2 else _ends(interval)
    return ends


def intervals(
    evaluation: Evaluation, group_pattern: str | None, bootstrap_samples: int, seed: int
) -> dict[str, Any] | None:
    """Compute the confidence intervals of all metrics: the entry `intervals` of `metrics.json`.

    Args:
        evaluation: the evaluation, with the confusion matrices of the images.
        group_pattern: a regular expression that determines the group of an image id; None: each image is a group. See
            `resampling_groups`.
        bootstrap_samples: the number of bootstrap samples; 0: no intervals.
        seed: the seed of the random numbers.

    Returns:
        A dictionary with the items of `describe` and the items of `as_json`. None if `bootstrap_samples` is 0, or if
        the images form fewer than two groups.

    Raises:
        ArgumentError: if `group_pattern` is not a valid regular expression, or does not match every image id.
    """
    groups = resampling_groups(evaluation.ids, group_pattern)
    if not bootstrap_samples or len(groups.unique()) < 2:
        return None
    drawn = resample(evaluation, groups, bootstrap_samples, seed)
    return describe(groups, group_pattern, drawn) | as_json(drawn, evaluation.classes)


def describe(groups: Tensor, group_pattern: str | None, drawn: dict[str, Tensor]) -> dict[str, Any]:
    """Describe how the confidence intervals were computed, for a JSON file.

    Args:
        groups: (N,) int64, the number of each image's group; the numbers start at 0.
        group_pattern: the regular expression that determined the groups; None: each image is a group.
        drawn: the values of each metric over the bootstrap samples, see `resample`.

    Returns:
        A dictionary of JSON values:

        - `level`: the fraction of the values that an interval contains;
        - `draws`: the number of bootstrap samples;
        - `draws_lacking_a_class`: the number of bootstrap samples without a class that other bootstrap samples contain.
          In such a sample, the mIoU, the mIoU of the present classes and the mean accuracy are means over fewer
          classes;
        - `groups`: `group_pattern`;
        - `drawn_from`: the number of groups.
    """
    iou = drawn["per_class_iou"]
    lacking = (iou.isnan() & ~iou.isnan().all(0)).any(1)
    return {
        "level": LEVEL,
        "draws": len(iou),
        "draws_lacking_a_class": int(lacking.sum()),
        "groups": group_pattern,
        "drawn_from": len(groups.unique()),
    }


def _ends(pair: Tensor) -> list[float] | None:
    return None if pair.isnan().any() else [float(end) for end in pair]
