"""Masks in MATLAB files, as the Semantic Boundaries Dataset (SBD) has them."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypercolumns.errors import ArgumentError, HypercolumnsError
from hypercolumns.io.files import file_hash, file_signature
from hypercolumns.io.images import PixelShape, opened_file
from hypercolumns.io.mask_source import MaskPixels

STRUCT, FIELD = "GTcls", "Segmentation"  # of the files in the folder cls; those in the folder inst have GTinst
FORMATS = ("MATLAB up to version 7",)


@dataclass(frozen=True)
class MatMask:
    """The mask in a MATLAB file: the field Segmentation of the struct GTcls, see `MaskSource`.

    Attributes:
        path: the file.
    """

    path: Path

    def __str__(self) -> str:
        """Return the path of the file."""
        return str(self.path)

    @property
    def annotated(self) -> bool:
        """Whether the file exists, see `MaskSource`."""
        return self.path.exists()

    def size(self) -> PixelShape:
        """Return the (height, width) of the mask, see `MaskSource`. The file is small, and is read."""
        return self._values().shape

    def decode(self) -> MaskPixels:
        """Read the values of the classes, see `MaskSource`."""
        return MaskPixels(self._values(), (), 8)

    def digest(self) -> str:
        """Return a hash of the file, see `MaskSource`."""
        return hashlib.sha256(f"{STRUCT} {file_hash(self.path)}".encode()).hexdigest()

    def signature(self) -> str:
        """Return a hash that changes with the file, see `MaskSource`."""
        return file_signature(self.path)

    def _values(self) -> NDArray[np.uint8]:
        """Return (H, W) uint8.

        Raises:
            HypercolumnsError: if the file can't be read, or holds no such struct.
        """
        from scipy.io import loadmat, matlab  # only the extra `sbd` installs this package

        with opened_file(self.path, FORMATS) as file:
            try:
                content = loadmat(file, variable_names=[STRUCT])
            except NotImplementedError:
                raise HypercolumnsError(
                    f"{self.path} is a file of MATLAB 7.3, which is not read; save it in MATLAB by save(..., '-v7'), "
                    f"or unpack the archive of the Semantic Boundaries Dataset again"
                ) from None
            if STRUCT not in content:
                names = ", ".join(name for name, _, _ in matlab.whosmat(_rewound(file))) or "nothing"
                raise HypercolumnsError(
                    f"{self.path} holds {names}, but no {STRUCT}; the masks of the Semantic Boundaries Dataset are in "
                    f"its folder cls"
                )
        try:
            values = content[STRUCT][0, 0][FIELD]
        except (LookupError, ValueError, TypeError):
            values = None
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype != np.uint8 or not values.size:
            raise HypercolumnsError(
                f"{self.path}: {STRUCT}.{FIELD} is not a matrix of the type uint8, as in the Semantic Boundaries "
                f"Dataset; unpack the archive again"
            )
        return np.ascontiguousarray(values)


def check_scipy(setting: str) -> None:
    """Check that scipy is installed, which reads MATLAB files.

    Args:
        setting: the setting that needs it, for the message.

    Raises:
        ArgumentError: if it is not.
    """
    if importlib.util.find_spec("scipy") is None:
        raise ArgumentError(
            f"{setting} has masks in MATLAB files, which scipy reads; install it with: uv sync --extra sbd, or pip "
            f"install '.[sbd]'"
        )


def _rewound(file: Any) -> Any:
    file.seek(0)
    return file
