"""Print tables of texts at their full width, and format times for them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hypercolumns.runtime.progress import console


def print_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[str]], justify: Literal["left", "right"] = "left"
) -> None:
    """Print a table with a title at its full width, see `print_whole`.

    Args:
        title: the line above the table.
        header: the names of the columns.
        rows: the cells of each row, as many as there are columns.
        justify: the side of the columns on which the cells begin.
    """
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(Text(name), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    print_whole(table)


def print_whole(table: Table) -> None:
    """Print a table at its full width. A narrow terminal wraps the lines, but no cell is cut off."""
    table.width = full_width(table)
    console.print(table, soft_wrap=True)


def full_width(table: Table) -> int:
    """Return the width of a table whose cells are not wrapped, in characters."""
    return Measurement.get(console, console.options.update(width=10_000), table).maximum


def format_time(seconds: float) -> str:
    """Format a time, given as seconds since 1970, to the minute in the time zone of this machine."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
