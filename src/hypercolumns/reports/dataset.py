"""What a person sees of a set of images: those that can't be used, and what the others hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from hypercolumns.data import DatasetIndex, FileCheck
from hypercolumns.data.checks import ProblemRow
from hypercolumns.errors import escape_control_chars
from hypercolumns.io.tables import write_csv
from hypercolumns.runtime.progress import console

MAX_SHOWN = 20  # problems, in the terminal


def write_class_counts(path: Path, summary: Mapping[str, Any]) -> None:
    """What there is of each class in each split, as CSV; void comes last, as no class, its share that of all pixels."""
    rows: list[list[Any]] = []
    for split, of_split in summary["splits"].items():
        rows += [[split, name, *of_class.values()] for name, of_class in of_split["classes"].items()]
        rows.append([split, "", *of_split["void"].values()])
    write_csv(path, ["split", "class", "pixels", "share", "images"], rows)


def summarise(images: DatasetIndex, checks: Mapping[str, Sequence[FileCheck]]) -> dict[str, Any]:
    """What the images of each split hold that can be used."""
    return {"data": images.name, "splits": {split: _of_split(images, found) for split, found in checks.items()}}


def _of_split(images: DatasetIndex, checks: Sequence[FileCheck]) -> dict[str, Any]:
    usable = [one for one in checks if not one.problems]
    pixels = np.array([one.pixels for one in usable], np.int64).reshape(len(usable), len(images.classes) + 1)
    counts, within = pixels.sum(0).tolist(), (pixels > 0).sum(0).tolist()
    labelled, everything = max(sum(counts[:-1]), 1), max(sum(counts), 1)
    sizes = sorted((height * width, width, height) for height, width in (one.size for one in usable))
    middle = {"smallest": 0, "median": len(sizes) // 2, "largest": -1} if sizes else {}
    return {
        "images": len(checks),
        "usable": len(usable),
        "sizes": {"distinct": len(set(sizes))} | {name: list(sizes[index][1:]) for name, index in middle.items()},
        "without_labels": int((pixels[:, :-1].sum(1) == 0).sum()),
        "absent": [name for name, count in zip(images.classes, counts, strict=False) if not count],
        "void": {"pixels": counts[-1], "share": counts[-1] / everything, "images": within[-1]},
        "classes": {
            name: {"pixels": counts[index], "share": counts[index] / labelled, "images": within[index]}
            for index, name in enumerate(images.classes)
        },
    }


def print_dataset(summary: Mapping[str, Any], problems: Sequence[ProblemRow], shared: Sequence[str]) -> None:
    """Print what was found, most important last."""
    splits = summary["splits"]
    table = Table(title=Text(f"{summary['data']}: share of labelled pixels, and images with it"), title_justify="left")
    table.add_column("class")
    for split in splits:
        table.add_column(f"{split} share", justify="right")
        table.add_column(f"{split} images", justify="right")
    for name in next(iter(splits.values()))["classes"]:
        table.add_row(Text(escape_control_chars(name)), *_cells(of["classes"][name] for of in splits.values()))
    table.add_section()
    table.add_row("void", *_cells(of["void"] for of in splits.values()))
    console.print(table)
    for split, of in splits.items():
        _say(f"{split}: {of['usable']} of {of['images']} images can be used{_sizes(of['sizes'])}")
        if of["without_labels"]:
            _say(f"{split}: {of['without_labels']} images are all void, so nothing is trained or scored on them")
        if of["absent"]:
            _say(f"warning: {split} has no pixel of {', '.join(of['absent'])}")
    if shared:
        _say(f"warning: {len(shared)} images are in several splits: {', '.join(shared[:MAX_SHOWN])}")
    for row in problems[:MAX_SHOWN]:
        _say(f"{row.split}: {row.file} {row.problem}")
    if len(problems) > MAX_SHOWN:
        _say(f"and {len(problems) - MAX_SHOWN} more files that can't be used")


def _sizes(sizes: Mapping[str, Any]) -> str:
    if not sizes["distinct"]:
        return ""
    smallest, median, largest = (f"{width}x{height}" for width, height in list(sizes.values())[1:])
    if sizes["distinct"] == 1:
        return f", all of {smallest}"
    return f", of {sizes['distinct']} sizes from {smallest} to {largest}, {median} in the middle"


def _cells(of_splits: Any) -> list[str]:
    return [cell for one in of_splits for cell in (f"{one['share']:.2%}", f"{one['images']:,}")]


def _say(line: str) -> None:
    console.print(escape_control_chars(line), markup=False)
