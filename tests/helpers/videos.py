"""A small video."""

from pathlib import Path

import av
import numpy as np


def write_video(path: Path) -> None:
    """Write a video of 10 frames of 32x16 pixels; frame n has the grey value 20 n."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for number in range(10):
            picture = np.full((16, 32, 3), 20 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
