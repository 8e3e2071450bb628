"""Plots of a confusion matrix and of training curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from hypercolumns.io.files import atomic_write

DPI = 100
STYLES = ("-", "--", ":", "-.")  # of lines, for matplotlib
MAX_NUMBERED = 40  # if there are more classes, the fields of the matrix are too small for numbers
PLAIN: Any = {"text.parse_math": False}  # otherwise, a $ in the name of a class would start a formula
PER_CLASS = "_iou/"  # the name of a metric of one class contains this text, such as val_iou/road


def confusion_picture(confusion: Tensor, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw a confusion matrix. Return the picture, (H, W, 3) uint8 RGB.

    `confusion` is (C, C) and counts pixels. It has a row for each true class and a column for each predicted class. The
    picture shows each count as a percentage of the sum of its row. `classes` are the C names.
    """
    canvas = FigureCanvasAgg(_confusion(confusion, classes))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_curves(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Plot the losses, the validation metrics and the IoU of each class over the epochs, and write a PNG file.

    Args:
        path: the file to write. It is not written if `rows` contain none of these metrics.
        rows: the rows of `metrics.csv`, one for each epoch. Each row maps the names of columns to their texts.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    per_class = [name for name in names if PER_CLASS in name]
    losses = [name for name in names if name in ("train/epoch_loss", "val/loss")]
    others = [name for name in names if name.startswith("val/") and name not in losses]
    groups = {"loss": losses, "val": others, "IoU of each class": per_class}
    groups = {title: figures for title, figures in groups.items() if figures}
    if not groups:
        return
    figure = Figure(figsize=(5.5 * len(groups), 4.2), dpi=DPI, layout="constrained")
    for axes, (title, figures) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups.items(), strict=True):
        _curves(axes, rows, title, figures)
    _save(path, figure)


@matplotlib.rc_context(PLAIN)
def _curves(axes: Axes, rows: Sequence[Mapping[str, str]], title: str, names: Sequence[str]) -> None:
    lines, labels = [], []
    for number, name in enumerate(names):
        points = [(int(row["epoch"]) + 1, float(row[name])) for row in rows if row.get(name)]
        # matplotlib's colours repeat after ten lines, so the next ten lines have another style.
        style = STYLES[number // 10 % len(STYLES)]
        label = name.partition("/")[2] if PER_CLASS in name else name
        lines += axes.plot(*zip(*points, strict=True), style, marker=".")
        labels.append(label)
    axes.set(title=title, xlabel="epoch", xlim=(0.5, len(rows) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if PER_CLASS in names[0]:
        axes.set_ylim(0, 1)
        axes.legend(lines, labels, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7, ncols=1 + len(names) // 24)
    else:
        axes.legend(lines, labels, fontsize=8)


@matplotlib.rc_context(PLAIN)
def _confusion(confusion: Tensor, classes: Sequence[str]) -> Figure:
    counts = confusion.double().cpu().numpy()
    with np.errstate(invalid="ignore"):
        fractions = counts / counts.sum(1, keepdims=True)  # a class without true pixels gives NaN, which is drawn white
    side = min(max(5.0, 2.2 + 0.42 * len(classes)), 24.0)
    figure = Figure(figsize=(side, side), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    size = 9 if len(classes) <= MAX_NUMBERED else 5
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=size)
    axes.set_yticks(range(len(classes)), classes, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true", title="% of each true class")
    if len(classes) <= MAX_NUMBERED:
        for row, column in np.argwhere(fractions >= 0.005):
            fraction = fractions[row, column]
            ink = "white" if fraction > 0.5 else "black"
            axes.text(column, row, f"{100 * fraction:.0f}", ha="center", va="center", fontsize=8, color=ink)
    return figure


def _save(path: Path, figure: Figure) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png")
