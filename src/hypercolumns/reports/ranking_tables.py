"""Tables of a ranking of subsets of taps."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from rich.table import Table
from rich.text import Text

from hypercolumns.io.tables import write_csv
from hypercolumns.reports.format import format_number
from hypercolumns.runtime.progress import console


class RankingRow(TypedDict):
    """One of the subsets of taps that were tried, as in `ranking.json`.

    Attributes:
        taps: for each tap, the names of its modules, or the name of the context tap.
        channels: the total number of channels.
        components: the number of principal components that the linear probe saw.
        miou: the mIoU of the probe on the val samples, in [0, 1].
        accuracy: the accuracy of the probe on the val samples, in [0, 1].
        difference: `miou` minus the mIoU of all taps together.
        step: the number of the selection step that tried the subset first, from 1; None if no step tried the subset.
        kept: whether the subset is the best of a step.
        is_all: whether the subset consists of all taps.
    """

    taps: list[list[str]]
    channels: int
    components: int
    miou: float
    accuracy: float
    difference: float
    step: int | None
    kept: bool
    is_all: bool


def ranking_table(rows: Sequence[RankingRow], title: str) -> Table:
    """Build the table of the most important subsets, in the order of `rows`.

    These are the subsets of the first step, the best subset of each step, and all taps together. The chosen subset is
    bold; all taps together are dim.
    """
    table = Table(title=Text(title), title_justify="left")
    table.add_column("taps", overflow="fold")
    for name in ("channels", "components", "mIoU", "accuracy", "vs. all taps"):
        table.add_column(name, justify="right")
    for row in rows:
        if row["step"] == 1 or row["kept"] or row["is_all"]:
            taps = f"all {len(row['taps'])} taps" if row["is_all"] else ", ".join(map(_short_name, row["taps"]))
            figures = format_number(row["miou"]), format_number(row["accuracy"]), format_number(row["difference"], "+")
            style = "bold" if row is chosen_subset(rows) else "dim" if row["is_all"] else ""
            table.add_row(Text(taps), f"{row['channels']}", f"{row['components']}", *figures, style=style)
    return table


def chosen_subset(rows: Sequence[RankingRow]) -> RankingRow:
    """Return the best subset that a step of the selection tried, from rows that are sorted best first.

    If all taps together violate the constraints, no step has tried them, and they can't be the chosen subset.
    """
    return next(row for row in rows if row["step"] is not None)


def print_ranking(rows: Sequence[RankingRow], title: str) -> None:
    """Print the ranking of taps."""
    table = ranking_table(rows, title)
    console.print(table)
    console.print(
        f"shown: {table.row_count} of the {len(rows)} subsets that were tried; ranking.csv lists all", markup=False
    )


def write_ranking(path: Path, rows: Sequence[RankingRow]) -> None:
    """Write a CSV file with a row for each subset that was tried."""
    header = "channels components miou accuracy difference step kept".split()

    def line(row: RankingRow) -> list[object]:
        values: Mapping[str, object] = row
        return [taps_value(row["taps"]), *(values[name] for name in header)]

    write_csv(path, ["taps", *header], map(line, rows))


def taps_value(taps: Sequence[Sequence[str]]) -> str:
    """Format taps, each a list of modules, as a value of the setting `cnn.taps`."""
    groups = (modules[0] if len(modules) == 1 else f"[{','.join(modules)}]" for modules in taps)
    return f"[{','.join(groups)}]"


def _short_name(modules: Sequence[str]) -> str:
    """Return a short name of a tap: the module that contains all its modules or, if there is none, its first module."""
    levels = zip(*(module.split(".") for module in modules), strict=False)
    common = itertools.takewhile(lambda names: len(set(names)) == 1, levels)
    return ".".join(names[0] for names in common) or modules[0]
