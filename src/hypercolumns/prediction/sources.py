"""The inputs of a prediction: image files, videos, and the images read from them."""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Origin = dict[str, Any]  # identifies an input: `source` is its path or URL, the other items change if its content does
STREAM = "stream"  # key in the origin of a stream, whose content is new in every run


@dataclass(frozen=True)
class Source:
    """An image file, or a video whose frames are images.

    Attributes:
        path: the path of the file, or the URL of a stream.
        name: the base name of its outputs, without a suffix. For a video, the folder of its frames' outputs.
        video: whether it is a video or a stream.
    """

    path: str
    name: str
    video: bool

    def origin(self) -> Origin | None:
        """Identify the content of the file by its path, size and modification time; None if it does not exist."""
        if "://" in self.path:
            return {"source": self.path, STREAM: True}
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return {"source": os.path.abspath(self.path), "bytes": status.st_size, "modified": status.st_mtime_ns}


@dataclass(frozen=True)
class Frame:
    """One input image, read or not.

    Attributes:
        name: the base name of its outputs, without a suffix.
        source: the file or video that it comes from.
        origin: identifies the input; None if the file does not exist.
        image: (3, H, W) uint8 RGB. None if it was not read.
        problem: why the image can't be read; empty if it was read, or did not need to be.
    """

    name: str
    source: Source
    origin: Origin | None
    image: Tensor | None = None
    problem: str = ""

    @property
    def pixels(self) -> Tensor:
        """The image of a frame that was read, (3, H, W) uint8."""
        assert self.image is not None, "the image was read"
        return self.image
