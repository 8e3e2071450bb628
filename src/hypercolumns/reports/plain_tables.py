"""Print tables of texts at their full width, and format sizes and times for them."""

from collections.abc import Sequence
from datetime import datetime

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hypercolumns.runtime.progress import console

UNITS = ("B", "KB", "MB", "GB", "TB")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with a title. A narrow terminal wraps the lines, but no cell is cut off.

    Args:
        title: the line above the table.
        header: the names of the columns.
        rows: the cells of each row, as many as there are columns.
    """
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(Text(name), no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    table.width = Measurement.get(console, console.options.update(width=10_000), table).maximum
    console.print(table, soft_wrap=True)


def format_bytes(count: int) -> str:
    """Format a size: 1536 is `1.5 KB`."""
    size, unit = float(count), UNITS[0]
    for unit in UNITS:
        if size < 1024 or unit == UNITS[-1]:
            break
        size /= 1024
    return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"


def format_time(seconds: float) -> str:
    """Format a time, given as seconds since 1970, to the minute in the time zone of this machine."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
