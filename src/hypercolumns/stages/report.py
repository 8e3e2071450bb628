"""What a person sees at the end: the table of figures, and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich import filesize
from rich.table import Table
from rich.text import Text

from hypercolumns.data import Example
from hypercolumns.images import VOID, colour, overlay, write_image
from hypercolumns.progress import console
from hypercolumns.segmenter import Segmenter
from hypercolumns.store import SampleStore

PANELS = 4
GAP = 4  # pixels between pictures


def table(figures: Mapping[str, Any], title: str) -> Table:
    """The figures of `metrics.json` as a table: each class, then all together."""
    rows = Table(title=title, title_justify="left")
    rows.add_column("class")
    rows.add_column("IoU", justify="right")
    rows.add_column("accuracy", justify="right")
    for name, iou in figures["per_class_iou"].items():
        rows.add_row(Text(name), number(iou), number(figures["per_class_accuracy"][name]))
    rows.add_section()
    rows.add_row("mean (mIoU, mean accuracy)", number(figures["miou"]), number(figures["mean_accuracy"]))
    rows.add_row("all pixels", number(figures["frequency_weighted_iou"]), number(figures["pixel_accuracy"]))
    baseline = figures["baseline"]
    rows.add_row(Text(f"baseline: all {baseline['class']}"), number(baseline["miou"]), "", style="dim")
    return rows


def number(value: float | None) -> str:
    """Three decimals, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def show(figures: Mapping[str, Any], title: str, paths: Mapping[str, Path]) -> None:
    """Print the table, if images were scored, and where the files are."""
    if "per_class_iou" in figures:
        console.print(table(figures, title))
    else:
        sample_figures = ", ".join(f"{name} {figures[name]:.3f}" for name in figures if name.startswith("sample_"))
        console.print(f"{title} were scored ({sample_figures} of the val samples)", markup=False)
    for name, path in paths.items():
        console.print(f"{name:>9}  {path}", markup=False)


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


def write_panels(path: Path, segmenter: Segmenter, examples: Sequence[Example]) -> None:
    """A picture of some examples, one a row: the image, the truth over it, the prediction over it."""
    rows = []
    for image, mask, _ in examples:
        pixels = np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        truth, predicted = mask.numpy().astype(np.uint8), segmenter.predict(image)
        marked = np.where((truth == VOID)[..., None], colour(truth, segmenter.palette), pixels)
        rows.append([pixels, overlay(marked, truth, segmenter.palette), overlay(pixels, predicted, segmenter.palette)])
    height = sum(row[0].shape[0] + GAP for row in rows) - GAP
    width = max(sum(picture.shape[1] + GAP for picture in row) for row in rows) - GAP
    canvas = Image.new("RGB", (width, height), "white")
    top = 0
    for row in rows:
        left = 0
        for picture in row:
            canvas.paste(Image.fromarray(picture), (left, top))
            left += picture.shape[1] + GAP
        top += row[0].shape[0] + GAP
    write_image(path, canvas)
