"""The files of an image's labels, and what their contents say together: the labels, and the edits that made them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.annotation.labels.edit_history import Edit, EditHistory
from hypercolumns.annotation.labels.journal import Entry, first_entry, last_entries, read_journal
from hypercolumns.annotation.labels.mask_coding import MaskCoding
from hypercolumns.annotation.labels.pixel_runs import Change, parse_runs
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write, file_hash
from hypercolumns.io.images import PixelShape
from hypercolumns.io.masks import read_mask
from hypercolumns.labels import IGNORE_INDEX, LabelScheme


class OwnMask(NamedTuple):
    """What a journal says of a mask that this program wrote.

    Attributes:
        coding: how the mask was written.
        labelled: the number of labelled pixels of each class.
    """

    coding: MaskCoding
    labelled: list[int]


@dataclass(frozen=True)
class LabelFiles:
    """The files of an image's labels.

    Attributes:
        mask: the mask.
        journal: the journal.
    """

    mask: Path
    journal: Path

    def mask_hash(self) -> str | None:
        """Return the hash of the mask file; None if there is no mask."""
        try:
            return file_hash(self.mask)
        except FileNotFoundError:
            return None

    def own_mask(self) -> OwnMask | None:
        """Return what the journal says of the mask on the disk; None if another program wrote the mask.

        All of the mask is read, for its hash.
        """
        mask = self.mask_hash()
        record: Entry | None
        entries = last_entries(self.journal, 2)
        if len(entries) == 2 and entries[0].get("mask", ...) == entries[1].get("written") == mask:
            record, first = entries[0], first_entry(self.journal)
        else:
            entries = read_journal(self.journal)
            record, first = _record_of(entries, mask), entries[0] if entries else {}
        return OwnMask(MaskCoding.from_json(first), record["labelled"]) if record and record["own"] else None

    def is_behind(self) -> bool:
        """Whether the mask may lack edits of the journal, because a kill came before they were written."""
        entries = last_entries(self.journal, 1)
        return self.journal.is_file() and not (entries and "written" in entries[0])


@dataclass(frozen=True)
class LabelRules:
    """How masks are read and written.

    Attributes:
        scheme: the rule by which all stages read masks.
        coding: the rule by which masks are written, which `scheme` reads as the same labels.
    """

    scheme: LabelScheme
    coding: MaskCoding


class OpenedLabels(NamedTuple):
    """What the files of an image's labels say.

    Attributes:
        history: the labels and their edits.
        steps: the number of edits, undos and redos in the journal; None if the journal must be written from the
            beginning.
        mask_steps: how many of them the mask on the disk has.
        mask: the hash of the mask on the disk; None if there is none.
        own: whether this mask may be overwritten without a copy: `MaskCoding` wrote it, or there is none.
        done: the ids of the last operations, see `StoredLabels`.
    """

    history: EditHistory
    steps: int | None
    mask_steps: int
    mask: str | None
    own: bool
    done: Sequence[str]


def open_labels(files: LabelFiles, rules: LabelRules, size: PixelShape, say: Callable[[str], None]) -> OpenedLabels:
    """Read the labels of an image. Edits that a kill kept from the mask are made again.

    Args:
        files: the files; none of them need exist.
        rules: how masks are read and written.
        size: (height, width) of the image, in pixels.
        say: called with a line for the user, if the journal does not belong to the mask.

    Returns:
        The labels, and the state of the files.

    Raises:
        HypercolumnsError: if there is a mask that can't be used, or that has another size than the image.
    """
    entries, mask = read_journal(files.journal), files.mask_hash()
    record, done = _record_of(entries, mask), _done(entries)
    if record is not None and entries[0]["image"] == [*size]:
        old = MaskCoding.from_json(entries[0])
        if old == rules.coding:
            return _replay(files, rules, entries, record)
        say(f"{files.mask}: the classes are not those of its earlier edits, so these can't be undone any more")
        mask = _finish(files, old, entries, record)
    elif entries:
        say(f"{files.mask} was changed by something else, so it is taken as it is; earlier edits can't be undone")
        done = []  # the mask may lack these operations, so one that is repeated must be made
    labels = _empty(size) if mask is None else read_mask(files.mask, rules.scheme).numpy()
    if labels.shape != tuple(size):
        raise HypercolumnsError(
            f"{files.mask} is {labels.shape[1]}x{labels.shape[0]}, but its image is {size[1]}x{size[0]}; both must "
            f"have the same size"
        )
    return OpenedLabels(EditHistory(labels, len(rules.coding.classes)), None, 0, mask, mask is None, done)


def first_entries(opened: OpenedLabels, coding: MaskCoding) -> list[Entry]:
    """Return the entries of a new journal, which says of the mask on the disk that it has all edits."""
    history, size = opened.history, opened.history.labels.shape
    steps: list[Entry] = [edit.as_json() for edit in history.steps] + [{"undo": 1}] * history.redo_steps
    record = {"mask": opened.mask, "steps": len(steps), "labelled": history.counts.tolist(), "own": opened.own}
    done = {"done": [*opened.done]}
    return [{"image": [*size]} | coding.as_json(), done, *steps, record, {"written": opened.mask}]


def is_step(entry: Entry) -> bool:
    """Whether an entry of a journal is an edit, an undo or a redo."""
    return "after" in entry or "undo" in entry or "redo" in entry


def _done(entries: Sequence[Entry]) -> list[str]:
    """Return the ids of the operations in a journal."""
    return [operation for entry in entries for operation in entry.get("done", ())]


def _record_of(entries: Sequence[Entry], mask: str | None) -> Entry | None:
    """Return the record of the mask on the disk, which has this hash; None if there is none.

    It is the last one that was written, as the journal says, or a later one, at whose writing a kill may have
    come. A mask that is older was put back by something else.
    """
    if not entries or "image" not in entries[0]:
        return None
    last = max((number for number, entry in enumerate(entries) if "written" in entry), default=len(entries))
    records = [(number, entry) for number, entry in enumerate(entries) if "mask" in entry and entry["mask"] == mask]
    before = [entry for number, entry in records if number < last]
    after = [entry for number, entry in records if number > last]
    if after:
        return after[-1]
    return before[-1] if before and entries[last]["written"] == mask else None


def _empty(size: Sequence[int]) -> NDArray[np.uint8]:
    return np.full(size, IGNORE_INDEX, np.uint8)


def _replay(files: LabelFiles, rules: LabelRules, entries: Sequence[Entry], record: Entry) -> OpenedLabels:
    """Repeat all steps of a journal; those that the mask on the disk has do not change the labels again."""
    if record["mask"] is None:
        labels = _empty(entries[0]["image"])
    elif record["own"]:
        labels = rules.coding.decode(files.mask)
    else:
        labels = read_mask(files.mask, rules.scheme).numpy()
    history = EditHistory(labels, len(rules.coding.classes))
    steps = [entry for entry in entries if is_step(entry)]
    _repeat(history, steps, record["steps"])
    return OpenedLabels(history, len(steps), record["steps"], record["mask"], record["own"], _done(entries))


def _finish(files: LabelFiles, old: MaskCoding, entries: Sequence[Entry], record: Entry) -> str | None:
    """Write the edits to the mask that it lacks, with the classes of these edits, and return the hash of the mask."""
    steps = [entry for entry in entries if is_step(entry)]
    if len(steps) > record["steps"]:
        if record["mask"] is not None and not record["own"]:
            raise HypercolumnsError(
                f"{files.mask} lacks edits that were made with other classes ({', '.join(old.classes)}); label once "
                f"with these classes, or remove {files.journal} to go without the edits"
            )
        labels = _empty(entries[0]["image"]) if record["mask"] is None else old.decode(files.mask)
        history = EditHistory(labels, len(old.classes))
        _repeat(history, steps, record["steps"])
        with atomic_write(files.mask) as temporary:
            temporary.write_bytes(old.encode(history.labels, files.mask))
    return files.mask_hash()


def _repeat(history: EditHistory, steps: Sequence[Entry], known: int) -> None:
    """Repeat the steps of a journal. The labels have the first `known` of them already."""
    for number, step in enumerate(steps):
        apply = number >= known
        if "undo" in step:
            history.undo(apply)
        elif "redo" in step:
            history.redo(apply)
        else:
            pixels = history.labels.size
            after, before = (
                tuple(Change(change["value"], parse_runs(change["runs"], pixels)) for change in step[side])
                for side in ("after", "before")
            )
            history.add(Edit(after, before), apply)
