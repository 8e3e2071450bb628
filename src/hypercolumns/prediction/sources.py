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
        path: the path of the file, or the URL of the stream.
        name: a path relative to the output folder. For an image file: the path that its output files share, without
            their suffixes. For a video or a stream: the folder for the outputs of its frames.
        video: whether the source is a video or a stream.
        file: for an image file, its path relative to the folder that contains all inputs, such as `street/a.jpg`.
            Empty for a video or a stream.
    """

    path: str
    name: str
    video: bool
    file: str = ""

    def origin(self) -> Origin | None:
        """Return the values that identify the input and its content, as a dictionary.

        The dictionary of a file holds its path, its size in bytes and its modification time. The dictionary of a stream
        holds its URL. The result is None if the size and the modification time of the file can't be read.
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
        name: the path that the image's output files share, relative to the output folder and without their suffixes.
        source: the image file, video or stream that contains the image.
        origin: the dictionary from `Source.origin`, for a video or a stream with the number of the frame added. None if
            `Source.origin` returns None.
        image: (N, H, W) uint8, with N = `ImageDecoding.image_channels`; RGB if N is 3. None if the image was not read.
        problem: the reason why the image can't be read. Empty if the image was read or skipped.
    """

    name: str
    source: Source
    origin: Origin | None
    image: Tensor | None = None
    problem: str = ""

    @property
    def pixels(self) -> Tensor:
        """The image, (N, H, W) uint8. Use it only if `image` is not None."""
        assert self.image is not None, "the image was read"
        return self.image
