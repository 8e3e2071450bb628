"""Write tables as CSV files."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hypercolumns.io.files import atomic_write


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as a CSV file, atomically.

    Args:
        path: the file.
        header: the names of the columns.
        rows: the cells of each row, in the order of the columns; None is written as an empty cell.
    """
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
