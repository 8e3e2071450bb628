"""A session: images, their labels, and the worker that trains on the labels. All numbers come from outside."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hypercolumns.annotation.labels.edit_history import parse_change, parse_id
from hypercolumns.annotation.labels.label_store import LabelStore
from hypercolumns.annotation.labels.pixel_runs import Change, Runs
from hypercolumns.annotation.labels.stored_labels import LabelState, StoredLabels
from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.serving.display_colours import display_colours
from hypercolumns.annotation.serving.image_list import ImageList
from hypercolumns.annotation.serving.polls import Shown
from hypercolumns.annotation.serving.screen import choose_screen
from hypercolumns.annotation.serving.thumbnails import Thumbnails
from hypercolumns.annotation.serving.worker import TrainingWorker
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX, voc_palette
from hypercolumns.models.segmenter import Segmenter

MAX_EDITS = 1000  # in one request


class AnnotationSession:
    """What a page can ask for, without the network. All methods are safe to use from several threads.

    Args:
        images: the images.
        store: their labels.
        trainer: the trainer; nothing else may use it.
        counts: the number of labelled pixels of each class in each image.
        problems: why images can't be labelled, by their numbers.
        save: writes a model, and returns the path of its file.
        say: called with a line for the user.
        saved: the file of the model of an earlier session; None if there is none.

    Attributes:
        changed: called, from any thread, when `state` has changed.
    """

    def __init__(
        self,
        images: ImageList,
        store: LabelStore,
        trainer: PixelTrainer,
        counts: Sequence[Sequence[int]],
        problems: Mapping[int, str],
        save: Callable[[Segmenter], Path],
        say: Callable[[str], None],
        saved: Path | None = None,
    ) -> None:
        self._images, self._store, self._say = images, store, say
        self._classes = trainer.classes
        self._colours = display_colours(trainer.palette or voc_palette(len(trainer.classes)))
        self._thumbnails = Thumbnails(images.small)
        self._counts, self._problems = [*map(list, counts)], dict(problems)
        self._name = secrets.token_hex(8)  # tells it from the next session at the same address
        self._editing = Lock()  # the worker must learn of edits in their order
        self.changed: Callable[[], None] = lambda: None
        usable = [number for number in range(len(counts)) if number not in self._problems]
        for number in usable:
            if images.images[number].labels.is_behind():
                self._catch_up(number)
        self._worker = TrainingWorker(
            trainer, self, self.labelled_images, usable, save, lambda: self.changed(), self._refuse, saved
        )

    def _catch_up(self, number: int) -> None:
        """Make the edits again that a kill kept from a mask."""
        try:
            with self._store.opened(number, self._images.size(number)) as labels:
                self._counts[number] = labels.state().labelled
        except HypercolumnsError as error:
            self._refuse(number, str(error))

    def _refuse(self, number: int, reason: str) -> None:
        """Say that an image can't be labelled."""
        self._problems[number] = reason
        self._say(f"warning: {reason}")

    def start(self) -> None:
        """Start to train and to predict."""
        for reason in self._problems.values():
            self._say(f"warning: {reason}")
        self._worker.start()

    def stop(self) -> None:
        """Write all masks, and save the model if it has changed and has learned all labels."""
        self._thumbnails.stop()
        self._store.close()
        if not self._worker.stop():
            self._say(
                f"{self._worker.saved} stays as it was saved last, because the training had not learned all labels "
                f"yet; start the same command again, and end it when the page says training no more"
            )

    @property
    def labelled_images(self) -> list[int]:
        """The numbers of the images that have labels."""
        return [number for number, counts in enumerate(self._counts) if sum(counts) and number not in self._problems]

    # What the worker asks for.

    def pixels(self, number: int) -> Tensor:
        """Return an image as the model sees it."""
        return self._images.pixels(number)

    def labels(self, number: int) -> NDArray[np.uint8]:
        """Return the labels (H, W) of an image as they are now."""
        with self._store.opened(number, self._images.size(number)) as labels:
            return labels.snapshot()

    # What the page asks for.

    def describe(self) -> dict[str, Any]:
        """Return what a page needs when it is opened."""
        classes = zip(self._classes, self._colours, strict=True)
        return {
            "session": self._name,
            "classes": [{"name": name, "color": [*color]} for name, color in classes],
            "void": IGNORE_INDEX,
            "images": [
                {"name": image.name, **progress}
                for image, progress in zip(self._images.images, self._progress(), strict=True)
            ],
            "model": self._worker.state,
        }

    def state(self) -> dict[str, Any]:
        """Return what changes while a page is open."""
        saved = self._worker.saved
        return {
            "session": self._name,
            "images": self._progress(),
            "model": self._worker.state,
            "saved": None if saved is None else str(saved),
            "problem": self._store.failed or self._worker.failed or self._store.overwrote,
        }

    def _progress(self) -> list[dict[str, Any]]:
        margins = self._worker.margins()
        return [
            {
                "number": number,
                "labelled": counts,
                "margin": margins.get(number),
                "problem": self._problems.get(number),
            }
            for number, counts in enumerate(self._counts)
        ]

    def picture(self, number: int) -> tuple[bytes, str]:
        """Return the content and the content type of an image file."""
        self._check(number)
        return self._images.for_browser(number)

    def thumbnail(self, number: int) -> "Future[bytes]":
        """Return a small picture of an image as the content of a JPEG file, once it is there."""
        self._check(number)
        return self._thumbnails.get(number)

    def all_labels(self, number: int) -> tuple[NDArray[np.uint8], LabelState]:
        """Return the labels of an image, and how many edits can be undone and redone."""
        self._check(number)
        with self._store.opened(number, self._images.size(number)) as labels:
            return labels.snapshot(), labels.state()

    def edit(self, number: int, given: object) -> dict[str, Any]:
        """Make edits, each of them {"value", "runs"} and perhaps "id"; return the state of the labels.

        Raises:
            ArgumentError: if `given` is no list of edits.
            OSError: if an edit can't be written; the edits before it are made.
        """
        size = self._size(number)
        if not isinstance(given, list) or not 1 <= len(given) <= MAX_EDITS:
            raise ArgumentError(f"edits must be a list of 1 to {MAX_EDITS} edits")
        edits = [(parse_change(edit, size[0] * size[1], len(self._classes)), parse_id(edit)) for edit in given]
        changes: list[Change] = []
        with self._editing, self._store.opened(number, size) as labels:
            try:
                for edit, name in edits:
                    changes += labels.edit([edit], operation=name)
            finally:  # if an edit can't be written, those before it are made nevertheless
                state = self._done(number, changes, labels.state())
        return state

    def fill(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Label the pixels of a region that have no label yet; return the changes and the state.

        Args:
            number: the number of the image.
            given: the region and its label, {"value", "runs"} and perhaps "id".

        Returns:
            The changes and the state of the labels, as JSON.

        Raises:
            ArgumentError: if `given` is no region.
        """
        size = self._size(number)
        region = parse_change(given, size[0] * size[1], len(self._classes))
        name = parse_id(given)
        return self._change(number, lambda labels: labels.edit([region], only_unlabelled=True, operation=name))

    def undo(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Undo the last edit of an image; return the changes and the state of the labels. `given` may have an "id"."""
        name = parse_id(given)
        return self._change(number, lambda labels: labels.undo(name))

    def redo(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make the edit again that was undone last, as `undo` undoes it."""
        name = parse_id(given)
        return self._change(number, lambda labels: labels.redo(name))

    def _change(self, number: int, change: Callable[[StoredLabels], Sequence[Change]]) -> dict[str, Any]:
        with self._editing, self._store.opened(number, self._size(number)) as labels:
            changes = change(labels)
            done = self._done(number, changes, labels.state())
        return {"changes": [each.as_json() for each in changes]} | done

    def find_region(self, number: int, row: int, column: int) -> "Future[tuple[int, Runs]]":
        """Return the predicted class of a pixel, and the connected region of this class around it. Nothing changes.

        Args:
            number: the number of the image.
            row: the row of the pixel.
            column: its column.

        Returns:
            The class and the pixels of the region, when they are there.

        Raises:
            ArgumentError: if there is no such pixel.
        """
        height, width = self._size(number)
        if not (0 <= row < height and 0 <= column < width):
            raise ArgumentError(f"row and column must be those of a pixel; the image is {width}x{height}")
        return self._worker.find_region(number, row, column)

    def show(self, number: int, box: Sequence[int], grid: Sequence[int], after: int) -> "Future[Shown]":
        """Return the prediction of a part of an image.

        Args:
            number: the number of the image.
            box: top, left, bottom and right of the part.
            grid: the largest number of rows and of columns.
            after: the version that the page has; a newer one is awaited.

        Returns:
            The prediction, when it is there.
        """
        top, left, bottom, right = box
        screen = choose_screen(number, (top, left, bottom, right), (grid[0], grid[1]), self._size(number))
        return self._worker.show(screen, after)

    def suggestion(self) -> dict[str, Any]:
        """Return the region in which a label would teach most, or why there is none."""
        return self._worker.suggestion

    def save(self) -> "Future[Path]":
        """Save the model, and return its path."""
        return self._worker.save()

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self._counts):
            raise ArgumentError(f"image {number} does not exist; the images are 0 to {len(self._counts) - 1}")
        if number in self._problems:
            raise HypercolumnsError(self._problems[number])

    def _size(self, number: int) -> tuple[int, int]:
        self._check(number)
        height, width = self._images.size(number)
        return height, width

    def _done(self, number: int, changes: Sequence[Change], state: LabelState) -> dict[str, Any]:
        if changes:
            self._worker.change(number, changes, self._size(number)[1])
            self._counts[number] = state.labelled
            self.changed()
        return state._asdict()
