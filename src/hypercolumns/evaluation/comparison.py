"""Two evaluations of the same images: how they differ, and how sure that is."""

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
    """The figures of both, and the difference, evaluation less baseline, with its interval.

    Both are drawn alike (see `bootstrap`), so what makes an image hard for both does not widen the interval of the
    difference. A difference is None for a class that one of them lacks. Raises HypercolumnsError if they are not of the
    same images, masks, classes and boundary width.
    """
    baseline = _same_order(evaluation, baseline)
    groups = resampling_groups(evaluation.ids, group_pattern)
    ends: dict[str, Any] | None = None
    if bootstrap_samples and len(groups.unique()) > 1:
        ours, theirs = (resample(one, groups, bootstrap_samples, seed) for one in (evaluation, baseline))
        differences = {name: ours[name] - theirs[name] for name in ours}
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
    """The baseline with its images in the evaluation's order; raises HypercolumnsError if they can't be compared."""
    if evaluation.classes != baseline.classes:
        raise HypercolumnsError(
            f"the evaluation has the classes {', '.join(evaluation.classes)}, the baseline "
            f"{', '.join(baseline.classes)}; only evaluations of the same classes can be compared"
        )
    if evaluation.boundary_width != baseline.boundary_width:
        raise HypercolumnsError(
            f"the evaluation has boundaries of {evaluation.boundary_width} pixels, the baseline of "
            f"{baseline.boundary_width}; evaluate one of them again with the other's boundary_width"
        )
    differing = sorted(set(evaluation.ids) ^ set(baseline.ids))
    if differing:
        raise HypercolumnsError(
            f"the evaluation has {len(evaluation.ids)} images, the baseline {len(baseline.ids)}; {len(differing)} of "
            f"them are in one alone, such as {differing[0]}; evaluate both on the same images"
        )
    numbers = {id: number for number, id in enumerate(baseline.ids)}
    baseline = baseline.take([numbers[id] for id in evaluation.ids])
    pairs = ((evaluation.all_pixels, baseline.all_pixels), (evaluation.boundary, baseline.boundary))
    other = torch.stack([(one.sum(2) != another.sum(2)).any(1) for one, another in pairs]).any(0)
    if other.any():
        first = evaluation.ids[int(other.int().argmax())]
        raise HypercolumnsError(
            f"the masks of {int(other.sum())} images differ, such as that of {first}; evaluate both on the same masks"
        )
    return baseline


def _difference(value: Any, other: Any) -> Any:
    """Of two figures, or of each class's."""
    if isinstance(value, dict):
        return {name: _difference(value[name], other[name]) for name in value}
    return None if value is None or other is None else value - other
