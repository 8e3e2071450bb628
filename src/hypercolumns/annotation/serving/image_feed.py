"""Give the trainer the images and their labels, as they are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from hypercolumns.annotation.labels.pixel_runs import Change, to_indices
from hypercolumns.annotation.learning.pixel_trainer import PixelTrainer
from hypercolumns.annotation.learning.suggestions import Region
from hypercolumns.errors import HypercolumnsError, is_out_of_memory, summarize_error
from hypercolumns.io.images import PixelShape
from hypercolumns.labels import IGNORE_INDEX

Result = TypeVar("Result")
DONE = object()  # what comes after the last part of an image


class Images(Protocol):
    """Where images and their labels come from."""

    def pixels(self, number: int) -> Tensor:
        """Return an image (3, H, W) as the model sees it.

        Raises:
            HypercolumnsError: if the image or its mask can't be used.
            OSError: if a file can't be read.
        """

    def labels(self, number: int) -> NDArray[np.uint8]:
        """Return the labels (H, W) of an image as they are now.

        Raises:
            HypercolumnsError: if the image or its mask can't be used, for example if they differ in size.
            OSError: if a file can't be read.
        """


class ImageFeed:
    """The images that the trainer knows, by number. One that can't be used is refused; no method raises an error then.

    Args:
        trainer: the trainer.
        images: the images.
        labelled: the numbers of the images that have labels already, which `read_next` reads.
        refuse: called with the number of an image that can't be used, and with the reason.

    Attributes:
        sizes: the (height, width) of each image that can be used and whose maps were computed.
        broken: why images can't be used.
    """

    def __init__(
        self, trainer: PixelTrainer, images: Images, labelled: Iterable[int], refuse: Callable[[int, str], None]
    ) -> None:
        self._trainer, self._images, self._refuse = trainer, images, refuse
        self._unread = deque(labelled)
        self._read: set[int] = set()
        self._parts: dict[int, Iterator[None]] = {}
        self.sizes: dict[int, PixelShape] = {}
        self.broken: dict[int, str] = {}

    @property
    def unread(self) -> bool:
        """Whether there are labelled images that the trainer does not know yet."""
        return bool(self._unread)

    def is_ready(self, number: int) -> bool:
        """Whether the maps of an image are there, or it can't be used."""
        return number in self.sizes or number in self.broken

    def read_next(self) -> bool:
        """Tell the trainer all labels of the next image; return whether this is done, or take the next step to it."""
        if not self.prepare_some(self._unread[0]):
            return False
        self._read_labels(self._unread[0])
        return True

    def label(self, number: int, changes: Iterable[Change], width: int) -> None:
        """Tell the trainer that labels of an image, of a width in pixels, have changed.

        Args:
            number: the number of the image.
            changes: the changes, which the image has already.
            width: the width of the image in pixels.
        """
        if number not in self._read:
            self._read_labels(number)
        elif self.prepare(number):
            self.attempt(number, lambda: self._apply(number, changes, width))

    def _apply(self, number: int, changes: Iterable[Change], width: int) -> None:
        for value, runs in changes:
            indices = torch.from_numpy(to_indices(runs))
            self._trainer.label(str(number), indices // width, indices % width, value)

    def attempt(self, number: int, function: Callable[[], Result]) -> Result | None:
        """Do something with an image; if it fails, refuse the image, and go on with the others.

        Args:
            number: the number of the image.
            function: what to do.

        Returns:
            The result of the function; None if the image is refused.
        """
        try:
            return function()
        except (HypercolumnsError, OSError, SafetensorError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            self.broken[number] = summarize_error(error)
            self.sizes.pop(number, None)
            self._refuse(number, self.broken[number])
            return None

    def suggest_region(self, number: int) -> Region | None:
        """Return the region without labels that the model is least sure of, see `PixelTrainer.suggest_region`."""
        return self._trainer.suggest_region(str(number), self._labels(number) != IGNORE_INDEX)

    def prepare(self, number: int) -> bool:
        """Compute the maps of an image, if that was not done; return whether it can be used."""
        while not self.prepare_some(number):
            pass
        return number not in self.broken

    def prepare_some(self, number: int) -> bool:
        """Compute the maps of a part of an image; return whether the image is done: it can be used, or is broken."""
        if self.is_ready(number):
            return True
        if number not in self._parts:
            self._parts = {number: self._prepared(number)}  # the parts of one image are in memory at a time
        going_on = self.attempt(number, lambda: next(self._parts[number], DONE) is not DONE)
        if not going_on:
            del self._parts[number]
        return not going_on

    def _prepared(self, number: int) -> Iterator[None]:
        pixels = self._images.pixels(number)
        yield from self._trainer.prepare_in_parts(str(number), pixels)
        self.sizes[number] = (pixels.shape[1], pixels.shape[2])

    def _read_labels(self, number: int) -> None:
        self._read.add(number)
        if number in self._unread:
            self._unread.remove(number)
        if self.prepare(number):
            self.attempt(number, lambda: self._trainer.label_mask(str(number), self._labels(number)))

    def _labels(self, number: int) -> Tensor:
        return torch.from_numpy(self._images.labels(number))
