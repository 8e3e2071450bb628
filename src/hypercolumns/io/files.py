"""Atomic writes, JSON files, paths and hashes."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout
from safetensors import SafetensorError

from hypercolumns.errors import ArgumentError, DataNotFoundError, HypercolumnsError

# Names, in small letters, of files and folders that systems make: macOS, a NAS of Synology or QNAP, Windows, Linux
CLUTTER = (
    *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "system volume information", "lost+found"),
    *("thumbs.db", "desktop.ini"),
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: the file appears at `path` only when it is complete.

    The `with` block writes a temporary file. When the block ends, this file is flushed to disk and then renamed to
    `path`. On POSIX systems, the folder is then flushed, too. Neither a kill nor a power cut can leave half a file at
    `path`.

    Yields:
        The path of the temporary file, in the folder of `path`. If an error is raised, this file is deleted.

    Raises:
        HypercolumnsError: if the file can't be written, for example because the disk is full.
    """
    token = secrets.token_hex(4)  # process ids are not unique if several machines share the folder
    temporary = path.with_name(f".{_short(path.name)}.{token}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # safetensors writes files that only their owner can read
        _flush(temporary)
        temporary.replace(path)
        if os.name == "posix":  # other systems can't open a folder
            _flush(path.parent)
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch.save replaces an OSError by a RuntimeError
        cause = error.__context__ if isinstance(error, RuntimeError) else error
        if not isinstance(cause, OSError | SafetensorError):
            raise
        raise HypercolumnsError(
            f"{path} can't be written ({cause}), but no existing file has changed; free some space on the disk or make "
            f"the folder writable, and run the same command again"
        ) from error
    finally:
        with suppress(OSError):  # an error of the `with` block must not be replaced by this one
            temporary.unlink(missing_ok=True)


def remove_temporaries(*paths: Path) -> None:
    """Remove the temporary files of `atomic_write` that a process left behind when it was killed.

    Only temporary files for one of `paths` are removed. Call this function only while no process writes one of `paths`.
    """
    names: dict[Path, set[str]] = {}
    for path in paths:
        names.setdefault(path.parent, set()).add(_short(path.name))
    for folder, written in names.items():
        for temporary in folder.glob(".*.tmp"):
            if temporary.name[1:].rsplit(".", 2)[0] in written:
                remove(temporary)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its contents. Do nothing if `path` does not exist."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def release_lock(lock: BaseFileLock) -> None:
    """Release a lock and remove the lock file. A process that waits for the lock then makes a new lock file."""
    with suppress(PermissionError):  # Windows can't remove an open file; a lock file that stays does no harm
        Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock, given the path of the lock file. Nothing is written.

    If this can't be known, because another user made the lock file, the answer is true.
    """
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, blocking=False):
            return False
    except Timeout:
        return True
    except OSError as error:
        return error.errno != errno.EROFS


def expand_path(name: str, path: str | Path) -> Path:
    """Replace `~` or `~user` at the beginning of a path by the user's home folder.

    Raises:
        ArgumentError: if the path contains a null byte or the user does not exist. The message begins with `name`.
    """
    if "\0" in str(path):
        raise ArgumentError(f"{name}={path} contains a null byte, which no file name can contain; remove this byte")
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ArgumentError(
            f"{name}={path}: the user after ~ does not exist; write the full path, or ./{path} if the name of the file "
            f"begins with ~"
        ) from None


def base_folder(root: str | Path | None) -> Path:
    """Return the folder that other paths are relative to: `root`, or the working directory if it is None."""
    return Path() if root is None else expand_path("root", root)


def existing_folder(name: str, given: str | Path, base: Path) -> Path:
    """Return a folder that an argument names.

    Args:
        name: the name of the argument, for the message.
        given: the path of the folder, relative to `base`.
        base: see `base_folder`.

    Returns:
        The path of the folder.

    Raises:
        DataNotFoundError: if there is no such folder.
    """
    path = base / expand_path(name, given)
    if not path.is_dir():
        raise DataNotFoundError(f"{name}={path} is not a folder; give the folder of the {name}")
    return path


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or is known to hold what a system or program keeps for itself.

    Such folders can hold copies of images: thumbnails of a NAS, or the metadata that macOS adds to archives.
    """
    return name.startswith(".") or name.lower() in CLUTTER


def glob_files(folder: Path, *patterns: str) -> list[Path]:
    """Return the paths below a folder that match one of the patterns, sorted, without clutter (see `is_clutter`)."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    return [path for path in found if not any(is_clutter(part) for part in path.relative_to(folder).parts)]


def walk_files(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Find all files in a folder and its subfolders, sorted by name within each folder.

    Links to folders are followed, except a link to one of the folders that contain the link. Hidden files and folders,
    and others that are no data, are left out, see `is_clutter`.

    Args:
        folder: the folder.
        above: for the recursive calls only: the resolved paths of the folders that contain `folder`.

    Yields:
        The path of each file, and of each link whose target does not exist. All paths begin with `folder`.

    Raises:
        HypercolumnsError: if a folder can't be read.
    """
    inside = above | {os.path.realpath(folder)}
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise HypercolumnsError(f"{folder} can't be read ({error.strerror}); make it readable or remove it") from error
    for entry in entries:
        if is_clutter(entry.name):
            continue
        path = folder / entry.name
        if not (entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and path.is_dir())):
            yield path
        elif os.path.realpath(path) not in inside:
            yield from walk_files(path, inside)


def read_lines(path: Path, name: str) -> list[str]:
    """Return the lines of a text file, without blank lines and without white space around a line.

    Raises:
        ArgumentError: if the file is missing or can't be read as UTF-8. The message begins with `name`.
    """
    # `splitlines` also splits at characters other than \n, and a file name can contain these
    return [line.strip() for line in read_text(path, name).split("\n") if line.strip()]


def read_text(path: Path, name: str) -> str:
    """Return the content of a text file, without a byte order mark.

    Raises:
        ArgumentError: if the file is missing or can't be read as UTF-8. The message begins with `name`.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ArgumentError(f"{name}: {path} does not exist; give the path of a text file") from error
    except (OSError, UnicodeDecodeError) as error:
        remedy = "; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
        raise ArgumentError(f"{name}: {path} can't be read as text ({error}){remedy}") from error


def write_json(path: Path, value: object) -> None:
    """Write a value to a JSON file, atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        HypercolumnsError: if the file can't be read or does not contain a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HypercolumnsError(
            f"{path} can't be read ({error}); remove this file and run the command again"
        ) from error
    if not isinstance(value, dict):
        raise HypercolumnsError(f"{path} does not contain a JSON object; remove this file and run the command again")
    return value


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_hash(value: object) -> str:
    """Return a hash of a JSON value, ten hexadecimal digits. The order of the keys of an object has no effect."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def file_signature(*paths: Path) -> str:
    """Return a hash of the paths, sizes and modification times of files: 32 hexadecimal digits.

    The hash changes when one of the files changes.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
            when = [status.st_size, status.st_mtime_ns]
        except (OSError, ValueError):  # the file is missing or not accessible, or its path is invalid
            when = []
        digest.update(repr([str(path.absolute()), when]).encode())
    return digest.hexdigest()[:32]


def _short(name: str) -> str:
    """Shorten a file name of 200 bytes or more: return its SHA-256 in hexadecimal. Return other names as they are.

    `atomic_write` adds characters to the name, and a file name can have at most 255 bytes.
    """
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
