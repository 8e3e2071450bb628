"""Stage clean: list what nothing needs any more in the folder `runs`, and delete it if the user says so."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig
from rich import filesize

from hypercolumns.errors import HypercolumnsError, escape_control_chars, shorten_list
from hypercolumns.io.files import release_lock, remove
from hypercolumns.reports.plain_tables import print_table
from hypercolumns.runs.interrupted import KEY
from hypercolumns.runs.leftovers import Leftover, Wanted, find_leftovers, foreign_files
from hypercolumns.runtime.progress import console
from hypercolumns.settings.check import check_settings
from hypercolumns.stages.status import runs_folder


def clean(cfg: DictConfig) -> None:
    """Print what nothing needs any more in `runs`, with sizes and reasons. If `dry_run` is false, delete it."""
    check_settings(cfg)
    runs = runs_folder(cfg)
    if runs is None:
        return
    settings = cfg.clean
    wanted = Wanted(settings.checkpoints, settings.stores, settings.caches, settings.unfinished_days)
    found = find_leftovers(runs, wanted)
    unneeded = [one for one in found if not one.foreign]
    if unneeded:
        rows = [[_name(one.path, runs), filesize.decimal(one.bytes), one.reason] for one in unneeded]
        print_table("what nothing needs any more", ("", "size", "reason"), rows)
    for one in found:
        if one.foreign:
            names = shorten_list([_name(path, one.path) for path in one.foreign])
            _print(f"{_name(one.path, runs)} stays, because this program did not write {names}: {one.reason}")
    total = sum(one.bytes for one in unneeded)
    if not unneeded:
        _print(f"{runs} holds nothing that can be deleted with these settings")
    elif cfg.dry_run:
        _print(f"nothing was deleted; dry_run=false deletes these {filesize.decimal(total)}")
    else:
        freed = sum(one.bytes for one in unneeded if _delete(one, runs))
        _print(f"{filesize.decimal(freed)} were freed")


def _delete(one: Leftover, runs: Path) -> bool:
    """Delete a leftover, and return whether it is gone. It stays if a process uses it by now."""
    try:
        with _locked(one.locks):
            if any(True for _ in foreign_files(one.path)):
                raise HypercolumnsError("it holds new files")
            path = one.path
            if KEY.fullmatch(path.name):
                # A kill must not leave half a run or store. The next cleaning removes the rest.
                path = one.path.replace(one.path.with_name(f".{one.path.name}.old"))
            if path.is_symlink():
                path.unlink()
            else:
                remove(path)
    except (OSError, HypercolumnsError) as error:
        _print(f"{_name(one.path, runs)} stays: {error}")
        return False
    return True


@contextmanager
def _locked(locks: Sequence[Path]) -> Iterator[None]:
    """Hold locks during the `with` block; afterwards, their files are gone.

    Raises:
        HypercolumnsError: if a process holds one of the locks.
    """
    with ExitStack() as stack:
        for path in locks:
            if path.parent.is_dir():
                lock = FileLock(path, blocking=False)
                try:
                    lock.acquire()
                except Timeout:
                    raise HypercolumnsError("a running command uses it") from None
                stack.callback(release_lock, lock)
        yield


def _name(path: Path, base: Path) -> str:
    return escape_control_chars(str(path.relative_to(base)))


def _print(text: str) -> None:
    console.print(text, markup=False)
