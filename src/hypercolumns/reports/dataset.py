"""Summarise a data set: the files that can't be used, and the classes and sizes of the images that can be used."""

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

MAX_SHOWN = 20  # maximum number of printed problems, and of printed ids that are in several splits


def write_class_counts(path: Path, summary: Mapping[str, Any]) -> None:
    """Write a CSV file with a row for each class in each split, given the result of `summarise`.

    A row holds the number of pixels of the class, its share, and the number of images that contain it. The share is the
    fraction of the split's labelled pixels that are of the class. The last row of each split is about void and has no
    class name; its share is the fraction of all pixels of the split that are void.
    """
    rows: list[list[Any]] = []
    for split, of_split in summary["splits"].items():
        rows += [[split, name, *of_class.values()] for name, of_class in of_split["classes"].items()]
        rows.append([split, "", *of_split["void"].values()])
    write_csv(path, ["split", "class", "pixels", "share", "images"], rows)


def summarise(images: DatasetIndex, checks: Mapping[str, Sequence[FileCheck]]) -> dict[str, Any]:
    """Summarise the sizes and classes of the images that can be used, split by split.

    Args:
        images: the data set.
        checks: the results of the checks by the name of the split, one result for each pair of an image and its mask.

    Returns:
        A dictionary of JSON values. `data` is the name of the data set. `splits` has an entry for each split, with the
        number of images and the number of usable images. The entry also describes the sizes of the usable images, and
        counts their pixels of each class and of void.
    """
    return {"data": images.name, "splits": {split: _of_split(images, results) for split, results in checks.items()}}


def _of_split(images: DatasetIndex, checks: Sequence[FileCheck]) -> dict[str, Any]:
    usable = [check for check in checks if not check.problems]
    pixels = np.array([check.pixels for check in usable], np.int64).reshape(len(usable), len(images.classes) + 1)
    counts, within = pixels.sum(0).tolist(), (pixels > 0).sum(0).tolist()
    labelled, everything = max(sum(counts[:-1]), 1), max(sum(counts), 1)
    sizes = sorted((height * width, width, height) for height, width in (check.size for check in usable))
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
    """Print a table of a data set's classes, lines about each split, and a list of the problems.

    Args:
        summary: the result of `summarise`.
        problems: the files that can't be used, each with its problem.
        shared: the ids of images that are in several splits.
    """
    splits = summary["splits"]
    table = Table(
        title=Text(f"{summary['data']}: share of labelled pixels and number of images per class"), title_justify="left"
    )
    table.add_column("class")
    for split in splits:
        table.add_column(f"{split} share", justify="right")
        table.add_column(f"{split} images", justify="right")
    for name in next(iter(splits.values()))["classes"]:
        table.add_row(
            Text(escape_control_chars(name)), *_cells(content["classes"][name] for content in splits.values())
        )
    table.add_section()
    table.add_row("void", *_cells(content["void"] for content in splits.values()))
    console.print(table)
    for split, content in splits.items():
        usable = f"{content['usable']} of {content['images']}"
        _say(f"{split}: {usable} images can be used{_sizes(content['sizes'])}")
        if unlabelled := content["without_labels"]:
            _say(f"{split}: {unlabelled} images have no labelled pixels; they are neither trained on nor scored")
        if content["absent"]:
            _say(f"warning: {split} has no pixels of {', '.join(content['absent'])}")
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
        return f", all {smallest}"
    return f", in {sizes['distinct']} sizes from {smallest} to {largest}, median {median}"


def _cells(of_splits: Any) -> list[str]:
    return [cell for counts in of_splits for cell in (f"{counts['share']:.2%}", f"{counts['images']:,}")]


def _say(line: str) -> None:
    console.print(escape_control_chars(line), markup=False)
