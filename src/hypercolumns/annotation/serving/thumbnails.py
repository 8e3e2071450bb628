"""Small pictures of images, made when they are asked for and kept in memory."""

import io
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from PIL import Image

MAX_SIDE = 96  # pixels
MAX_BYTES = 32 << 20  # of all that are kept: some 10,000
QUALITY = 80


class Thumbnails:
    """Thumbnails of images, by their numbers. It is safe to use from several threads.

    Args:
        read: returns an image of at least `MAX_SIDE` pixels on a side, as it is shown.
        max_bytes: the bytes that are kept; those that were used last stay.
    """

    def __init__(self, read: Callable[[int], Image.Image], max_bytes: int = MAX_BYTES) -> None:
        self._read, self._max_bytes = read, max_bytes
        self._lock = Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        # one at a time: to decode many large photos at once takes memory, and time from the training
        self._thread = ThreadPoolExecutor(1, "thumbnails")

    def get(self, number: int) -> "Future[bytes]":
        """Return the thumbnail of an image as the content of a JPEG file, once it is there."""
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                ready: Future[bytes] = Future()
                ready.set_result(self._kept[number])
                return ready
        return self._thread.submit(self._make, number)

    def _make(self, number: int) -> bytes:
        picture = self._read(number).convert("RGB")
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=QUALITY)
        with self._lock:
            self._kept[number] = file.getvalue()
            while sum(map(len, self._kept.values())) > self._max_bytes:
                self._kept.popitem(last=False)
        return file.getvalue()

    def stop(self) -> None:
        """Make no more of them."""
        self._thread.shutdown(wait=True, cancel_futures=True)
