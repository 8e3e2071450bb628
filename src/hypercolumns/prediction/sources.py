"""The inputs of a prediction: image files, videos and streams, and the images that are read from them."""

import os
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Origin = dict[str, Any]  # JSON values that identify an input and its content; the key `source` holds its path or URL
STREAM = "stream"  # only the origin of a stream has this key; the content of a stream is new in every run


@dataclass(frozen=True)
class Source:
    """An input: an image file, or a video or stream whose frames are images.

    Attributes:
        path: the path of the file, or the URL of a stream.
        name: the path of the image's outputs below the output folder, without the suffixes of the outputs. For a video
            or a stream: the path of the folder for the outputs of its frames, below the output folder.
        video: whether the source is a video or a stream.
    """

    path: str
    name: str
    video: bool

    def origin(self) -> Origin | None:
        """Return what identifies the input and its content; None if the size and time of the file can't be read.

        A stream is identified by its URL; a file is identified by its path, size and modification time.
        """
        if "://" in self.path:
            return {"source": self.path, STREAM: True}
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return {"source": os.path.abspath(self.path), "bytes": status.st_size, "modified": status.st_mtime_ns}


@dataclass(frozen=True)
class Frame:
    """An input image that was read, that was skipped, or that can't be read.

    Attributes:
        name: the path of the image's outputs below the output folder, without the suffixes of the outputs.
        source: the image file, video or stream that holds the image.
        origin: what `Source.origin` returns; for a video or stream, also the number of the frame. None if the size and
            time of the file can't be read.
        image: (3, H, W) uint8 RGB. None if the image was not read.
        problem: why the image can't be read; empty if it was read or skipped.
    """

    name: str
    source: Source
    origin: Origin | None
    image: Tensor | None = None
    problem: str = ""

    @property
    def pixels(self) -> Tensor:
        """The image, (3, H, W) uint8 RGB. Use it only if `image` is not None."""
        assert self.image is not None, "the image was read"
        return self.image
