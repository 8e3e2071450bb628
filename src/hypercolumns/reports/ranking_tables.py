"""Tables of the results of stage rank_taps, which compares subsets of a backbone's taps."""

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
    """The result for one subset of taps, as in `ranking.json`.

    The stage tries a subset by training a probe, a linear classifier, on the channels of the subset. A forward
    selection decides in each step which subsets to try.

    Attributes:
        taps: for each tap of the subset, the names of its modules, or the name of the context tap.
        channels: the number of channels of all taps of the subset together.
        components: the number of principal components that the probe uses.
        miou: the mIoU of the probe on the val samples, in [0, 1].
        accuracy: the accuracy of the probe on the val samples, in [0, 1].
        difference: `miou` minus the mIoU of the probe that is trained on all taps.
        step: the number of the selection step that tried the subset first, counted from 1; None if no step tried it.
        kept: whether the subset is the best subset of any selection step.
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

    These are the subsets that the first selection step tried, the best subset of each step, and the subset of all taps.
    The chosen subset (see `chosen_subset`) is bold. The subset of all taps is dim, unless it is the chosen subset.
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
    """Return the row of the best subset that a selection step tried. The rows must be sorted, best first.

    The rows contain the subset of all taps even if it violates the constraints of the selection. In that case no step
    has tried it, so it is not chosen.
    """
    return next(row for row in rows if row["step"] is not None)


def print_ranking(rows: Sequence[RankingRow], title: str) -> None:
    """Print the table of the most important subsets, the number of its rows, and the number of subsets in `rows`."""
    table = ranking_table(rows, title)
    console.print(table)
    console.print(
        f"shown: {table.row_count} of the {len(rows)} subsets that were tried; ranking.csv lists all", markup=False
    )


def write_ranking(path: Path, rows: Sequence[RankingRow]) -> None:
    """Write a CSV file with a row for each subset of taps that was tried, in the order of `rows`."""
    header = "channels components miou accuracy difference step kept".split()

    def line(row: RankingRow) -> list[object]:
        values: Mapping[str, object] = row
        return [taps_value(row["taps"]), *(values[name] for name in header)]

    write_csv(path, ["taps", *header], map(line, rows))


def taps_value(taps: Sequence[Sequence[str]]) -> str:
    """Format taps as a value of the setting `cnn.taps`.

    Each tap is a list of the names of its modules, or a list with the name of a context tap.
    """
    groups = (modules[0] if len(modules) == 1 else f"[{','.join(modules)}]" for modules in taps)
    return f"[{','.join(groups)}]"


def _short_name(modules: Sequence[str]) -> str:
    """Return a short name of a tap: the longest common prefix of its modules' dotted names, or else the first module.

    For example, the modules `features.3.expand1x1` and `features.3.expand3x3` give `features.3`.
    """
    levels = zip(*(module.split(".") for module in modules), strict=False)
    common = itertools.takewhile(lambda names: len(set(names)) == 1, levels)
    return ".".join(names[0] for names in common) or modules[0]
