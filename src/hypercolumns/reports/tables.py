"""What a person sees at the end: tables, in the terminal and as files."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich import filesize
from rich.table import Table
from rich.text import Text
from torch import Tensor

from hypercolumns.io.tables import write_csv
from hypercolumns.runtime.progress import console
from hypercolumns.store import SampleStore

CLASS_FIGURES = {"per_class_iou": "IoU", "per_class_accuracy": "accuracy", "boundary_per_class_iou": "boundary IoU"}
NO_INTERVAL = (None, None)  # of an interval that is not there


def metrics_table(figures: Mapping[str, Any], title: str) -> Table:
    """The figures of `metrics.json` as a table: each class, then all together."""
    ends = figures.get("intervals")
    rows = Table(title=Text(title), title_justify="left")
    rows.add_column("class")
    rows.add_column("IoU", justify="right")
    if ends:
        rows.add_column(f"{ends['level']:.0%} interval", justify="right")
    rows.add_column("accuracy", justify="right")
    rows.add_column("boundary IoU", justify="right")

    def row(name: str, iou: float | None, between: Any, accuracy: float | None, near: str) -> None:
        rows.add_row(
            Text(name), format_number(iou), *([_between(between)] if ends else []), format_number(accuracy), near
        )

    of = (ends or {}).get
    for name, iou in figures["per_class_iou"].items():
        between = of("per_class_iou", {}).get(name)
        near = format_number(figures["boundary_per_class_iou"][name])
        row(name, iou, between, figures["per_class_accuracy"][name], near)
    rows.add_section()
    row("mean (mIoU)", figures["miou"], of("miou"), figures["mean_accuracy"], format_number(figures["boundary_miou"]))
    weighted, correct = figures["frequency_weighted_iou"], figures["pixel_accuracy"]
    row("all pixels", weighted, of("frequency_weighted_iou"), correct, "")
    baseline = figures["baseline"]
    blank = [""] * (3 if ends else 2)
    rows.add_row(
        Text(f"baseline: all {baseline['class'] or 'n/a'}"), format_number(baseline["miou"]), *blank, style="dim"
    )
    return rows


class ComparisonRow(NamedTuple):
    """A figure of a comparison, of a class or (None) of all, and the ends of the difference's interval."""

    figure: str
    of_class: str | None
    baseline: float | None
    evaluation: float | None
    difference: float | None
    ends: list[float] | None

    @property
    def name(self) -> str:
        """For people."""
        if self.of_class is None:
            return self.figure.replace("_", " ").replace("miou", "mIoU").replace("iou", "IoU")
        return f"{CLASS_FIGURES[self.figure]} of {self.of_class}"

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.ends is not None and not self.ends[0] <= 0 <= self.ends[1]


def comparison_rows(result: Mapping[str, Any]) -> list[ComparisonRow]:
    """The figures of a comparison one by one."""
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
    """A comparison as a table: all together, then the IoU of each class; in bold where the interval leaves out 0."""
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
        between = [_between(row.ends, "+")] if ends else []
        table.add_row(Text(row.name), *cells, *between, style="bold" if row.is_clear else "")
    return table


def format_number(value: float | None, sign: str = "") -> str:
    """Three decimals, or n/a; `sign` is "+" for differences."""
    return "n/a" if value is None else f"{value:{sign}.3f}"


def print_metrics(figures: Mapping[str, Any], title: str, paths: Mapping[str, Path]) -> None:
    """Print the table, if images were scored, and where the files are."""
    if "per_class_iou" in figures:
        console.print(metrics_table(figures, title))
        absent = [name for name, iou in figures["per_class_iou"].items() if iou is None]
        if absent:
            console.print(f"n/a: {', '.join(absent)}, in no mask and no prediction", markup=False)
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
    write_csv(path, ["true \\ predicted", *classes], rows)


def write_classes(path: Path, figures: Mapping[str, Any]) -> None:
    """The figures of each class, and of all together, as CSV, each with the ends of its interval."""
    ends = figures["intervals"] or {}
    rows = []
    for of_class in figures["per_class_iou"]:
        rows.append([of_class])
        for name in CLASS_FIGURES:
            rows[-1] += [figures[name][of_class], *(ends.get(name, {}).get(of_class) or NO_INTERVAL)]
    rows.append(["(mean)"])
    for name in ("miou", "mean_accuracy", "boundary_miou"):
        rows[-1] += [figures[name], *(ends.get(name) or NO_INTERVAL)]
    header = [name.replace(" ", "_").lower() for name in CLASS_FIGURES.values()]
    write_csv(path, ["class", *(f"{name}{end}" for name in header for end in ("", "_low", "_high"))], rows)


