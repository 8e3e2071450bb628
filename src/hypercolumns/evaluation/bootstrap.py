"""Confidence intervals of metrics by the bootstrap over images, or over groups of images that are not independent.

Each bootstrap sample draws as many images (or groups) as the evaluation has, with replacement, and gives one value of
each metric. The interval holds the middle 95 % of the values of all bootstrap samples (Efron, Bootstrap Methods, Annals
of Statistics 1979).

Shapes: R bootstrap samples, N images, C classes.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from hypercolumns.data.groups import group_ids
from hypercolumns.evaluation.evaluation import Evaluation
from hypercolumns.evaluation.metrics import class_sums, metrics_from_class_sums
from hypercolumns.runtime import randomness

LEVEL = 0.95
BOOTSTRAP_SAMPLES = 1000  # by default


def resampling_groups(ids: Sequence[str], group_pattern: str | None) -> Tensor:
    """Return the group of each image. The bootstrap draws groups as a whole.

    Args:
        ids: the image ids.
        group_pattern: a regular expression that determines the group of an id, see `data.groups.group_ids`. None: every
            image is a group.

    Returns:
        The number of each image's group, from 0, (N,) int64.

    Raises:
        ArgumentError: if `group_pattern` is not a valid regular expression, or does not match an id.
    """
    if group_pattern is None:
        return torch.arange(len(ids))
    groups = group_ids(ids, group_pattern, "group_pattern")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return torch.tensor([numbers[group] for group in groups], dtype=torch.int64)


def resample(evaluation: Evaluation, groups: Tensor, bootstrap_samples: int, seed: int) -> dict[str, Tensor]:
    """Compute the metrics of R bootstrap samples.

    The draws depend only on the seed and the number of groups. With the same seed and groups, the same images of two
    evaluations are therefore drawn, and the metrics of the two can be compared draw by draw.

    Args:
        evaluation: the confusion matrices of the images.
        groups: (N,) int64, the number of each image's group, from 0.
        bootstrap_samples: R.
        seed: the seed of the draws.

    Returns:
        The metrics by name, float64: (R,) for all classes together, (R, C) for each class. The metrics of the boundary
        band are named `boundary_...`. A value is NaN if it is not defined, such as the IoU of a class that a bootstrap
        sample lacks.
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
    return all_pixels | {f"boundary_{name}": boundary[name] for name in ("miou", "pixel_accuracy", "per_class_iou")}


def percentile_interval(values: Tensor) -> Tensor:
    """Return the ends (2, ...) of the middle 95 % of the R values (R, ...). NaN values are left out."""
    return values.nanquantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype), dim=0)


def as_json(values: dict[str, Tensor], classes: Sequence[str]) -> dict[str, Any]:
    """Compute the interval of each metric, for a JSON file.

    Args:
        values: the metrics of the bootstrap samples, see `resample`.
        classes: the names of the classes.

    Returns:
        By metric, [low, high]; for per-class metrics, a dictionary of [low, high] by class. None instead of an interval
        if all values are NaN.
    """
    ends: dict[str, Any] = {}
    for name, drawn in values.items():
        interval = percentile_interval(drawn)
        ends[name] = dict(zip(classes, map(_ends, interval.T), strict=True)) if drawn.ndim == 2 else _ends(interval)
    return ends


def intervals(
    evaluation: Evaluation, group_pattern: str | None, bootstrap_samples: int, seed: int
) -> dict[str, Any] | None:
    """Compute the entry `intervals` of `metrics.json`.

    Args:
        evaluation: the confusion matrices of the images.
        group_pattern: see `resampling_groups`.
        bootstrap_samples: the number of bootstrap samples; 0: no intervals.
        seed: the seed of the draws.

    Returns:
        A dictionary with the items of `describe` and of `as_json`. None if there are no bootstrap samples, or fewer
        than two groups to draw from.

    Raises:
        ArgumentError: see `resampling_groups`.
    """
    groups = resampling_groups(evaluation.ids, group_pattern)
    if not bootstrap_samples or len(groups.unique()) < 2:
        return None
    drawn = resample(evaluation, groups, bootstrap_samples, seed)
    return describe(groups, group_pattern, drawn) | as_json(drawn, evaluation.classes)


def describe(groups: Tensor, group_pattern: str | None, drawn: dict[str, Tensor]) -> dict[str, Any]:
    """Describe how intervals were made, for a JSON file.

    Args:
        groups: (N,) int64, the number of each image's group.
        group_pattern: the pattern that determined the groups; None: every image is a group.
        drawn: the metrics of the bootstrap samples, see `resample`.

    Returns:
        JSON values. `draws_lacking_a_class` counts the bootstrap samples that lack a class that others have. Their mean
        metrics, such as the mIoU, are means over fewer classes.
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
