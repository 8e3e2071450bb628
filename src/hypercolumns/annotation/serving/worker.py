"""The thread that trains and predicts while labels are added."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from hypercolumns.annotation.labels.pixel_runs import Change, Runs
from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.serving.image_feed import ImageFeed, Images
from hypercolumns.annotation.serving.inbox import Inbox
from hypercolumns.annotation.serving.polls import Poll, Shown
from hypercolumns.annotation.serving.regions import region_around
from hypercolumns.annotation.serving.screen import Screen
from hypercolumns.annotation.serving.suggester import Suggester
from hypercolumns.annotation.serving.whole_prediction import WholePrediction
from hypercolumns.errors import ArgumentError, HypercolumnsError, summarize_error
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.models.segmenter import Segmenter

BURST = 0.06  # seconds of training before new labels are looked for
FIRST_SHOWN, LAST_SHOWN = 0.1, 2.0  # seconds from one prediction to the next while the model trains; they double
SAVE_AFTER = 60.0  # seconds from one saving of the model to the next
QUIET = 1.5  # seconds after the last label, from which on the maps of other images are computed
IDLE_WAIT = 0.5  # seconds


class NoLabelsError(ArgumentError):
    """There is no model, because nothing is labelled."""


class TrainingWorker:
    """Train on labels as they come, and predict what is on the screen, in a thread of its own.

    New labels go before everything else. Maps, training and the prediction of whole images are done in parts, between
    which labels are learned; only `find_region` and `save` are done in one go. All public methods but `stop` return at
    once.

    Args:
        trainer: the trainer, which no other thread may use.
        images: the images.
        labelled: the numbers of the images that have labels already; they are read one after the other.
        candidates: the numbers of the images to suggest.
        save: writes a model, and returns the path of its file.
        changed: called, from the thread, when the model or the order of the images has changed.
        refuse: called with the number of an image that can't be used, and with the reason.
        saved: the file of the model of an earlier session; None if there is none.

    Attributes:
        state: how far the training has come, as the page gets it.
        saved: the file of the model; None if there is none.
        failed: why the training ended early, or why the model could not be saved; None if all is well.
    """

    def __init__(
        self,
        trainer: PixelTrainer,
        images: Images,
        labelled: Iterable[int],
        candidates: Iterable[int],
        save: Callable[[Segmenter], Path],
        changed: Callable[[], None],
        refuse: Callable[[int, str], None],
        saved: Path | None = None,
    ) -> None:
        self._trainer, self._write, self._changed = trainer, save, changed
        # shared with other threads
        self._inbox = Inbox()
        self.state: dict[str, Any] = {"steps": 0, "loss": None, "trained": False}
        self.saved = saved
        self.failed: str | None = None
        # of the thread alone
        self._feed = ImageFeed(trainer, images, labelled, refuse)
        self._version = 0
        self._steps_in_burst = 4
        self._shown_at, self._shown_after, self._changed_at = 0.0, 0.0, 0.0
        self._converged, self._alternate = True, False
        self._caught_up = False  # whether the labels that were there at the start are learned
        self._saved_version, self._saved_at = 0, time.monotonic()
        self._suggester = Suggester(trainer, self._feed, candidates, changed)
        self._whole: WholePrediction | None = None
        self._visible: int | None = None
        self._thread = Thread(target=self._run, name="trainer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> bool:
        """End the thread after what it does at the moment, and save the model if it has changed.

        A model that has not learned all labels replaces none that is there.

        Returns:
            Whether the saved model is up to date: it has learned all labels, or it is the first one.

        Raises:
            HypercolumnsError: if the model can't be written.
        """
        self._inbox.end()
        self._thread.join()
        if self._has_learned_all or self.saved is None:
            self._save_if_changed()
            return True
        return False

    # Called by other threads.

    def change(self, number: int, changes: Iterable[Change], width: int) -> None:
        """Learn that pixels of an image have other labels.

        Args:
            number: the number of the image.
            changes: the pixels, and their labels.
            width: the width of the image in pixels.
        """
        self._inbox.add_change(number, changes, width)

    def show(self, screen: Screen, after: int) -> "Future[Shown]":
        """Return the prediction on a screen as soon as there is one of a version above `after`."""
        poll = Poll(screen, after)
        self._inbox.add_poll(poll)
        return poll.future

    def find_region(self, number: int, row: int, column: int) -> "Future[tuple[int, Runs]]":
        """Return the predicted class of a pixel, and the connected region of this class around it.

        After a start, this waits until the labels that are on the disk are learned.

        Args:
            number: the number of the image.
            row: the row of the pixel.
            column: its column.

        Returns:
            The class and the pixels of the region, when they are there.
        """
        return self._inbox.add_task(lambda: self._find_region(number, row, column), self._is_prediction_there)

    def save(self) -> "Future[Path]":
        """Save the model, and return its path."""
        return self._inbox.add_task(self._save)

    def margins(self) -> dict[int, float]:
        """Return how sure the model is of each image that it was asked about, by number."""
        return self._suggester.queue.margins()

    @property
    def suggestion(self) -> dict[str, Any]:
        """The region in which a label would teach most, or why there is none."""
        return self._suggester.suggestion

    # Called by the thread.

    def _run(self) -> None:
        try:
            while not self._inbox.ending:
                if not self._step():
                    self._inbox.wait(self._due, IDLE_WAIT)
        except BaseException as error:
            self.failed = f"training has stopped ({summarize_error(error)}); labels are saved; start the command again"
            self._changed()
            raise
        finally:
            self._inbox.refuse_all(HypercolumnsError(self.failed or "the session has ended; start the command again"))

    def _step(self) -> bool:
        """Do what is most urgent; return whether there was anything."""
        self._caught_up |= self._converged and not self._feed.unread
        if (change := self._inbox.take_change(self._feed.is_ready)) is not None:
            self._learn(*change)
        elif (task := self._inbox.take_task()) is not None:
            task.run()
        elif due := self._due():
            self._answer(due)
        elif self._is_worth_saving():
            self._save_now_and_then()
        elif self._inbox.changes and (self._converged or self._alternate):  # of an image without maps
            self._alternate = False
            self._feed.prepare_some(self._inbox.changes[0][0])
        elif self._feed.unread and (self._converged or self._alternate):
            self._alternate = False
            if self._feed.read_next():
                self._labels_changed()
        elif not self._converged:
            self._alternate = True
            self._train()
        else:
            return self._idle_step()
        return True

    @property
    def _has_learned_all(self) -> bool:
        """Whether the training has converged on all labels that there are."""
        return self._converged and not self._inbox.changes and not self._feed.unread

    def _is_prediction_there(self) -> bool:
        """Whether the model knows the labels that were there at the start, or there is nothing to learn one from."""
        return self._has_learned_all or (self._caught_up and self._version > 0)

    def _is_worth_saving(self) -> bool:
        """Whether to save the model unasked. One that is half trained must not replace the one of earlier labels."""
        is_due = self._version != self._saved_version and time.monotonic() - self._saved_at > SAVE_AFTER
        return is_due and self._has_learned_all

    def _idle_step(self) -> bool:
        """Do what nobody waits for; return whether there was anything."""
        if not self._version:
            return False
        if self._visible in self._feed.sizes and not (whole := self._whole_of(self._visible)).complete:
            self._add_rows(whole)
        elif self._suggester.queue.wants_region(self._version):
            self._suggester.suggest(self._version)
        elif (number := self._next_to_measure()) is not None:
            self._suggester.measure(number, self._version)
        else:
            return False
        return True

    def _next_to_measure(self) -> int | None:
        """Return the image to measure next; none whose maps take time, while someone paints."""
        number = self._suggester.queue.next_margin(self._version)
        quiet = time.monotonic() - self._changed_at > QUIET
        return number if number in self._feed.sizes or quiet else None

    def _learn(self, number: int, changes: list[Change], width: int) -> None:
        self._feed.label(number, changes, width)
        self._labels_changed()

    def _labels_changed(self) -> None:
        self._converged, self._shown_after = False, 0.0
        self._changed_at = time.monotonic()
        self._whole = None

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

    def _due(self) -> list[Poll]:
        return self._inbox.polls.due(self._version, self._feed.sizes.__contains__)

    def _answer(self, due: list[Poll]) -> None:
        """Predict the screen that was asked for last, and answer all polls of this screen."""
        screen = due[-1].screen
        self._visible = screen.image
        polls = [poll for poll in due if poll.screen == screen]
        if not self._feed.prepare_some(screen.image):
            return
        shown = None
        if self._version and screen.image not in self._feed.broken:
            shown = self._feed.attempt(screen.image, lambda: self._predict(screen))
        if screen.image in self._feed.broken:
            self._inbox.polls.answer(polls, HypercolumnsError(self._feed.broken[screen.image]))
        elif shown is not None:
            self._inbox.polls.answer(polls, shown)

    def _predict(self, screen: Screen) -> Shown:
        view = self._trainer.view(str(screen.image), screen.rows.as_tensor(), screen.columns.as_tensor())
        margins = (view.margins * 255).round().byte().numpy()
        return Shown(screen, self._version, view.labels.numpy(), margins)

    def _find_region(self, number: int, row: int, column: int) -> tuple[int, Runs]:
        if not self._version:
            raise ArgumentError("there is no prediction of this image yet; label some pixels first")
        self._feed.prepare(number)
        while number not in self._feed.broken and not (whole := self._whole_of(number)).complete:
            self._add_rows(whole)
        if number in self._feed.broken:
            raise HypercolumnsError(self._feed.broken[number])
        value = int(whole.labels[row, column])
        if value == IGNORE_INDEX:
            raise ArgumentError("there is no prediction, because no pixel is labelled; label some pixels first")
        return value, region_around(whole.labels, row, column)

    def _add_rows(self, whole: WholePrediction) -> None:
        self._feed.attempt(whole.image, lambda: whole.add_rows(self._trainer))

    def _whole_of(self, number: int) -> WholePrediction:
        """Return the prediction of all pixels of an image by this version, which may not be complete."""
        if self._whole is None or not self._whole.is_of(number, self._version):
            self._whole = WholePrediction(number, self._version, self._feed.sizes[number])
        return self._whole

    def _save(self) -> Path:
        try:
            segmenter = self._trainer.segmenter
        except HypercolumnsError as error:
            raise NoLabelsError(str(error)) from error
        self.saved = self._write(segmenter)
        self._saved_version, self._saved_at = self._version, time.monotonic()
        self._changed()
        return self.saved

    def _save_if_changed(self) -> None:
        """Save the model, unless it was saved or no label is left.

        Raises:
            HypercolumnsError: if it can't be written.
        """
        self._saved_at = time.monotonic()
        with suppress(NoLabelsError):
            if self._saved_version != self._version:
                self._save()

    def _save_now_and_then(self) -> None:
        """Save the model if it has changed; the page gets to know if that fails."""
        try:
            self._save_if_changed()
            self.failed = None
        except HypercolumnsError as error:
            self.failed = str(error)
            self._changed()
