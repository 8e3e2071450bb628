"""What is predicted: images of files, or of videos."""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Origin = dict[str, Any]  # what says that an image is the one that was seen before; `source` is its file or URL
STREAM = "stream"  # is in the origin of what is new each time


@dataclass(frozen=True)
class Source:
    """An image file, or a video whose frames are images.

    Attributes:
        path: of the file, or the URL of a stream.
        name: of its outputs, without suffix; of a video, that of the folder for those of its frames.
        video: whether it is one.
    """

    path: str
    name: str
    video: bool

    def origin(self) -> Origin | None:
        """What tells this file from another one of its name; None if it is not there."""
        if "://" in self.path:
            return {"source": self.path, STREAM: True}
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return {"source": os.path.abspath(self.path), "bytes": status.st_size, "modified": status.st_mtime_ns}


@dataclass(frozen=True)
class Frame:
    """An image (3, H, W) uint8 that was read, or the problem why it could not be."""

    name: str
    source: Source
    origin: Origin | None
    image: Tensor | None = None
    problem: str = ""

    @property
    def pixels(self) -> Tensor:
        """The image, where there is one."""
        assert self.image is not None, "it was read"
        return self.image
