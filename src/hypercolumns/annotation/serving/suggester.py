"""Measure how sure the model is of images, and look for the region in which a label would teach most."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.learning.suggestions import Readiness
from hypercolumns.annotation.serving.image_feed import ImageFeed
from hypercolumns.annotation.serving.suggestion_queue import SuggestionQueue, describe_region

NOT_YET = {
    Readiness.NO_LABELS: "label some pixels first",
    Readiness.UNTRAINED: "the model is learning the first labels",
    Readiness.READY: "the images are being compared, to find where a label would teach most",
}


class Suggester:
    """Keep a `SuggestionQueue` up to date, a little at a time. Only the worker's thread may change it.

    Args:
        trainer: the trainer.
        feed: the images that the trainer knows.
        candidates: the numbers of the images to suggest.
        changed: called when the order of the images or the suggestion has changed.

    Attributes:
        queue: the margins and the suggestion, which other threads may read.
    """

    def __init__(
        self, trainer: PixelTrainer, feed: ImageFeed, candidates: Iterable[int], changed: Callable[[], None]
    ) -> None:
        self._trainer, self._feed, self._changed = trainer, feed, changed
        self.queue = SuggestionQueue(candidates)

    @property
    def suggestion(self) -> dict[str, Any]:
        """The region to label next, as the page gets it, or why there is none; any thread may ask."""
        readiness = self._trainer.readiness
        found = self.queue.suggestion if readiness is Readiness.READY else None
        return found or {"image": None, "reason": NOT_YET[readiness]}

    def measure(self, number: int, version: int) -> None:
        """Measure how sure a version of the model is of an image, or compute a part of its maps."""
        if not self._feed.prepare_some(number):
            return
        if number in self._feed.broken:
            self.queue.leave_out(number)
        else:
            margin = self._trainer.mean_margin(str(number))  # of a grid that is always in memory
            self.queue.set_margin(number, margin, version)
            if self.queue.worth_telling():
                self._changed()

    def suggest(self, version: int) -> None:
        """Look for the region in which a label would teach most, in the images that the model is least sure of."""
        for number in self.queue.most_useful():
            if self.queue.is_old(number, version):
                self.measure(number, version)
        suggestion: dict[str, Any] = {
            "image": None,
            "reason": "no region that the model is unsure of has a useful size",
        }
        for number in self.queue.most_useful():
            region = self._feed.attempt(number, partial(self._feed.suggest_region, number))
            if number in self._feed.broken:
                self.queue.leave_out(number)
            elif region is not None:
                suggestion = describe_region(number, region, self._feed.sizes[number][1])
                break
        self.queue.set_region(version, suggestion)
        self._changed()
