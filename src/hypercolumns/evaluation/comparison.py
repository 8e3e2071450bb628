"""Compare two evaluations of the same images, with confidence intervals of the differences."""

from typing import Any

import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation.bootstrap import as_json, describe, resample, resampling_groups
from hypercolumns.evaluation.evaluation import Evaluation

COMPARED = (
    "miou boundary_miou pixel_accuracy mean_accuracy frequency_weighted_iou boundary_pixel_accuracy "
    "per_class_iou boundary_per_class_iou per_class_accuracy"
).split()


def compare(
    evaluation: Evaluation, baseline: Evaluation, group_pattern: str | None, bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Compare two evaluations metric by metric.

    Each bootstrap sample draws the same images from both evaluations. Images that are hard for both models therefore do
    not widen the intervals of the differences.

    Args:
        evaluation: the first evaluation.
        baseline: the second evaluation, with the same images in any order, and the same masks, classes and boundary
            width.
        group_pattern: see `bootstrap.resampling_groups`.
        bootstrap_samples: the number of bootstrap samples; 0: no intervals.
        seed: the seed of the draws.

    Returns:
        JSON values: the metrics of both, `difference` = evaluation - baseline, and the `intervals` of the differences.
        A difference is None if either value is None. `intervals` is None if there are no bootstrap samples, or fewer
        than two groups to draw from.

    Raises:
        HypercolumnsError: if the images, masks, classes or boundary widths differ, or if `group_pattern` is invalid.
    """
    baseline = _same_order(evaluation, baseline)
    groups = resampling_groups(evaluation.ids, group_pattern)
    ends: dict[str, Any] | None = None
    if bootstrap_samples and len(groups.unique()) > 1:
        first_drawn, second_drawn = (
            resample(counts, groups, bootstrap_samples, seed) for counts in (evaluation, baseline)
        )
        differences = {name: first_drawn[name] - second_drawn[name] for name in first_drawn}
        ends = describe(groups, group_pattern, differences) | as_json(differences, evaluation.classes)
    first, second = evaluation.figures(), baseline.figures()
    return {
        "images": len(evaluation.ids),
        "boundary_width": evaluation.boundary_width,
        "evaluation": {name: first[name] for name in COMPARED},
        "baseline": {name: second[name] for name in COMPARED},
        "difference": {name: _difference(first[name], second[name]) for name in COMPARED},
        "intervals": ends,
    }


def _same_order(evaluation: Evaluation, baseline: Evaluation) -> Evaluation:
    """Sort the baseline's images like the evaluation's; raise HypercolumnsError if the two can't be compared."""
    if evaluation.classes != baseline.classes:
        raise HypercolumnsError(
            f"the evaluation has the classes {', '.join(evaluation.classes)}, but the baseline has "
            f"{', '.join(baseline.classes)}; only evaluations of the same classes can be compared"
        )
    if evaluation.boundary_width != baseline.boundary_width:
        raise HypercolumnsError(
            f"the evaluation has boundary_width={evaluation.boundary_width}, but the baseline has boundary_width="
            f"{baseline.boundary_width}; evaluate one of them again with the other's boundary_width"
        )
    differing = sorted(set(evaluation.ids) ^ set(baseline.ids))
    if differing:
        raise HypercolumnsError(
            f"the evaluation has {len(evaluation.ids)} images, and the baseline has {len(baseline.ids)}; "
            f"{len(differing)} images are in only one of them, such as {differing[0]}; evaluate both on the same images"
        )
    numbers = {id: number for number, id in enumerate(baseline.ids)}
    baseline = baseline.take([numbers[id] for id in evaluation.ids])
    pairs = ((evaluation.all_pixels, baseline.all_pixels), (evaluation.boundary, baseline.boundary))
    changed = torch.stack([(counts.sum(2) != others.sum(2)).any(1) for counts, others in pairs]).any(0)
    if changed.any():
        first = evaluation.ids[int(changed.int().argmax())]
        raise HypercolumnsError(
            f"the two evaluations used different masks for {int(changed.sum())} images, such as {first}; evaluate both "
            f"on the same masks"
        )
    return baseline


def _difference(value: Any, other: Any) -> Any:
    """Subtract two metrics, or per-class metrics class by class."""
    if isinstance(value, dict):
        return {name: _difference(value[name], other[name]) for name in value}
    return None if value is None or other is None else value - other
