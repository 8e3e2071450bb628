"""Tables that compare the metrics of an evaluation with those of a baseline, which is another evaluation."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from hypercolumns.io.tables import write_csv
from hypercolumns.reports.format import (
    CLASS_FIGURES,
    NO_INTERVAL,
    describe_bootstrap,
    explain_absent,
    format_interval,
    format_number,
)
from hypercolumns.runtime.progress import console


class ComparisonRow(NamedTuple):
    """One metric in a comparison of an evaluation with a baseline.

    Attributes:
        figure: the name of the metric in `comparison.json`.
        of_class: the name of the class; None for a metric of all classes together.
        baseline: the metric's value in the baseline; None if the metric is not defined there.
        evaluation: the metric's value in the evaluation; None if the metric is not defined there.
        difference: evaluation - baseline; None if either value is None.
        ends: the interval [low, high] of the difference; None if the difference has no interval.
    """

    figure: str
    of_class: str | None
    baseline: float | None
    evaluation: float | None
    difference: float | None
    ends: list[float] | None

    @property
    def name(self) -> str:
        """The name of the metric in tables, such as `boundary mIoU` or `IoU of road`."""
        if self.of_class is None:
            words = self.figure.replace("_", " ").replace("miou", "mIoU").replace("iou", "IoU")
            return words.replace("present", "of classes in masks")
        return f"{CLASS_FIGURES[self.figure]} of {self.of_class}"

    @property
    def is_clear(self) -> bool:
        """Whether the difference has an interval, and the interval does not contain 0."""
        return self.ends is not None and not self.ends[0] <= 0 <= self.ends[1]


def comparison_rows(result: Mapping[str, Any]) -> list[ComparisonRow]:
    """Return the rows of a comparison, given the result of `evaluation.compare`.

    A metric of all classes together has one row; a per-class metric has one row for each class.
    """
    parts = [result["baseline"], result["evaluation"], result["difference"], result["intervals"] or {}]
    rows = []
    for figure, difference in result["difference"].items():
        if isinstance(difference, dict):
            for of_class in difference:
                rows.append(ComparisonRow(figure, of_class, *(part.get(figure, {}).get(of_class) for part in parts)))
        else:
            rows.append(ComparisonRow(figure, None, *(part.get(figure) for part in parts)))
    return rows


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Build the table of a comparison, given the result of `evaluation.compare`.

    The metrics of all classes together come first, then the IoU of each class. A row is bold if the interval of its
    difference does not contain 0.
    """
    ends = result["intervals"]
    table = Table(title=f"{result['images']} images", title_justify="left")
    for name in ("", "baseline", "evaluation", "difference", *([f"{ends['level']:.0%} interval"] if ends else [])):
        table.add_column(name, justify="right" if name else "left")
    rows = comparison_rows(result)
    of_all = [row for row in rows if row.of_class is None]
    of_classes = [row for row in rows if row.figure == "per_class_iou"]
    for row in of_all + of_classes:
        if row is of_classes[0]:
            table.add_section()
        cells = format_number(row.baseline), format_number(row.evaluation), format_number(row.difference, "+")
        intervals = [format_interval(row.ends, "+")] if ends else []
        table.add_row(Text(row.name), *cells, *intervals, style="bold" if row.is_clear else "")
    return table


def print_comparison(result: Mapping[str, Any], evaluation: Path, baseline: Path) -> None:
    """Print the table of a comparison, and a line with the difference of the mIoU and its interval.

    Args:
        result: the result of `evaluation.compare`.
        evaluation: the folder of the evaluation, to name it in the line.
        baseline: the folder of the baseline, to name it in the line.
    """
    console.print(comparison_table(result))
    difference, ends = result["difference"]["miou"], result["intervals"]
    line = f"mIoU of {evaluation} minus mIoU of {baseline}: {format_number(difference, '+')}"
    if ends and ends["miou"]:
        line += f" ({ends['level']:.0%} interval {format_interval(ends['miou'], '+')}, {describe_bootstrap(ends)})"
    console.print(line, markup=False)
    for which in ("evaluation", "baseline"):
        if explanation := explain_absent(result[which]):
            console.print(f"{which}: {explanation}", markup=False)


def write_comparison(path: Path, result: Mapping[str, Any]) -> None:
    """Write the result of `evaluation.compare` as a CSV file, with the rows of `comparison_rows`."""
    rows = (
        [row.name, row.baseline, row.evaluation, row.difference, *(row.ends or NO_INTERVAL)]
        for row in comparison_rows(result)
    )
    write_csv(path, ["figure", "baseline", "evaluation", "difference", "low", "high"], rows)
