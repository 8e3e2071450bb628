"""The class probabilities of an image, in memory or, if there are many, in a temporary file."""

import mmap
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hypercolumns.io.files import atomic_write

MAX_HELD = 1 << 26  # bytes of probabilities that are held in memory
RELEASED = 1 << 25  # bytes that are written to the file before the process gives up its memory for them


class ProbabilityMap:
    """The probabilities (classes, H, W) float16 of an image, which are written and read part by part.

    If they take more than `MAX_HELD` bytes, they are in a file without a name, which is gone when the process ends.

    Args:
        shape: (classes, height, width).
        folder: the folder of the file, on a disk with room for `2 * classes * height * width` bytes.

    Attributes:
        shape: the argument `shape`.
    """

    def __init__(self, shape: tuple[int, int, int], folder: Path) -> None:
        self.shape = shape
        self._map: mmap.mmap | None = None
        self._unreleased = 0
        size = 2 * shape[0] * shape[1] * shape[2]
        if size > MAX_HELD:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.truncate(size)
                self._map = mmap.mmap(file.fileno(), size)
        self._values = np.frombuffer(self._map or bytearray(size), np.float16).reshape(shape)

    def write(self, rows: slice, columns: slice, probabilities: Tensor) -> None:
        """Write the probabilities of a rectangle of pixels.

        Args:
            rows: the rows of the rectangle.
            columns: the columns of the rectangle.
            probabilities: (rows, columns, classes).
        """
        self._values[:, rows, columns] = probabilities.cpu().numpy().transpose(2, 0, 1)
        height, width, _ = probabilities.shape
        self._release(self.shape[0] * height * max(2 * width, mmap.PAGESIZE))

    def planes(self) -> Iterator[NDArray[np.float16]]:
        """Yield the probabilities (H, W) of one class after the other."""
        for plane in self._values:
            yield plane.copy()
            self._release(2 * plane.size)

    def _release(self, used: int) -> None:
        """Give up the memory of the file's pages, which stay in the file, after some bytes of them were used."""
        self._unreleased += used
        if self._map is not None and self._unreleased > RELEASED and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._unreleased = 0


def write_probabilities(path: Path, probabilities: ProbabilityMap, classes: Sequence[str]) -> None:
    """Write an `.npz` file atomically: `probabilities`, (classes, H, W) float16, and `classes`, their names.

    NumPy's `savez_compressed` would need all probabilities in memory.

    Args:
        path: the file.
        probabilities: the probabilities.
        classes: the names of the classes.
    """
    names = np.array(classes)
    form = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False}
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("probabilities.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {**form, "shape": probabilities.shape})
            for plane in probabilities.planes():
                file.write(plane.tobytes())
        with archive.open("classes.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, names, allow_pickle=False)
