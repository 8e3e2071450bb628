"""Tables of a ranking of taps."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hypercolumns.io.tables import write_csv
from hypercolumns.reports.format import format_number
from hypercolumns.runtime.progress import console


def ranking_table(rows: Sequence[Mapping[str, Any]], title: str) -> Table:
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


def chosen_subset(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best subset that the constraints allow; that of all taps, which comes of no step, may break them."""
    return next(row for row in rows if row["step"] is not None)


def print_ranking(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Print a ranking of taps."""
    table = ranking_table(rows, title)
    console.print(table)
    console.print(f"{table.row_count} of the {len(rows)} subsets that were tried; ranking.csv has all", markup=False)


def write_ranking(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A ranking of taps as CSV, all that was tried."""
    header = "channels components miou accuracy difference step kept".split()
    lines = ([taps_value(row["taps"]), *(row[name] for name in header)] for row in rows)
    write_csv(path, ["taps", *header], lines)


def taps_value(taps: Sequence[Sequence[str]]) -> str:
    """Taps, each a list of modules, as a value of `cnn.taps`."""
    groups = (modules[0] if len(modules) == 1 else f"[{','.join(modules)}]" for modules in taps)
    return f"[{','.join(groups)}]"


def _short_name(modules: Sequence[str]) -> str:
    """A tap in a word: its module, or what its modules are parts of."""
    levels = zip(*(module.split(".") for module in modules), strict=False)
    common = itertools.takewhile(lambda names: len(set(names)) == 1, levels)
    return ".".join(names[0] for names in common) or modules[0]
