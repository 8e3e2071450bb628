"""The labels of all images of a folder: opened when they are needed, and written by a thread of their own."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread

from filelock import FileLock, Timeout

from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules
from hypercolumns.annotation.labels.stored_labels import StoredLabels
from hypercolumns.errors import HypercolumnsError, summarize_error
from hypercolumns.io.files import release_lock
from hypercolumns.io.images import PixelShape

HIDDEN = ".annotation"  # the folder of journals in the folder of masks; stages leave out hidden folders
# Other files in it. Folders of journals have the names of folders of images, which are never hidden.
LOCK, ADDRESS = ".lock", ".address"
WRITE_AFTER = 0.25  # seconds from an edit to the writing of the mask
RETRY_AFTER = 5.0  # seconds from a failed writing to the next
KEPT_OPEN = 16  # images whose labels stay in memory after they were used


@contextmanager
def locked_folder(masks: Path) -> Iterator[None]:
    """Hold the lock of a folder of masks, so that one session at a time labels its images.

    The folder is made if it does not exist, and removed again if it is still empty at the end.

    Raises:
        HypercolumnsError: if another session holds it, or the folder can't be written to.
    """
    hidden = masks / HIDDEN
    made = [folder for folder in (hidden, *hidden.parents) if not folder.exists()]
    try:
        hidden.mkdir(parents=True, exist_ok=True)
        lock = FileLock(hidden / LOCK)
        lock.acquire(blocking=False)
    except Timeout:
        raise HypercolumnsError(
            f"another session of stage=annotate works on data.masks={masks}; open its page, or end it first"
        ) from None
    except OSError as error:
        raise HypercolumnsError(
            f"data.masks={masks} can't be written to ({error.strerror}); make it writable, or give another folder"
        ) from error
    try:
        yield
    finally:
        release_lock(lock)
        with suppress(OSError):  # one that is not empty stays, and so do those around it
            for folder in made:
                folder.rmdir()


def journal_path(masks: Path, mask: Path) -> Path:
    """Return the path of the journal of a mask in a folder of masks."""
    return masks / HIDDEN / mask.relative_to(masks).with_name(f"{mask.name}.journal")


def address_path(masks: Path) -> Path:
    """Return the path of the file with the address of the last session on a folder of masks."""
    return masks / HIDDEN / ADDRESS


class LabelStore:
    """The labels of images, by the numbers of the images.

    Args:
        files: the files of each image's labels.
        rules: how masks are read and written.
        say: called with a line for the user.

    Attributes:
        failed: why the last writing of a mask failed; None if it did not.
        overwrote: a line on the last mask that something else changed during the session; None if there is none.
    """

    def __init__(self, files: Sequence[LabelFiles], rules: LabelRules, say: Callable[[str], None]) -> None:
        self._files, self._rules, self._say = files, rules, say
        self._open: dict[int, StoredLabels] = {}  # the one that was used last is the last
        self._users: dict[int, int] = {}
        self._changed = Condition()
        self._dirty: dict[int, float] = {}  # when each mask is to be written
        self._ending = False
        self.failed: str | None = None
        self.overwrote: str | None = None
        self._writer = Thread(target=self._write_all, name="masks", daemon=True)
        self._writer.start()

    @contextmanager
    def opened(self, number: int, size: PixelShape) -> Iterator[StoredLabels]:
        """Hold the labels of an image.

        Args:
            number: the number of the image.
            size: its (height, width) in pixels.

        Yields:
            The labels.

        Raises:
            HypercolumnsError: if there is a mask that can't be used.
        """
        with self._changed:
            labels = self._open.pop(number, None)
            if labels is None:
                labels = StoredLabels(self._files[number], self._rules, size, self._say)
            self._open[number] = labels
            self._users[number] = self._users.get(number, 0) + 1
        try:
            yield labels
        finally:
            with self._changed:
                self._users[number] -= 1
                if labels.dirty:
                    self._dirty.setdefault(number, time.monotonic() + WRITE_AFTER)
                    self._changed.notify()
                self._close_some()

    def _close_some(self) -> None:
        """Forget images that were not used for the longest time, if they are written and nobody holds them."""
        spare = [number for number in self._open if not self._users[number] and not self._open[number].dirty]
        for number in spare[: max(len(self._open) - KEPT_OPEN, 0)]:
            del self._open[number]

    def _write_all(self) -> None:
        """Write masks, each soon after its first edit that is not written, until the store is closed."""
        while True:
            with self._changed:
                now = time.monotonic()
                due = [number for number, when in self._dirty.items() if when <= now or self._ending]
                if not due:
                    if self._ending:
                        return
                    self._changed.wait(min(self._dirty.values(), default=now + 60) - now)
                    continue
                number = due[0]
                del self._dirty[number]
                labels = self._open[number]
                self._users[number] += 1
            self._write(number, labels)

    def _write(self, number: int, labels: StoredLabels) -> None:
        try:
            labels.write()
            self.failed = None
        except Exception as error:  # whatever it is, the masks of other images must be written
            failed = str(error)
            if not isinstance(error, HypercolumnsError | OSError):
                failed = (
                    f"{labels.files.mask} can't be written ({summarize_error(error)}); the labels are in the journal"
                )
            if self.failed != failed:
                self._say(f"warning: {failed}")
            self.failed = failed
        finally:
            self.overwrote = labels.overwrote or self.overwrote
            with self._changed:
                self._users[number] -= 1
                if labels.dirty and not self._ending:
                    wait = WRITE_AFTER if self.failed is None else RETRY_AFTER
                    self._dirty.setdefault(number, time.monotonic() + wait)

    def close(self) -> None:
        """Write all masks."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._writer.join()
        for labels in self._open.values():
            with suppress(Exception):  # the writer has said it; the edits are in the journal
                labels.write()
