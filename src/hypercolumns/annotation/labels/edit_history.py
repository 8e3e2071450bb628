"""The labels of one image, with the edits that can be undone and redone."""

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hypercolumns.annotation.labels.pixel_runs import Change, changes_of, parse_runs, to_indices, to_runs
from hypercolumns.errors import ArgumentError
from hypercolumns.labels import IGNORE_INDEX

MAX_STEPS = 200  # edits that can be undone
ID = re.compile("[A-Za-z0-9-]{1,64}")  # of an operation
MAX_RUNS = 4_000_000  # runs in all edits of an image that can be undone; they take 16 bytes each


class Edit(NamedTuple):
    """An edit: the pixels that it changed, with their new and their old labels."""

    after: tuple[Change, ...]
    before: tuple[Change, ...]

    @property
    def runs(self) -> int:
        """The number of runs, which decides the memory that the edit takes."""
        return sum(len(change.runs) for change in (*self.after, *self.before))

    def as_json(self) -> dict[str, list[dict[str, object]]]:
        """Return the edit as an entry of the journal."""
        return {name: [change.as_json() for change in getattr(self, name)] for name in ("after", "before")}


class EditHistory:
    """The labels of an image, and the edits that can be undone and redone.

    Args:
        labels: (H, W) uint8 class indices, 255 for pixels without a label; it is changed in place.
        classes: the number of classes.

    Attributes:
        labels: the labels as they are now.
        counts: the number of labelled pixels of each class.
    """

    def __init__(self, labels: NDArray[np.uint8], classes: int) -> None:
        self.labels = labels
        # torch counts bytes as they are; numpy makes 8 bytes of each
        self.counts = torch.from_numpy(labels).flatten().bincount(minlength=IGNORE_INDEX + 1)[:classes].numpy()
        self._done: deque[Edit] = deque()
        self._undone: list[Edit] = []
        self._runs = 0

    @property
    def undo_steps(self) -> int:
        """The number of edits that can be undone."""
        return len(self._done)

    @property
    def redo_steps(self) -> int:
        """The number of edits that can be redone."""
        return len(self._undone)

    @property
    def steps(self) -> list[Edit]:
        """All edits in the order in which they were made, first those that can be undone."""
        return [*self._done, *reversed(self._undone)]

    def plan(self, changes: Iterable[Change], only_unlabelled: bool = False) -> Edit:
        """Return the edit that gives pixels other labels, without those that have these labels already.

        Args:
            changes: the pixels and their labels.
            only_unlabelled: whether pixels that have a label keep it.

        Returns:
            The edit, which is not made yet.
        """
        after, before = [], []
        for value, runs in changes:
            indices = to_indices(runs)
            labels = self.labels.ravel()[indices]
            indices = indices[labels == IGNORE_INDEX if only_unlabelled else labels != value]
            if len(indices):
                after.append(Change(value, to_runs(indices)))
                before += changes_of(self.labels, indices)
        return Edit(tuple(after), tuple(before))

    def add(self, edit: Edit, apply: bool = True) -> None:
        """Make an edit. What was undone before it can't be redone any more.

        Args:
            edit: the edit.
            apply: whether to change the labels; if not, they have the edit already.
        """
        self._undone.clear()
        self._push(edit)
        if apply:
            self._apply(edit.after)

    def undo(self, apply: bool = True) -> Sequence[Change]:
        """Undo the last edit, and return what changed. `apply` is as in `add`.

        Raises:
            ArgumentError: if there is no such edit.
        """
        if not self._done:
            raise ArgumentError("nothing can be undone: this image has no earlier edit")
        edit = self._done.pop()
        self._runs -= edit.runs
        self._undone.append(edit)
        return self._apply(edit.before) if apply else edit.before

    def redo(self, apply: bool = True) -> Sequence[Change]:
        """Make the edit again that was undone last, and return what changed. `apply` is as in `add`.

        Raises:
            ArgumentError: if there is no such edit.
        """
        if not self._undone:
            raise ArgumentError("nothing can be redone: no edit of this image was undone since the last one")
        edit = self._undone.pop()
        self._push(edit)
        return self._apply(edit.after) if apply else edit.after

    def _push(self, edit: Edit) -> None:
        self._done.append(edit)
        self._runs += edit.runs
        while len(self._done) > MAX_STEPS or (self._runs > MAX_RUNS and len(self._done) > 1):
            self._runs -= self._done.popleft().runs

    def _apply(self, changes: Sequence[Change]) -> Sequence[Change]:
        flat = self.labels.reshape(-1)
        for value, runs in changes:
            indices = to_indices(runs)
            self.counts -= np.bincount(flat[indices], minlength=IGNORE_INDEX + 1)[: len(self.counts)]
            flat[indices] = value
            if value != IGNORE_INDEX:
                self.counts[value] += len(indices)
        return changes


def parse_change(given: object, pixels: int, classes: int) -> Change:
    """Check a change from outside, and return it.

    Args:
        given: {"value": a class index or 255, "runs": [start, length, ...]}; it may also have an "id", see `parse_id`.
        pixels: the number of pixels of the image.
        classes: the number of classes.

    Returns:
        The change.

    Raises:
        ArgumentError: if `given` is no such object.
    """
    if not isinstance(given, dict) or set(given) - {"id"} != {"value", "runs"}:
        raise ArgumentError('an edit must be an object {"value": a class index or 255, "runs": [start, length, ...]}')
    value = given["value"]
    if type(value) is not int or not (0 <= value < classes or value == IGNORE_INDEX):
        raise ArgumentError(f"value must be a class index from 0 to {classes - 1}, or {IGNORE_INDEX} for no label")
    return Change(value, parse_runs(given["runs"], pixels))


def parse_id(given: Mapping[str, Any]) -> str | None:
    """Return the "id" by which a repeated operation is known, from outside; None if it has none.

    Raises:
        ArgumentError: if it is no id.
    """
    name = given.get("id")
    if name is not None and not (isinstance(name, str) and ID.fullmatch(name)):
        raise ArgumentError("the id of an operation must be 1 to 64 letters, digits or hyphens")
    return name
