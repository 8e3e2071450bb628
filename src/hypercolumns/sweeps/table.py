"""Show all jobs of a sweep in one table: in the terminal, as CSV and as Markdown."""

import csv
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from hypercolumns.io.files import atomic_write
from hypercolumns.reports.format import format_number
from hypercolumns.reports.plain_tables import full_width, print_table, print_whole
from hypercolumns.runs.run import Run
from hypercolumns.runtime.progress import console
from hypercolumns.sweeps.jobs import DONE, FAILED, JobRecord
from hypercolumns.sweeps.means import REPEATED_SETTINGS, RepeatedMean, repeated_means

PRESENT = "mIoU present"  # the column of miou_present, in tables where it is not the mIoU of each job
ORDER = (DONE, "pruned", FAILED)


def rank_jobs(records: Sequence[JobRecord]) -> list[JobRecord]:
    """Sort jobs: first the done jobs, then the pruned jobs, then the failed jobs.

    Jobs of the same status are sorted by mIoU, the highest first and None last, and then by their numbers.
    """

    def rank(record: JobRecord) -> tuple[int, float, int]:
        return ORDER.index(record.status), 1.0 if record.miou is None else -record.miou, record.number

    return sorted(records, key=rank)


def differing_settings(records: Sequence[JobRecord]) -> list[dict[str, str]]:
    """Return the settings in which the jobs differ, with their values.

    Returns:
        A dictionary for each job. The keys are the names of these settings, the same for all jobs. The values are those
        of the job, or "" for a setting that the job does not set.
    """
    return _differing([record.settings() for record in records])


