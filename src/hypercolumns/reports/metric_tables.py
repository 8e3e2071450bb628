"""Tables of the metrics of one evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from torch import Tensor

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

# The rows of means in `metrics.csv`: the names of the three metrics in `metrics.json`, by the first cell of the row.
MEANS = {
    "(mean)": ("miou", "mean_accuracy", "boundary_miou"),
    "(mean of classes in masks)": ("miou_present", "mean_accuracy", "boundary_miou_present"),
}


def metrics_table(figures: Mapping[str, Any], title: str) -> Table:
    """Build the table of an evaluation's metrics, given the content of `metrics.json`.

    The table has a row for each class, a row for the means over the classes, a row for the means over the classes that
    occur in the masks, and a row for the frequency-weighted IoU and the pixel accuracy. The last row is the baseline:
    the mIoU of a prediction that assigns the most frequent true class to every pixel.
    """
    ends = figures.get("intervals")
    table = Table(title=Text(title), title_justify="left")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    if ends:
        table.add_column(f"{ends['level']:.0%} interval", justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("boundary IoU", justify="right")

    def add_row(name: str, iou: float | None, interval: Any, accuracy: float | None, boundary_iou: str) -> None:
        intervals = [format_interval(interval)] if ends else []
        table.add_row(Text(name), format_number(iou), *intervals, format_number(accuracy), boundary_iou)

    interval_of = (ends or {}).get
    for name, iou in figures["per_class_iou"].items():
        interval = interval_of("per_class_iou", {}).get(name)
        boundary_iou = format_number(figures["boundary_per_class_iou"][name])
        add_row(name, iou, interval, figures["per_class_accuracy"][name], boundary_iou)
    table.add_section()
    boundary_miou = format_number(figures["boundary_miou"])
    add_row("mean (mIoU)", figures["miou"], interval_of("miou"), figures["mean_accuracy"], boundary_miou)
    present = "miou_present"
    boundary_miou = format_number(figures[f"boundary_{present}"])
    add_row("mean, classes in masks", figures[present], interval_of(present), figures["mean_accuracy"], boundary_miou)
    weighted, correct = figures["frequency_weighted_iou"], figures["pixel_accuracy"]
    add_row("all pixels", weighted, interval_of("frequency_weighted_iou"), correct, "")
    baseline = figures["baseline"]
    blank = [""] * (3 if ends else 2)
    table.add_row(
        Text(f"baseline: all {baseline['class'] or 'n/a'}"), format_number(baseline["miou"]), *blank, style="dim"
    )
    return table


def print_metrics(figures: Mapping[str, Any], title: str, paths: Mapping[str, Path]) -> None:
    """Print the metrics of a run and the paths of its files.

    Args:
        figures: the content of `metrics.json`. If no images were scored, it has only metrics of the val samples.
        title: which images were scored, such as "train: 100 val images of voc2012".
        paths: the paths to print; the key of a path is printed before the path.
    """
    if "per_class_iou" in figures:
        console.print(metrics_table(figures, title))
        absent = [name for name, iou in figures["per_class_iou"].items() if iou is None]
        if absent:
            console.print(f"n/a: {', '.join(absent)} (in no mask and in no prediction)", markup=False)
        if explanation := explain_absent(figures):
            console.print(explanation, markup=False)
        if ends := figures.get("intervals"):
            console.print(f"{ends['level']:.0%} intervals: {describe_bootstrap(ends)}", markup=False)
    else:
        sample_figures = ", ".join(f"{name} {figures[name]:.3f}" for name in figures if name.startswith("sample_"))
        console.print(f"{title} were scored ({sample_figures} of the val samples)", markup=False)
    for name, path in paths.items():
        console.print(f"{name:>9}  {path}", markup=False)


def write_confusion(path: Path, counts: Tensor, classes: Sequence[str]) -> None:
    """Write a confusion matrix as a CSV file.

    Args:
        path: the file to write.
        counts: (C, C), pixel counts with a row for each true class and a column for each predicted class.
        classes: the names of the classes.
    """
    rows = ([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))
    write_csv(path, ["true \\ predicted", *classes], rows)


def write_class_metrics(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the content of `metrics.json` as a CSV file, with a row for each class and two rows for the means.

    One row of means is over the classes that occur in masks or predictions, the other over those that occur in masks.
    The mean accuracy is over the latter in both. Each row holds the IoU, the accuracy and the boundary IoU, each
    followed by the two ends of its interval.
    """
    ends = figures["intervals"] or {}
    rows = []
    for of_class in figures["per_class_iou"]:
        rows.append([of_class])
        for name in CLASS_FIGURES:
            rows[-1] += [figures[name][of_class], *(ends.get(name, {}).get(of_class) or NO_INTERVAL)]
    for label, names in MEANS.items():
        rows.append([label])
        for name in names:
            rows[-1] += [figures[name], *(ends.get(name) or NO_INTERVAL)]
    header = [name.replace(" ", "_").lower() for name in CLASS_FIGURES.values()]
    write_csv(path, ["class", *(f"{name}{end}" for name in header for end in ("", "_low", "_high"))], rows)
