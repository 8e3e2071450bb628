"""Formats of numbers, of intervals, and of the description of a bootstrap."""

from collections.abc import Mapping, Sequence
from typing import Any

CLASS_FIGURES = {"per_class_iou": "IoU", "per_class_accuracy": "accuracy", "boundary_per_class_iou": "boundary IoU"}
NO_INTERVAL = (None, None)  # the cells of a missing interval


def format_number(value: float | None, sign: str = "") -> str:
    """Format a number with three decimals, None as n/a; `sign` is "+" for differences."""
    return "n/a" if value is None else f"{value:{sign}.3f}"


def format_interval(ends: Sequence[float] | None, sign: str = "") -> str:
    """Format the ends of an interval, None as n/a; `sign` as for `format_number`."""
    return "n/a" if ends is None else f"{format_number(ends[0], sign)} to {format_number(ends[1], sign)}"


def describe_bootstrap(intervals: Mapping[str, Any]) -> str:
    """Describe what the bootstrap drew from; `intervals` is the entry of `metrics.json`."""
    units = "images" if intervals["groups"] is None else f"groups of images ({intervals['groups']})"
    lacking = intervals["draws_lacking_a_class"] / intervals["draws"]
    fewer = (
        f"; {lacking:.0%} of the draws lack a class, so their means are over fewer classes" if lacking >= 0.01 else ""
    )
    return f"bootstrap over {intervals['drawn_from']} {units}{fewer}"
