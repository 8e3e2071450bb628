"""How sure a figure is: the bootstrap over images, or over groups of images that are not independent.

The images (or groups) of an evaluation are drawn anew, as many as there are and with replacement, and all figures are
worked out of each draw; the middle 95 % of them are the interval (Efron, Bootstrap Methods, Annals of Statistics 1979).

    R draws, N images, C classes
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
BOOTSTRAP_SAMPLES = 1000  # where nothing else is asked for


def resampling_groups(ids: Sequence[str], group_pattern: str | None) -> Tensor:
    """The group (N,) int64 of each image, numbered from 0, see `data.groups`; without a pattern, each is its own."""
    if group_pattern is None:
        return torch.arange(len(ids))
    found = group_ids(ids, group_pattern, "group_pattern")
    numbers = {group: number for number, group in enumerate(dict.fromkeys(found))}
    return torch.tensor([numbers[group] for group in found], dtype=torch.int64)


def resample(evaluation: Evaluation, groups: Tensor, bootstrap_samples: int, seed: int) -> dict[str, Tensor]:
    """All figures of R draws of the groups: (R,), those of classes (R, C); those named `boundary_...` are of the band.

    A function of the seed, the groups and the counts: two evaluations of the same images are drawn alike, so that their
    figures can be compared draw by draw.
    """
    units = int(groups.max()) + 1
    sums = torch.stack(
        [part for one in (evaluation.all_pixels, evaluation.boundary) for part in class_sums(one)], dim=1
    )
    of_units = torch.zeros(units, *sums.shape[1:], dtype=torch.float64).index_add_(0, groups, sums.double())
    generator = randomness.generator(seed, "bootstrap")
    drawn = torch.stack(
        [
            torch.bincount(torch.randint(units, (units,), generator=generator), minlength=units).double()
            @ of_units.flatten(1)
            for _ in range(bootstrap_samples)
        ]
    ).unflatten(1, sums.shape[1:])
    all_pixels, boundary = (metrics_from_class_sums(*drawn[:, start : start + 3].unbind(1)) for start in (0, 3))
    return all_pixels | {f"boundary_{name}": boundary[name] for name in ("miou", "pixel_accuracy", "per_class_iou")}


def percentile_interval(values: Tensor) -> Tensor:
    """The ends (2, ...) of the middle 95 % of values (R, ...); NaNs, where a class was not drawn, are left out."""
    return values.nanquantile(torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=values.dtype), dim=0)


def as_json(values: dict[str, Tensor], classes: Sequence[str]) -> dict[str, Any]:
    """The ends [low, high] of the interval of each figure, those of classes by name; None where all draws are NaN."""
    ends: dict[str, Any] = {}
    for name, drawn in values.items():
        between = percentile_interval(drawn)
        ends[name] = dict(zip(classes, map(_ends, between.T), strict=True)) if drawn.ndim == 2 else _ends(between)
    return ends


def intervals(
    evaluation: Evaluation, group_pattern: str | None, bootstrap_samples: int, seed: int
) -> dict[str, Any] | None:
    """What `metrics.json` says of how sure its figures are; None where there are no two groups to draw from."""
    groups = resampling_groups(evaluation.ids, group_pattern)
    if not bootstrap_samples or len(groups.unique()) < 2:
        return None
    drawn = resample(evaluation, groups, bootstrap_samples, seed)
    return describe(groups, group_pattern, drawn) | as_json(drawn, evaluation.classes)


def describe(groups: Tensor, group_pattern: str | None, drawn: dict[str, Tensor]) -> dict[str, Any]:
    """What intervals were made by; in `draws_lacking_a_class` the means are over fewer classes than in all images."""
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
