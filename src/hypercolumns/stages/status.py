"""Stage status: say where each training stands, and how to continue what is unfinished."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich import filesize

from hypercolumns.errors import HypercolumnsError, escape_control_chars
from hypercolumns.reports.format import format_number
from hypercolumns.reports.plain_tables import format_time, print_table
from hypercolumns.runs import inventory
from hypercolumns.runs.inventory import Entry
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.compose import local_path

HEADER = ("", "state", "changed", "mIoU", "size", "differs in")


def status(cfg: DictConfig) -> None:
    """Print a table of the runs, stores and sweeps in `runs`, and the command that continues each unfinished one.

    Only small files are read, and nothing is written.
    """
    check_settings(cfg)
    runs = runs_folder(cfg)
    if runs is None:
        return
    unfinished: list[Entry] = []
    count = 0
    titles = [(str(group.relative_to(runs)), inventory.entries(group)) for group in inventory.groups(runs)]
    for title, listed in [*titles, (inventory.SWEEPS, inventory.sweeps(runs))]:
        if listed:
            print_table(escape_control_chars(title), HEADER, _rows(listed))
            unfinished += [entry for entry in listed if not entry.finished]
            count += len(listed)
    if not count:
        console.print(f"{runs} holds no run, no store and no sweep", markup=False)
    for entry in unfinished:
        name = escape_control_chars(str(entry.folder.relative_to(runs)))
        console.print(f"{'running' if entry.running else 'continue'} {name}  {_continuation(entry)}", markup=False)


def _continuation(entry: Entry) -> str:
    """Return the command that continues an entry: for a job of an unfinished sweep, that of the sweep."""
    sweep = inventory.sweep_of(entry)
    if sweep is None:
        return next_command(entry)
    name = escape_control_chars(sweep.folder.name)
    if sweep.finished:  # such as a job that was pruned
        return f"(from the finished sweep {name})  {next_command(entry)}"
    return f"(a job of the sweep {name})  {next_command(sweep)}"


def runs_folder(cfg: DictConfig) -> Path | None:
    """Return the folder `runs`; say so and return None if it does not exist.

    Raises:
        HypercolumnsError: if `runs` is a file.
    """
    runs = local_path(cfg, "runs")
    if runs.exists() and not runs.is_dir():
        raise HypercolumnsError(f"runs={runs} is a file; give the folder that the stages wrote to")
    if runs.is_dir():
        return runs
    console.print(f"{runs} does not exist, so no stage has written to it; runs=FOLDER names another one", markup=False)
    return None


def next_command(entry: Entry) -> str:
    """Return the shell command that continues an unfinished run, store or sweep, or says that none is recorded."""
    command = entry.origin.get("command")
    if command is None:
        return "(its command is not recorded)"
    directory = entry.origin.get("directory", str(Path.cwd()))
    move = "" if directory == str(Path.cwd()) else f"cd {shlex.quote(directory)} && "
    return escape_control_chars(move + command)


def _rows(listed: Sequence[Entry]) -> list[list[str]]:
    return [
        [
            entry.folder.name,
            f"{entry.state}{', running now' if entry.running else ''}",
            format_time(entry.changed),
            "" if entry.miou is None else format_number(entry.miou),
            filesize.decimal(entry.bytes),
            settings,
        ]
        for entry, settings in zip(listed, inventory.distinguish(listed), strict=True)
    ]
