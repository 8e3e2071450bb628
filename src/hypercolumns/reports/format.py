"""Format numbers, intervals and the description of a bootstrap, for tables and lines in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

# The per-class metrics by their names in `metrics.json`, with their names in tables.
CLASS_FIGURES = {"per_class_iou": "IoU", "per_class_accuracy": "accuracy", "boundary_per_class_iou": "boundary IoU"}
NO_INTERVAL = (None, None)  # the two cells of a missing interval in a CSV file


def format_number(value: float | None, sign: str = "") -> str:
    """Format a number with three decimals, and None as `n/a`. With `sign` = "+", positive numbers get a plus sign."""
    return "n/a" if value is None else f"{value:{sign}.3f}"


def format_interval(ends: Sequence[float] | None, sign: str = "") -> str:
    """Format an interval [low, high] as `low to high`, and None as `n/a`. `sign` is as in `format_number`."""
    return "n/a" if ends is None else f"{format_number(ends[0], sign)} to {format_number(ends[1], sign)}"


def explain_absent(figures: Mapping[str, Any]) -> str | None:
    """Say which classes occur in the predictions but in no mask, and what they mean for the mIoU; None without any.

    `figures` holds the metrics by their names in `metrics.json`.
    """
    accuracy = figures["per_class_accuracy"]
    names = [name for name, iou in figures["per_class_iou"].items() if iou is not None and accuracy[name] is None]
    if not names:
        return None
    return (
        f"{', '.join(names)}: in predictions but in no mask, so the IoU is 0. The mIoU includes it, as Pascal VOC "
        f"defines it: the mean over the classes in masks or predictions. The mean over the classes in masks is "
        f"{format_number(figures['miou_present'])} (miou_present)"
    )


def describe_bootstrap(intervals: Mapping[str, Any]) -> str:
    """Describe how many images, or groups of images, a bootstrap drew from.

    `intervals` is the entry `intervals` of `metrics.json` or of `comparison.json`. Some bootstrap samples may lack a
    class that other bootstrap samples contain. If they are at least 1 % of all bootstrap samples, the text gives their
    percentage.
    """
    units = "images" if intervals["groups"] is None else f"groups of images (group_pattern={intervals['groups']})"
    lacking = intervals["draws_lacking_a_class"] / intervals["draws"]
    fewer = (
        f"; {lacking:.0%} of the draws lack a class, so their means are over fewer classes" if lacking >= 0.01 else ""
    )
    return f"bootstrap over {intervals['drawn_from']} {units}{fewer}"
