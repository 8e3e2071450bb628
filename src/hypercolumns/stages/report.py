"""What a person sees at the end: tables, in the terminal and as files."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import filesize
from rich.table import Table
from rich.text import Text
from torch import Tensor

from hypercolumns.files import replacing
from hypercolumns.progress import console
from hypercolumns.store import SampleStore

MISSING = math.nan  # in a cell where there is nothing to say
CLASS_FIGURES = {
    "per_class_iou": "IoU",
    "boundary_per_class_iou": "boundary IoU",
    "per_class_accuracy": "accuracy",
}


def table(figures: Mapping[str, Any], title: str) -> Table:
    """The figures of `metrics.json` as a table: each class, then all together."""
    ends = figures.get("intervals")
    rows = Table(title=Text(title), title_justify="left")
    rows.add_column("class")
    rows.add_column("IoU", justify="right")
    if ends:
        rows.add_column(f"{ends['level']:.0%} interval", justify="right")
    rows.add_column("accuracy", justify="right")
    rows.add_column("boundary IoU", justify="right")

    def row(name: str, iou: float | None, between: Any, accuracy: float | None, near: float | None) -> None:
        uncertainty = [_between(between)] if ends else []
        rows.add_row(Text(name), number(iou), *uncertainty, number(accuracy), "" if near is MISSING else number(near))

    per_class = ends["per_class_iou"] if ends else {}
    for name, iou in figures["per_class_iou"].items():
        near = figures["boundary_per_class_iou"][name]
        row(name, iou, per_class.get(name), figures["per_class_accuracy"][name], near)
    rows.add_section()
    of = (ends or {}).get
    row("mean (mIoU)", figures["miou"], of("miou"), figures["mean_accuracy"], figures["boundary_miou"])
    weighted, correct = figures["frequency_weighted_iou"], figures["pixel_accuracy"]
    row("all pixels", weighted, of("frequency_weighted_iou"), correct, MISSING)
    baseline = figures["baseline"]
    blank = [""] * (3 if ends else 2)
    rows.add_row(Text(f"baseline: all {baseline['class']}"), number(baseline["miou"]), *blank, style="dim")
    return rows


def comparison_table(result: Mapping[str, Any]) -> Table:
    """A comparison as a table: all together, then the IoU of each class; in bold where the interval leaves out 0."""
    ends, in_classes = result["intervals"], False
    rows = Table(title=f"{result['images']} images", title_justify="left")
    for name in ("", "baseline", "evaluation", "difference", *([f"{ends['level']:.0%} interval"] if ends else [])):
        rows.add_column(name, justify="right" if name else "left")
    for name, *values, between in comparison_rows(result):
        of_class = " of " in name
        if of_class and not name.startswith("IoU of "):
            continue  # for the files
        if of_class and not in_classes:
            rows.add_section()
            in_classes = True
        uncertainty = [] if ends is None else [_between(between, "+")]
        clear = between is not None and (between[0] > 0 or between[1] < 0)
        first, second, difference = values
        cells = number(first), number(second), number(difference, "+"), *uncertainty
        rows.add_row(Text(name), *cells, style="bold" if clear else "")
    return rows


def comparison_rows(result: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Name, baseline, evaluation, difference and the ends of its interval (or None) of each figure of a comparison."""
    rows = []
    parts = [result["baseline"], result["evaluation"], result["difference"], result["intervals"] or {}]
    for name, value in result["difference"].items():
        if isinstance(value, dict):
            for of_class in value:
                values = (part.get(name, {}).get(of_class) for part in parts)
                rows.append((f"{CLASS_FIGURES[name]} of {of_class}", *values))
        else:
            rows.append(
                (
                    name.replace("_", " ").replace("miou", "mIoU").replace("iou", "IoU"),
                    *(part.get(name) for part in parts),
                )
            )
    return rows


