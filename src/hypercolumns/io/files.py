"""Files that are written whole or not at all, and JSON."""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock
from safetensors import SafetensorError

from hypercolumns.errors import ArgumentError, HypercolumnsError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; renamed to `path` at the end, removed if that is not reached.

    What was written is on the disk before it has its name, and the name before this returns: neither a kill nor a power
    cut leaves half a file. Raises HypercolumnsError if it can't be written (a full disk, a folder without permission).
    """
    token = secrets.token_hex(4)  # nodes share folders, and process ids
    temporary = path.with_name(f".{_short(path.name)}.{token}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors makes files that nobody else may read
        _flush(temporary)
        temporary.replace(path)
        if os.name == "posix":  # elsewhere a folder can't be opened
            _flush(path.parent)
    except (OSError, SafetensorError, RuntimeError) as error:
        cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch.save hides what it met
        if not isinstance(cause, OSError | SafetensorError):
            raise
        raise HypercolumnsError(
            f"{path} can't be written ({cause}); nothing that was there has changed: make room or allow it, and the "
            f"same command goes on from there"
        ) from error
    finally:
        with suppress(OSError):  # the one that is raised says more
            temporary.unlink(missing_ok=True)


def remove_temporaries(*paths: Path) -> None:
    """Remove what writers of these files that were killed have left of them; nobody may be writing them now."""
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(_short(path.name))
    for folder, own in names.items():
        for temporary in folder.glob(".*.tmp"):
            if temporary.name[1:].rsplit(".", 2)[0] in own:
                remove(temporary)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def release_lock(lock: BaseFileLock) -> None:
    """Let go of a lock and remove its file: who has opened that just now sees that it is gone, and looks again."""
    with suppress(PermissionError):  # of Windows, where an open file can't be removed; it does no harm
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def expand_path(name: str, path: str | Path) -> Path:
    """The path with its `~` or `~user` replaced; raises ArgumentError, naming `name`, if it can be no path."""
    if "\0" in str(path):
        raise ArgumentError(f"{name}={path} has a null byte in it, which no file's name can have; take it out")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ArgumentError(
            f"{name}={path}: there is no user of that name; write out the path, or ./{path} if the name begins so"
        ) from None


def walk_files(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All that is in a folder and in its folders but those themselves, sorted; links to folders are entered.

    A link to a folder that it lies in, one of `above` by its true path, is not. Raises HypercolumnsError if a folder
    can't be read.
    """
    inside = above | {os.path.realpath(folder)}
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise HypercolumnsError(f"{folder} can't be read ({error.strerror}); allow it or take it out") from error
    for entry in found:
        path = folder / entry.name
        if not (entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir())):
            yield path
        elif os.path.realpath(path) not in inside:
            yield from walk_files(path, inside)


def read_lines(path: Path, name: str) -> list[str]:
    """The lines of a text file that are not blank; raises ArgumentError, naming `name`, if it can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise ArgumentError(f"{name}: {path} can't be read as text ({error}){remedy}") from error
    return [line.strip() for line in text.split("\n") if line.strip()]  # a name may hold rarer breaks


def write_json(path: Path, value: object) -> None:
    """Write a JSON file, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; raises HypercolumnsError if it can't be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HypercolumnsError(f"{path} can't be read ({error}); remove it and run the command again") from error
    if not isinstance(value, dict):
        raise HypercolumnsError(f"{path} holds no JSON object; remove it and run the command again")
    return value


def file_hash(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(value: object) -> str:
    """A short hash of what JSON can say, the same for the same value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def _short(name: str) -> str:
    """The name, or a hash of one to which nothing could be added: 255 bytes are the most."""
    return name if len(os.fsencode(name)) < 200 else hashlib.sha256(os.fsencode(name)).hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
