"""The journal of an image: what happened to its labels, one line an entry, in a file that only grows.

Each line is a checksum and a JSON value. A line that was cut by a kill is dropped. The entries are:

    {"image": [h, w], "classes": [...], "values": [...], "colours": [...]}  the first line: what the numbers mean
    {"after": [change, ...], "before": [change, ...]}    an edit: the pixels that it changed, and their old labels
    {"undo": n}, {"redo": n}                             the last edit was undone, or redone; n is 1
    {"done": [id, ...]}                                  the ids of operations whose entries were left out
    {"mask": hash or null, "steps": n, "labelled": [...]}  the mask with this hash is about to be written, which holds
                                                         the first n edits, undos and redos
    {"written": hash or null}                            this mask is on the disk

A change is {"value": label, "runs": [start, length, ...]}. An edit, undo or redo may also have "done": [id, ...], the
ids by which repeated operations are known: of those before it that changed nothing, and its own. The hash is that of
the bytes of the mask file; null stands for no file.
"""

import errno
import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write

Entry = dict[str, Any]
TAIL = 1 << 16  # bytes at the end of a journal that hold its last line, unless that is an edit


class Journal:
    """A journal to which entries are appended. It is not safe to use from several threads at once.

    Args:
        path: the file.
        entries: what the file begins with if it is written from the beginning; None: append to the file as it is.

    Attributes:
        path: the file.
        bytes: the size of the file.

    Raises:
        OSError: if the file can't be written.
    """

    def __init__(self, path: Path, entries: Iterable[Entry] | None = None) -> None:
        self.path = path
        if entries is not None:
            self.rewrite(entries)
        self.bytes = path.stat().st_size

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replace the content of the file, atomically.

        Raises:
            OSError: if the file can't be written, as in `append`; it stays as it was.
        """
        try:
            with atomic_write(self.path) as temporary, temporary.open("wb") as file:
                file.writelines(map(_line, entries))
        except HypercolumnsError as error:
            raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None
        self.bytes = self.path.stat().st_size

    def append(self, entry: Entry, flush: bool = False) -> None:
        """Append an entry. When the method returns, a kill of the process can't lose it.

        Args:
            entry: the entry.
            flush: whether to wait until all entries are on the disk, so that a power cut can't lose them either.

        Raises:
            OSError: if the entry can't be written, for example because the disk is full; then no part of it is there.
        """
        line = _line(entry)
        with self.path.open("ab", buffering=0) as file:
            try:
                written = file.write(line)
                if written != len(line):
                    raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written", str(self.path))
                if flush:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(self.bytes)
                raise
        self.bytes += len(line)


def read_journal(path: Path) -> list[Entry]:
    """Read the entries of a journal up to the first line that is not whole, and cut the rest of the file.

    Returns:
        The entries; [] if there is no such file.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    entries, end = [], 0
    for line in content.splitlines(keepends=True):
        entry = _parse(line)
        if entry is None:
            os.truncate(path, end)
            break
        entries.append(entry)
        end += len(line)
    return entries


def last_entries(path: Path, count: int) -> list[Entry]:
    """Return the last entries of a journal, at most `count`, without reading the whole file if they are short."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - TAIL, 0))
            lines = file.read().splitlines(keepends=True)[-count:]
    except FileNotFoundError:
        return []
    entries = [_parse(line) for line in lines]
    return [entry for entry in entries if entry is not None]


def first_entry(path: Path) -> Entry:
    """Return the first entry of a journal; {} if it is damaged."""
    with path.open("rb") as file:
        return _parse(file.readline()) or {}


def _line(entry: Entry) -> bytes:
    text = json.dumps(entry, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> Entry | None:
    """Return the entry in a line; None if the line is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    entry: Entry = json.loads(text)
    return entry
