"""Compare two evaluations of the same images, and estimate confidence intervals of the differences."""

from typing import Any

import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.evaluation.bootstrap import as_json, describe, resample, resampling_groups
from hypercolumns.evaluation.evaluation import Evaluation

COMPARED = (
    "miou miou_present boundary_miou boundary_miou_present pixel_accuracy mean_accuracy frequency_weighted_iou "
    "boundary_pixel_accuracy per_class_iou boundary_per_class_iou per_class_accuracy"
).split()


def compare(
    evaluation: Evaluation, baseline: Evaluation, group_pattern: str | None, bootstrap_samples: int, seed: int
) -> dict[str, Any]:
    """Compare two evaluations metric by metric.

    Each bootstrap sample consists of the same images in both evaluations. Therefore, images that are hard for both
    models do not widen the intervals of the differences.

    Args:
        evaluation: the first evaluation.
        baseline: the second evaluation. It must have the same images, in any order, and the same masks, classes and
            boundary width as the first.
        group_pattern: a regular expression that determines the group of an image id; None: each image is a group. See
            `bootstrap.resampling_groups`.
        bootstrap_samples: the number of bootstrap samples; 0: no intervals.
        seed: the seed of the random numbers.

    Returns:
        A dictionary of JSON values: the number of `images`, the `boundary_width`, the metrics of both evaluations
        (`evaluation`, `baseline`), the `difference` of each metric (evaluation - baseline), and the `intervals` of the
        differences. A difference is None if the metric of either evaluation is None. `intervals` is None if
        `bootstrap_samples` is 0, or if the images form fewer than two groups.

    Raises:
        HypercolumnsError: if the two evaluations have different images, masks, classes or boundary widths; or if
            `group_pattern` is not a valid regular expression, or does not match every image id.
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
    """Return the baseline with its images in the order of the evaluation's images.

    Raises:
        HypercolumnsError: if the two evaluations can't be compared.
    """
    if evaluation.classes != baseline.classes:
        raise HypercolumnsError(
            f"the evaluation has the classes {', '.join(evaluation.classes)}, but the baseline has "
            f"the classes {', '.join(baseline.classes)}; compare evaluations of models with the same classes"
        )
    if evaluation.boundary_width != baseline.boundary_width:
        raise HypercolumnsError(
            f"the evaluation has boundary_width={evaluation.boundary_width}, but the baseline has boundary_width="
            f"{baseline.boundary_width}; evaluate one of the two models again, with the boundary_width of the other"
        )
    differing = sorted(set(evaluation.ids) ^ set(baseline.ids))
    if differing:
        raise HypercolumnsError(
            f"the evaluation has {len(evaluation.ids)} images, and the baseline has {len(baseline.ids)}; "
            f"{len(differing)} images are in only one of them, such as {differing[0]}; evaluate both models on the "
            f"same images"
        )
    numbers = {id: number for number, id in enumerate(baseline.ids)}
    baseline = baseline.take([numbers[id] for id in evaluation.ids])
    pairs = ((evaluation.all_pixels, baseline.all_pixels), (evaluation.boundary, baseline.boundary))
    changed = torch.stack([(counts.sum(2) != others.sum(2)).any(1) for counts, others in pairs]).any(0)
    if changed.any():
        first = evaluation.ids[int(changed.int().argmax())]
        raise HypercolumnsError(
            f"the two evaluations used different masks for {int(changed.sum())} images, such as {first}; evaluate both "
            f"models on the same masks"
        )
    return baseline


def _difference(value: Any, other: Any) -> Any:
    """Return value - other; for a per-class metric, return a dictionary of the differences by class name.

    The difference is None if `value` or `other` is None.
    """
    if isinstance(value, dict):
        return {name: _difference(value[name], other[name]) for name in value}
    return None if value is None or other is None else value - other