def _differing(jobs: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    names = dict.fromkeys(name for settings in jobs for name in settings)
    differing = [name for name in names if len({settings.get(name, "") for settings in jobs}) > 1]
    return [{name: settings.get(name, "") for name in differing} for settings in jobs]


def show_sweep(records: Sequence[JobRecord], sweep: Path) -> None:
    """Print the table of a sweep, write it as `table.csv` and `table.md`, and print the paths of the results.

    Args:
        records: the records of the jobs, as `rank_jobs` returns them.
        sweep: the folder of the sweep, to which the table is written.
    """
    _write_csv(sweep / "table.csv", records)
    repeated = _mean_cells(repeated_means(records))
    _write_markdown(sweep / "table.md", [table_cells(records), repeated])
    _print(records)
    if repeated:
        _print_means(repeated)
    paths = {"table": f"{sweep / 'table.csv'} and table.md"}
    if records and records[0].model:
        paths["best"] = records[0].model
    if events := [
        str(Run(Path(record.folder)).events) for record in records if record.miou is not None and record.folder
    ]:
        paths["compare"] = f"tensorboard --logdir {shlex.quote(os.path.commonpath(events))} (the tab HParams)"
    for name, path in paths.items():
        console.print(f"{name:>9}  {path}", markup=False)


def _print(records: Sequence[JobRecord]) -> None:
    """Print the table of a sweep and, below it, the reasons why jobs failed or were pruned.

    If the terminal is too narrow, less important columns are left out.
    """
    header, *rows = table_cells(records, reasons=False)
    shown = list(range(len(header)))
    less_important = [header.index(name) for name in ("seconds", "boundary", PRESENT) if name in header]
    less_important += [index for index, name in enumerate(header) if name.endswith("interval")]
    while True:
        table = Table(title=f"{len(records)} jobs", title_justify="left")
        for index in shown:
            table.add_column(Text(header[index]), justify="left" if index == len(header) - 1 else "right", no_wrap=True)
        for record, row in zip(records, rows, strict=True):
            style = {DONE: "", FAILED: "red"}.get(record.status, "dim")
            table.add_row(*(Text(row[index]) for index in shown), style=style)
        if not console.is_terminal or full_width(table) <= console.width or not less_important:
            break
        shown.remove(less_important.pop(0))
    print_whole(table)
    for place, record in enumerate(records, 1):
        if record.reason is not None:
            console.print(f"{place:>9}  {record.status}: {record.reason}", markup=False)


def table_cells(records: Sequence[JobRecord], reasons: bool = True) -> list[list[str]]:
    """Return the cells of the table of a sweep, with shortened names and rounded numbers.

    Args:
        records: the records of the jobs, as `rank_jobs` returns them.
        reasons: whether the last column gives the status and the reason of a failed or pruned job. If false, the column
            gives only the status.

    Returns:
        A list of cells for the header, and then a list of cells for each record.
    """
    differing = differing_settings(records)
    names = list(differing[0]) if differing else []
    level = next((record.level for record in records if record.level), None)
    between = [f"{level:.0%} interval"] if level else []
    differs = any(record.miou_present not in (None, record.miou) for record in records)
    means = ["mIoU", *between, *([PRESENT] if differs else [])]
    rows = [["", *map(_short_name(names), names), *means, "boundary", "seconds", "run"]]
    for place, (record, settings) in enumerate(zip(records, differing, strict=True), 1):
        ends = " to ".join(map(format_number, record.interval)) if record.interval else ""
        scores = (record.miou, record.miou_present, record.boundary_miou)
        miou, present, boundary = ("" if value is None else format_number(value) for value in scores)
        figures = [miou, *([ends] if level else []), *([present] if differs else []), boundary]
        row = [f"{place}", *map(_short_value, settings.values()), *figures]
        row.append("" if record.seconds is None else f"{record.seconds:.1f}")
        row.append(_result(record) if reasons or record.reason is None else record.status)
        rows.append(row)
    return rows


def _mean_cells(means: Sequence[RepeatedMean]) -> list[list[str]]:
    """Return the cells of the table of means: a list for the header, then a list for each mean; [] without means."""
    differing = _differing(
        [{name: mean.settings[name] for name in mean.settings if name not in REPEATED_SETTINGS} for mean in means]
    )
    names = list(differing[0]) if differing else []
    rows = [
        [
            *map(_short_value, settings.values()),
            format_number(mean.miou),
            format_number(mean.deviation),
            f"{mean.done} of {mean.jobs}",
        ]
        for settings, mean in zip(differing, means, strict=True)
    ]
    return [[*map(_short_name(names), names), "mean mIoU", "deviation", "jobs"], *rows] if rows else []


def _print_means(mean_cells: Sequence[Sequence[str]]) -> None:
    header, *rows = mean_cells
    print_table(f"means over {' and '.join(REPEATED_SETTINGS)}", header, rows, justify="right")


def _result(record: JobRecord) -> str:
    if record.reason is not None:
        return f"{record.status}: {record.reason}"
    return Path(record.folder).name if record.folder else record.status


def _short_name(names: Sequence[str]) -> Any:
    """Return a function that shortens a name in `names` to the part after its last dot.

    The function returns the whole name if another name in `names` has the same last part.
    """
    last = [name.rpartition(".")[2] for name in names]
    return lambda name: short if last.count(short := name.rpartition(".")[2]) == 1 else name


def _short_value(value: str) -> str:
    try:
        return value if len(value) <= 6 else f"{float(value):.3g}"
    except ValueError:
        return value


def _write_csv(path: Path, records: Sequence[JobRecord]) -> None:
    differing = differing_settings(records)
    names = list(differing[0]) if differing else []
    figures = "miou miou_low miou_high miou_present boundary_miou seconds run reason".split()
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["rank", "job", "status", *names, *figures])
        for place, (record, settings) in enumerate(zip(records, differing, strict=True), 1):
            ends = record.interval or (None, None)
            scores = [record.miou, *ends, record.miou_present, record.boundary_miou]
            values = [*scores, record.seconds, record.folder, record.reason]
            writer.writerow([place, record.number, record.status, *settings.values(), *values])


def _write_markdown(path: Path, tables: Sequence[list[list[str]]]) -> None:
    written = []
    for header, *rows in filter(None, tables):
        lines = [[_escaped(cell) for cell in row] for row in (header, ["---"] * len(header), *rows)]
        written.append("".join(f"| {' | '.join(line)} |\n" for line in lines))
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(written), encoding="utf-8")


def _escaped(cell: str) -> str:
    return " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split())
