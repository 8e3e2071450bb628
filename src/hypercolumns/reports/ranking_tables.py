"""Tables of a ranking of taps."""

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
    """A subset of taps that was tried, as `ranking.json` has it.

    Attributes:
        taps: of each tap, its modules.
        channels: of all its taps.
        components: how many principal components the linear probe saw.
        miou: of the probe.
        accuracy: of the probe.
        difference: its mIoU less that of all taps together.
        step: of the selection, in which it was new; None if it was in none.
        kept: whether it is the best of its step.
        is_all: whether it is all taps together.
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
    """The subsets that were tried, best first: single taps, the best of each step (in bold: of all), all taps (dim)."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("taps", overflow="fold")
    for name in ("channels", "components", "mIoU", "accuracy", "less all"):
        table.add_column(name, justify="right")
    for row in rows:
        if row["step"] == 1 or row["kept"] or row["is_all"]:
            taps = f"all {len(row['taps'])} taps" if row["is_all"] else ", ".join(map(_short_name, row["taps"]))
            figures = format_number(row["miou"]), format_number(row["accuracy"]), format_number(row["difference"], "+")
            style = "bold" if row is chosen_subset(rows) else "dim" if row["is_all"] else ""
            table.add_row(Text(taps), f"{row['channels']}", f"{row['components']}", *figures, style=style)
    return table


def chosen_subset(rows: Sequence[RankingRow]) -> RankingRow:
    """The best subset that the constraints allow; that of all taps, which comes of no step, may break them."""
    return next(row for row in rows if row["step"] is not None)


def print_ranking(rows: Sequence[RankingRow], title: str) -> None:
    """Print a ranking of taps."""
    table = ranking_table(rows, title)
    console.print(table)
    console.print(f"{table.row_count} of the {len(rows)} subsets that were tried; ranking.csv has all", markup=False)


def write_ranking(path: Path, rows: Sequence[RankingRow]) -> None:
    """A ranking of taps as CSV, all that was tried."""
    header = "channels components miou accuracy difference step kept".split()

    def line(row: RankingRow) -> list[object]:
        values: Mapping[str, object] = row
        return [taps_value(row["taps"]), *(values[name] for name in header)]

    write_csv(path, ["taps", *header], map(line, rows))


def taps_value(taps: Sequence[Sequence[str]]) -> str:
    """Taps, each a list of modules, as a value of `cnn.taps`."""
    groups = (modules[0] if len(modules) == 1 else f"[{','.join(modules)}]" for modules in taps)
    return f"[{','.join(groups)}]"


def _short_name(modules: Sequence[str]) -> str:
    """A tap in a word: its module, or what its modules are parts of."""
    levels = zip(*(module.split(".") for module in modules), strict=False)
    common = itertools.takewhile(lambda names: len(set(names)) == 1, levels)
    return ".".join(names[0] for names in common) or modules[0]
