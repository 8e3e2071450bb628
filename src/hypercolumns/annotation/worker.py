"""The thread that trains and predicts while labels are added."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition, Thread
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypercolumns.annotation.pixel_runs import Change, Runs, to_indices
from hypercolumns.annotation.pixel_trainer import PixelTrainer
from hypercolumns.annotation.regions import region_around
from hypercolumns.annotation.screen import Lines, Screen
from hypercolumns.annotation.suggestion_queue import SuggestionQueue, describe_region
from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.models.segmenter import Segmenter

BURST = 0.06  # seconds of training before new labels are looked for
FIRST_SHOWN, LAST_SHOWN = 0.1, 2.0  # seconds from one prediction to the next while the model trains; they double
SAVE_AFTER = 60.0  # seconds from one saving of the model to the next
BAND = 1 << 20  # pixels that are predicted before new labels are looked for


class Images(Protocol):
    """What the worker needs to know about the images."""

    def pixels(self, number: int) -> Tensor:
        """Return an image (3, H, W) as the model sees it."""

    def labels(self, number: int) -> NDArray[np.uint8]:
        """Return the labels (H, W) of an image as they are now."""


class Shown(NamedTuple):
    """The prediction on a screen.

    Attributes:
        screen: the screen.
        version: the version of the model.
        labels: (h, w) uint8.
        margins: (h, w) uint8, 255 for sure.
    """

    screen: Screen
    version: int
    labels: NDArray[np.uint8]
    margins: NDArray[np.uint8]


@dataclass
class _Poll:
    screen: Screen
    after: int
    future: "Future[Shown]" = field(default_factory=Future)


class TrainingWorker:
    """Train on labels as they come, and predict what is on the screen, in a thread of its own.

    New labels go before everything else; what takes long is done in parts. All public methods return at once.

    Args:
        trainer: the trainer, which no other thread may use.
        images: the images.
        labelled: the numbers of the images that have labels already; they are read one after the other.
        candidates: the numbers of the images to suggest.
        save: writes a model, and returns the path of its file.
        changed: called, from the thread, when the model or the order of the images has changed.
        say: called with a line for the user.
    """

    def __init__(
        self,
        trainer: PixelTrainer,
        images: Images,
        labelled: Iterable[int],
        candidates: Iterable[int],
        save: Callable[[Segmenter], Path],
        changed: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._trainer, self._images, self._write = trainer, images, save
        self._changed, self._say = changed, say
        self._wake = Condition()
        self._ending = False
        # shared with other threads
        self._changes: deque[tuple[int, list[Change], int]] = deque()
        self._tasks: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._polls: list[_Poll] = []
        self._margins: dict[int, float] = {}
        self.state: dict[str, Any] = {"steps": 0, "loss": None, "trained": False}
        self.saved: Path | None = None
        # of the thread alone
        self._unread = deque(labelled)
        self._read: set[int] = set()
        self._prepared: dict[int, tuple[int, int]] = {}
        self._broken: set[int] = set()
        self._version = 0
        self._steps_in_burst = 4
        self._shown_at, self._shown_after = 0.0, 0.0
        self._converged, self._alternate = True, False
        self._saved_version, self._saved_at = 0, time.monotonic()
        self._queue = SuggestionQueue(candidates)
        self._whole: _Whole | None = None
        self._visible: int | None = None
        self._thread = Thread(target=self._run, name="trainer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after what it does at the moment, and save the model if it has changed."""
        with self._wake:
            self._ending = True
            self._wake.notify()
        self._thread.join()
        self._save_if_changed()

    # Called by other threads.

    def change(self, number: int, changes: Iterable[Change], width: int) -> None:
        """Learn that pixels of an image, of a width in pixels, have other labels."""
        with self._wake:
            self._changes.append((number, [*changes], width))
            self._wake.notify()

    def show(self, screen: Screen, after: int) -> "Future[Shown]":
        """Return the prediction on a screen as soon as there is one of a version above `after`."""
        poll = _Poll(screen, after)
        with self._wake:
            self._polls.append(poll)
            self._wake.notify()
        return poll.future

    def fill(self, number: int, row: int, column: int) -> "Future[tuple[int, Runs]]":
        """Return the predicted class of a pixel, and the connected region of this class around it."""
        return self._task(lambda: self._fill(number, row, column))

    def save(self) -> "Future[Path]":
        """Save the model, and return its path."""
        return self._task(self._save)

    def margins(self) -> dict[int, float]:
        """Return how sure the model is of each image that it was asked about, by number."""
        with self._wake:
            return dict(self._margins)

    @property
    def suggestion(self) -> dict[str, Any] | None:
        """The region in which a label would teach most; None if there is none yet."""
        return self._queue.suggestion

    def _task(self, function: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()
        with self._wake:
            self._tasks.append((function, future))
            self._wake.notify()
        return future

    # Called by the thread.

    def _run(self) -> None:
        while not self._ending:
            try:
                if not self._step():
                    with self._wake:
                        if not (self._changes or self._tasks or self._ending or self._due()):
                            self._wake.wait(1.0)
            except HypercolumnsError as error:
                self._say(f"warning: {error}")

    def _step(self) -> bool:
        """Do what is most urgent; return whether there was anything."""
        if self._changes:
            self._learn()
        elif self._tasks:
            self._run_task()
        elif due := self._due():
            self._answer(due)
        elif self._unread and (self._converged or self._alternate):
            self._alternate = False
            self._read_labels(self._unread.popleft())
        elif not self._converged:
            self._alternate = True
            self._train()
        else:
            return self._idle_step()
        return True

    def _idle_step(self) -> bool:
        """Do what nobody waits for; return whether there was anything."""
        if self._saved_version != self._version and time.monotonic() - self._saved_at > SAVE_AFTER:
            self._save_if_changed()
        elif not self._version:
            return False
        elif self._whole_is_old():
            self._predict_band()
        elif self._queue.wants_region(self._version):
            self._suggest()
        elif (number := self._queue.next_margin(self._version)) is not None:
            self._measure(number)
        else:
            return False
        return True

    def _learn(self) -> None:
        with self._wake:
            number, changes, width = self._changes.popleft()
        if number not in self._read:
            self._read_labels(number)
        else:
            self._label(number, changes, width)
        self._labels_changed()

    def _label(self, number: int, changes: Iterable[Change], width: int) -> None:
        if self._prepare(number):
            for value, runs in changes:
                indices = torch.from_numpy(to_indices(runs))
                self._trainer.label(str(number), indices // width, indices % width, value)

    def _read_labels(self, number: int) -> None:
        """Read all labels of an image, unless they are known."""
        if number in self._read:
            return
        self._read.add(number)
        if number in self._unread:
            self._unread.remove(number)
        labels = torch.from_numpy(self._images.labels(number))
        if self._prepare(number):
            for value in labels.unique().tolist():
                if value != IGNORE_INDEX:
                    self._trainer.label(str(number), *(labels == value).nonzero(as_tuple=True), value)
        self._labels_changed()

    def _labels_changed(self) -> None:
        self._converged, self._shown_after = False, 0.0
        self._whole = None

    def _prepare(self, number: int) -> bool:
        """Compute the maps of an image; return whether it can be used."""
        if number not in self._prepared and number not in self._broken:
            try:
                pixels = self._images.pixels(number)
                self._trainer.prepare(str(number), pixels)
                self._prepared[number] = (pixels.shape[1], pixels.shape[2])
            except HypercolumnsError as error:
                self._broken.add(number)
                self._queue.leave_out(number)
                self._say(f"warning: {error}")
        return number in self._prepared

    def _train(self) -> None:
        began = time.monotonic()
        state = self._trainer.train(self._steps_in_burst)
        now = time.monotonic()
        fit = self._steps_in_burst * BURST / max(now - began, 1e-3)
        self._steps_in_burst = max(1, min(int(fit), 2 * self._steps_in_burst))
        self._converged = state.converged
        if state.converged or now - self._shown_at >= self._shown_after:
            self._publish(state.steps, state.loss, now)

    def _publish(self, steps: int, loss: float, now: float) -> None:
        """Make the model as it is now a version of its own, which the pages get to see."""
        self._version += 1
        self._shown_at = now
        self._shown_after = min(max(2 * self._shown_after, FIRST_SHOWN), LAST_SHOWN)
        self.state = {"steps": steps, "loss": loss if loss == loss else None, "trained": self._converged}
        self._changed()

    def _due(self) -> list[_Poll]:
        """Return the polls that can be answered, and forget those that nobody waits for any more."""
        with self._wake:
            self._polls = [poll for poll in self._polls if not poll.future.cancelled()]
            return [
                poll
                for poll in self._polls
                if self._version > poll.after
                and (self._version or poll.screen.image not in self._prepared)
                and poll.screen.image not in self._broken
            ]

    def _answer(self, due: list[_Poll]) -> None:
        """Predict the screen that was asked for last, and answer all polls of this screen."""
        screen = due[-1].screen
        self._visible = screen.image
        if not self._prepare(screen.image) or not self._version:
            return
        view = self._trainer.view(str(screen.image), screen.rows.as_tensor(), screen.columns.as_tensor())
        margins = (view.margins * 255).round().byte().numpy()
        shown = Shown(screen, self._version, view.labels.numpy(), margins)
        answered = [poll for poll in due if poll.screen == screen]
        with self._wake:
            self._polls = [poll for poll in self._polls if poll not in answered]
        for poll in answered:
            if poll.future.set_running_or_notify_cancel():
                poll.future.set_result(shown)

    def _run_task(self) -> None:
        with self._wake:
            function, future = self._tasks.popleft()
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

    def _fill(self, number: int, row: int, column: int) -> tuple[int, Runs]:
        if not self._version or not self._prepare(number):
            raise ArgumentError("there is no prediction of this image yet; label some pixels first")
        self._visible = number
        while self._whole_is_old():
            self._predict_band()
        assert self._whole is not None
        labels = self._whole.labels
        if labels[row, column] == IGNORE_INDEX:
            raise ArgumentError("there is no prediction, because no pixel is labelled; label some pixels first")
        return int(labels[row, column]), region_around(labels, row, column)

    def _whole_is_old(self) -> bool:
        """Whether the prediction of all pixels of the visible image is missing or not of this version."""
        if self._visible is None or self._visible not in self._prepared:
            return False
        whole = self._whole
        return whole is None or (whole.image, whole.version) != (self._visible, self._version) or not whole.complete

    def _predict_band(self) -> None:
        """Predict some more rows of the visible image."""
        assert self._visible is not None
        if self._whole is None or (self._whole.image, self._whole.version) != (self._visible, self._version):
            size = self._prepared[self._visible]
            self._whole = _Whole(self._visible, self._version, np.empty(size, np.uint8))
        whole = self._whole
        height, width = whole.labels.shape
        stop = min(whole.rows + max(BAND // width, 1), height)
        rows, columns = Lines(whole.rows, 1, stop - whole.rows), Lines(0, 1, width)
        view = self._trainer.view(str(whole.image), rows.as_tensor(), columns.as_tensor())
        whole.labels[whole.rows : stop] = view.labels.numpy()
        whole.rows = stop

    def _measure(self, number: int) -> None:
        """Measure how sure the model is of an image."""
        if self._prepare(number):
            margin = self._trainer.mean_margin(str(number))
            self._queue.set_margin(number, margin, self._version)
            with self._wake:
                self._margins[number] = margin
            if self._queue.worth_telling():
                self._changed()

    def _suggest(self) -> None:
        """Look for the region in which a label would teach most, in the images that the model is least sure of."""
        for number in self._queue.most_useful():
            self._measure(number)
        suggestion = None
        for number in self._queue.most_useful():
            if (region := self._trainer.suggest_region(str(number))) is not None:
                suggestion = describe_region(number, region, self._prepared[number][1])
                break
        self._queue.set_region(self._version, suggestion)
        self._changed()

    def _save(self) -> Path:
        if not self._version:
            raise ArgumentError("there is no model yet; label some pixels first")
        version, self.saved = self._version, self._write(self._trainer.segmenter)
        self._saved_version, self._saved_at = version, time.monotonic()
        self._changed()
        return self.saved

    def _save_if_changed(self) -> None:
        if self._saved_version != self._version:
            self._saved_at = time.monotonic()
            self._save()


@dataclass
class _Whole:
    """The prediction of all pixels of an image, of which the first rows are there."""

    image: int
    version: int
    labels: NDArray[np.uint8]
    rows: int = 0

    @property
    def complete(self) -> bool:
        return self.rows == len(self.labels)