def number(value: float | None, sign: str = "") -> str:
    """Three decimals, or n/a; `sign` is "+" for differences."""
    return "n/a" if value is None or math.isnan(value) else f"{value:{sign}.3f}"


def show(figures: Mapping[str, Any], title: str, paths: Mapping[str, Path]) -> None:
    """Print the table, if images were scored, and where the files are."""
    if "per_class_iou" in figures:
        console.print(table(figures, title))
        if ends := figures.get("intervals"):
            console.print(f"{ends['level']:.0%} intervals: {_drawn_from(ends)}", markup=False)
    else:
        sample_figures = ", ".join(f"{name} {figures[name]:.3f}" for name in figures if name.startswith("sample_"))
        console.print(f"{title} were scored ({sample_figures} of the val samples)", markup=False)
    for name, path in paths.items():
        console.print(f"{name:>9}  {path}", markup=False)


def write_confusion(path: Path, counts: Tensor, classes: Sequence[str]) -> None:
    """A confusion matrix (C, C) as CSV: a row of pixel counts for each true class, a column for each predicted one."""
    rows = ([name, *row] for name, row in zip(classes, counts.tolist(), strict=True))
    _write_csv(path, ["true \\ predicted", *classes], rows)


def write_classes(path: Path, figures: Mapping[str, Any]) -> None:
    """The figures of each class, and of all together, as CSV."""
    names = ("per_class_iou", "per_class_accuracy", "boundary_per_class_iou")
    rows: list[list[Any]] = [[of_class, *(figures[name][of_class] for name in names)] for of_class in figures[names[0]]]
    rows.append(["(mean)", figures["miou"], figures["mean_accuracy"], figures["boundary_miou"]])
    _write_csv(path, ["class", "iou", "accuracy", "boundary_iou"], rows)


def write_comparison(path: Path, result: Mapping[str, Any]) -> None:
    """A comparison as CSV."""
    rows = ([*row[:-1], *(row[-1] or (None, None))] for row in comparison_rows(result))
    _write_csv(path, ["figure", "baseline", "evaluation", "difference", "low", "high"], rows)


def show_comparison(result: Mapping[str, Any], evaluation: Path, baseline: Path) -> None:
    """Print a comparison, and what it comes to in a sentence."""
    console.print(comparison_table(result))
    difference, ends = result["difference"]["miou"], result["intervals"]
    line = f"mIoU of {evaluation} less that of {baseline}: {number(difference, '+')}"
    if ends and ends["miou"]:
        line += f" ({ends['level']:.0%} interval {_between(ends['miou'], '+')}, {_drawn_from(ends)})"
    console.print(line, markup=False)


def show_store(store: SampleStore, classes: Sequence[str]) -> None:
    """Print how many samples of each class a store holds, its size, and where it is."""
    splits = {name: store.split(name) for name in store.records}
    rows = Table(title=f"samples of {' and '.join(splits)}", title_justify="left")
    rows.add_column("class")
    for name in splits:
        rows.add_column(name, justify="right")
    counts = [split.samples_per_class(len(classes)).tolist() for split in splits.values()]
    for name, *of_class in zip(classes, *counts, strict=True):
        rows.add_row(Text(name), *(f"{count:,}" for count in of_class))
    rows.add_section()
    rows.add_row("all", *(f"{len(split):,}" for split in splits.values()))
    rows.add_row("size", *(filesize.decimal(split.bytes) for split in splits.values()))
    console.print(rows)
    channels = splits["train"].channels
    console.print(f"{'samples':>9}  {store.folder} ({channels} channels, float16)", markup=False)


def _between(ends: Sequence[float] | None, sign: str = "") -> str:
    return "n/a" if ends is None else f"{number(ends[0], sign)} to {number(ends[1], sign)}"


def _drawn_from(ends: Mapping[str, Any]) -> str:
    units = "images" if ends["groups"] is None else f"groups of images ({ends['groups']})"
    return f"bootstrap over {ends['drawn_from']} {units}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table; None is an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
