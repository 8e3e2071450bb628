"""The labels of one image while they are edited: every edit goes to the journal first, and then to the mask."""

import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.annotation.labels.edit_history import MAX_STEPS
from hypercolumns.annotation.labels.journal import Entry, Journal
from hypercolumns.annotation.labels.label_files import LabelFiles, LabelRules, first_entries, is_step, open_labels
from hypercolumns.annotation.labels.pixel_runs import Change
from hypercolumns.io.files import atomic_write, remove_temporaries
from hypercolumns.io.images import PixelShape

COMPACT_STEPS = 2 * MAX_STEPS  # steps in a journal, above which it is written again without the oldest ones
COMPACT_BYTES = 64 << 20  # size of a journal, above which it is written again
KNOWN_OPERATIONS = 1000  # the last operations of an image, which are not made again when they are repeated


class LabelState(NamedTuple):
    """What a page knows of the labels of an image beside the labels.

    Attributes:
        undo: the number of edits that can be undone.
        redo: the number of edits that can be made again.
        labelled: the number of labelled pixels of each class.
    """

    undo: int
    redo: int
    labelled: list[int]


class StoredLabels:
    """The labels of one image. When a method that edits them returns, a kill can't lose the edit.

    It is safe to use from several threads. A page repeats an operation if it did not get the answer. The operation is
    known by its id then, also after a restart, and is not made a second time.

    Args:
        files: the files.
        rules: how masks are read and written.
        size: (height, width) of the image, in pixels.
        say: called with a line for the user, if the history of the edits had to be left out.

    Attributes:
        files: the files.
        journal: the journal; None before the first edit of an image without one.
        overwrote: a line that names the copy of what something else wrote to the mask meanwhile; None if nothing did.

    Raises:
        HypercolumnsError: if there is a mask that can't be used, or that has another size than the image.
    """

    def __init__(self, files: LabelFiles, rules: LabelRules, size: PixelShape, say: Callable[[str], None]) -> None:
        remove_temporaries(files.mask, files.journal)
        self.files, self._coding, self._say = files, rules.coding, say
        self._lock, self._writing = Lock(), Lock()
        self._opened = open_labels(files, rules, size, say)
        self._history = self._opened.history
        self.journal = None if self._opened.steps is None else Journal(files.journal)
        self.overwrote: str | None = None
        self._steps, self._written_steps = self._opened.steps or 0, self._opened.mask_steps
        self._mask, self._own = self._opened.mask, self._opened.own
        self._done = deque(self._opened.done, KNOWN_OPERATIONS)
        # those that changed nothing; the next step takes them to the journal, and before it they change nothing again
        self._idle: deque[str] = deque(maxlen=KNOWN_OPERATIONS)

    @property
    def dirty(self) -> bool:
        """Whether the mask lacks edits that are in the journal."""
        return self._steps != self._written_steps

    def edit(
        self, changes: Iterable[Change], only_unlabelled: bool = False, operation: str | None = None
    ) -> Sequence[Change]:
        """Make an edit. One that changes nothing is no step of the history.

        Args:
            changes: pixels and their labels; they are one step.
            only_unlabelled: whether pixels that have a label keep it.
            operation: the id of the operation; None: it is never repeated.

        Returns:
            What changed.

        Raises:
            OSError: if the edit can't be written to the journal; it is not made then.
        """
        with self._lock:
            if operation in self._done:
                return ()
            edit = self._history.plan(changes, only_unlabelled)
            if edit.after:
                self._record(edit.as_json(), operation)
                self._history.add(edit)
            elif operation is not None:
                self._done.append(operation)
                self._idle.append(operation)
        return edit.after

    def undo(self, operation: str | None = None) -> Sequence[Change]:
        """Undo the last edit, and return what changed. `operation` is as in `edit`.

        Raises:
            ArgumentError: if there is none.
            OSError: if the journal can't be written; nothing is undone then.
        """
        with self._lock:
            if operation in self._done:
                return ()
            if self._history.undo_steps:
                self._record({"undo": 1}, operation)
            return self._history.undo()

    def redo(self, operation: str | None = None) -> Sequence[Change]:
        """Make the edit again that was undone last, and return what changed. `operation` is as in `edit`.

        Raises:
            ArgumentError: if there is none.
            OSError: if the journal can't be written; nothing is made again then.
        """
        with self._lock:
            if operation in self._done:
                return ()
            if self._history.redo_steps:
                self._record({"redo": 1}, operation)
            return self._history.redo()

    def state(self) -> LabelState:
        """Return how many edits can be undone and redone, and the number of labelled pixels of each class."""
        with self._lock:
            history = self._history
            return LabelState(history.undo_steps, history.redo_steps, history.counts.tolist())

    def snapshot(self) -> NDArray[np.uint8]:
        """Return a copy of the labels (H, W) as they are now."""
        with self._lock:
            return self._history.labels.copy()

    def write(self) -> None:
        """Write the mask, if it lacks edits. Edits can be made meanwhile.

        Raises:
            HypercolumnsError: if the mask can't be written; the old one stays, and the edits are in the journal.
            OSError: if the journal can't be written.
        """
        with self._writing:
            if self.dirty:
                self._write()

    def _write(self) -> None:
        with self._lock:
            assert self.journal is not None  # the first edit made it
            journal, steps = self.journal, self._steps
            labels, counts = self._history.labels.copy(), self._history.counts.tolist()
        content = self._coding.encode(labels, self.files.mask)
        mask = hashlib.sha256(content).hexdigest()
        self._keep_other()
        with self._lock:
            # on the disk before the mask, so that a power cut leaves no mask that the journal does not know
            journal.append({"mask": mask, "steps": steps, "labelled": counts, "own": True}, flush=True)
        with atomic_write(self.files.mask) as temporary:
            temporary.write_bytes(content)
        with self._lock:
            self._written_steps, self._mask, self._own = steps, mask, True
            journal.append({"written": mask})
            if not self.dirty and (steps > COMPACT_STEPS or journal.bytes > COMPACT_BYTES):
                self._compact(journal, mask)

    def _compact(self, journal: Journal, mask: str) -> None:
        """Write the journal again, without the edits that can't be undone any more."""
        entries = first_entries(self._opened._replace(mask=mask, own=True, done=self._done), self._coding)
        journal.rewrite(entries)
        self._steps = self._written_steps = sum(map(is_step, entries))
        self._idle.clear()

    def _keep_other(self) -> None:
        """Copy a mask that something else wrote to the folder of the journal, before it is overwritten."""
        found = self.files.mask_hash()
        if found is None or (found == self._mask and self._own):
            return
        copy = self.files.journal.with_name(f"{self.files.mask.stem}.{found[:10]}{self.files.mask.suffix}")
        with atomic_write(copy) as temporary:
            shutil.copyfile(self.files.mask, temporary)
        if found != self._mask:
            self.overwrote = (
                f"{self.files.mask} was changed by something else meanwhile, and is overwritten by the labels of the "
                f"page; {copy} is a copy of that version"
            )
            self._say(self.overwrote)

    def _record(self, entry: Entry, operation: str | None) -> None:
        """Write a step to the journal; the first step begins it."""
        if self.journal is None:
            self.journal = Journal(self.files.journal, first_entries(self._opened, self._coding))
        own = [] if operation is None else [operation]
        done = [*self._idle, *own]
        self.journal.append(entry | {"done": done} if done else entry)
        self._steps += 1
        self._done += own
        self._idle.clear()
