"""The address of a session in a file of its user, so that a page goes on when the session is started again."""

import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hypercolumns.annotation.serving.requests import Address
from hypercolumns.io.files import file_signature, short_hash

OTHERS = 0o077  # the permissions of all but the owner of a file
MAX_BYTES = 1000
MIN_TOKEN = 32  # characters


class EarlierAddress(NamedTuple):
    """The port and the token of an earlier session."""

    port: int
    token: str


@dataclass(frozen=True)
class KeptAddress:
    """The file that keeps the address of a session. Only its owner can read it, or it is not kept.

    Whoever can read the file could change the masks beside it anyway, as long as the page is only served to this
    machine. Another address is not kept, because its token goes over the network as it is.

    Attributes:
        path: the file.
        meaning: what decides the meaning of the edits of a page: another session must not take them.
    """

    path: Path
    meaning: str

    @classmethod
    def of(cls, path: Path, images: Sequence[Path], decoding: object, classes: Sequence[str]) -> "KeptAddress":
        """Return the file of a session.

        Args:
            path: the file.
            images: the files of the images. A page calls images by their numbers, and pixels by their places.
            decoding: the rules by which images are read, as a JSON value.
            classes: the names of the classes, which a page calls by their numbers.

        Returns:
            The file. Its meaning is another one if an image, the rules or a class is another one.
        """
        return cls(path, short_hash([file_signature(*images), decoding, [*classes]]))

    def read(self, host: str) -> EarlierAddress | None:
        """Return the port and the token of the last session on a host; None if there is none with the same meaning."""
        try:
            kept = json.loads(_read_private(self.path) or "")
            host_then, port, token, meaning = (kept[name] for name in ("host", "port", "token", "meaning"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        is_whole = type(port) is int and 0 < port < 1 << 16 and isinstance(token, str) and len(token) >= MIN_TOKEN
        return EarlierAddress(port, token) if is_whole and (host_then, meaning) == (host, self.meaning) else None

    def write(self, address: Address) -> None:
        """Keep an address, unless others than this machine reach it, or others than this user could read the file."""
        with suppress(OSError):  # then a page can't go on after this session, which does not keep it from being used
            self.path.unlink(missing_ok=True)
            if address.is_local and hasattr(os, "getuid"):
                content = {"host": address.host, "port": address.port, "token": address.token, "meaning": self.meaning}
                _write_private(self.path, json.dumps(content).encode())


def _read_private(path: Path) -> bytes | None:
    """Return the content of a file that only this user can read and write; None of another one."""
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    try:
        return os.read(file, MAX_BYTES) if _is_private(file) else None
    finally:
        os.close(file)


def _write_private(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    try:
        if _is_private(file):  # some file systems have no permissions
            os.write(file, content)
    finally:
        os.close(file)


def _is_private(file: int) -> bool:
    about = os.fstat(file)
    return hasattr(os, "getuid") and about.st_uid == os.getuid() and not about.st_mode & OTHERS