def write_comparison(path: Path, result: Mapping[str, Any]) -> None:
    """A comparison as CSV."""
    rows = (
        [row.name, row.baseline, row.evaluation, row.difference, *(row.ends or NO_INTERVAL)]
        for row in comparison_rows(result)
    )
    write_csv(path, ["figure", "baseline", "evaluation", "difference", "low", "high"], rows)


def print_comparison(result: Mapping[str, Any], evaluation: Path, baseline: Path) -> None:
    """Print a comparison, and what it comes to in a sentence."""
    console.print(comparison_table(result))
    difference, ends = result["difference"]["miou"], result["intervals"]
    line = f"mIoU of {evaluation} less that of {baseline}: {format_number(difference, '+')}"
    if ends and ends["miou"]:
        line += f" ({ends['level']:.0%} interval {_between(ends['miou'], '+')}, {_drawn_from(ends)})"
    console.print(line, markup=False)


def ranking_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
    """What stage rank_taps tried, best first: single taps, the best of each step (in bold: of all), all taps (dim)."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("taps", overflow="fold")
    for name in ("channels", "dimension", "mIoU", "accuracy", "less all"):
        table.add_column(name, justify="right")
    for row in rows:
        if row["step"] == 1 or row["kept"] or row["is_all"]:
            taps = f"all {len(row['taps'])} taps" if row["is_all"] else ", ".join(map(_place, row["taps"]))
            figures = format_number(row["miou"]), format_number(row["accuracy"]), format_number(row["difference"], "+")
            style = "bold" if row is choice(rows) else "dim" if row["is_all"] else ""
            table.add_row(Text(taps), f"{row['channels']}", f"{row['dimension']}", *figures, style=style)
    return table


def choice(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best of what stage rank_taps tried that its settings allow; all taps, which come of no step, may be more."""
    return next(row for row in rows if row["step"] is not None)


def _place(modules: Sequence[str]) -> str:
    """A tap in a word: its module, or what its modules are parts of."""
    levels = zip(*(module.split(".") for module in modules), strict=False)
    common = itertools.takewhile(lambda names: len(set(names)) == 1, levels)
    return ".".join(names[0] for names in common) or modules[0]


def print_ranking(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print a ranking of taps."""
    table = ranking_table(rows, title)
    console.print(table)
    console.print(f"{table.row_count} of the {len(rows)} subsets that were tried; ranking.csv has all", markup=False)


def write_ranking(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A ranking of taps as CSV, all that was tried."""
    header = "channels dimension miou accuracy difference step kept".split()
    lines = ([taps_value(row["taps"]), *(row[name] for name in header)] for row in rows)
    write_csv(path, ["taps", *header], lines)


def taps_value(taps: Sequence[Sequence[str]]) -> str:
    """Taps, each a list of modules, as a value of `cnn.taps`."""
    groups = (modules[0] if len(modules) == 1 else f"[{','.join(modules)}]" for modules in taps)
    return f"[{','.join(groups)}]"


def print_store(store: SampleStore, classes: Sequence[str]) -> None:
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
    print_absent(store, classes)


def print_absent(store: SampleStore, classes: Sequence[str]) -> None:
    """Print which classes a store has no samples of, if there are such, and what comes of it."""
    for split, what in (("train", "not learnt"), ("val", "n/a in figures of the samples")):
        counts = store.split(split).samples_per_class(len(classes)).tolist()
        absent = [name for name, count in zip(classes, counts, strict=True) if not count]
        if absent:
            console.print(f"no samples of {', '.join(absent)} in {split}: {what}", markup=False)


def _between(ends: Sequence[float] | None, sign: str = "") -> str:
    return "n/a" if ends is None else f"{format_number(ends[0], sign)} to {format_number(ends[1], sign)}"


def _drawn_from(ends: Mapping[str, Any]) -> str:
    units = "images" if ends["groups"] is None else f"groups of images ({ends['groups']})"
    lacking = ends["draws_lacking_a_class"] / ends["draws"]
    fewer = f"; {lacking:.0%} of the draws lack a class, and their means are over fewer" if lacking >= 0.01 else ""
    return f"bootstrap over {ends['drawn_from']} {units}{fewer}"
