"""Small videos, and a server that breaks off."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


def write_noise(path: Path, codec: str, times: Sequence[int] = (), **options: str) -> None:
    """Write a video of 40 frames of 64x48 pixels in random colours.

    Args:
        path: the file; its suffix decides the format.
        codec: the name of the encoder.
        times: the time of each frame in milliseconds; by default, ten frames a second.
        options: the options of the format.
    """
    random = np.random.default_rng(0)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(40):
            squares = random.integers(0, 255, (6, 8, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(squares.repeat(8, 0).repeat(8, 1), format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@contextmanager
def breaking_server(content: bytes, mode: str) -> Iterator[str]:
    """Serve the beginning of a video, and break off.

    Args:
        content: the whole video.
        mode: `length`: the server gives the whole length, sends 77 %, and closes. `chunked`: it sends 77 % in chunks
            and ends as if this were all. `stall`: it sends 77 %, and nothing more until the end of the `with` block.

    Yields:
        The URL.
    """
    part, done = content[: len(content) * 77 // 100], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            if mode == "chunked":
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(part), part) if mode == "chunked" else part)
            self.wfile.flush()
            if mode == "stall":
                done.wait()
            self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        done.set()
        server.shutdown()
        server.server_close()
        thread.join()


def frames_of(path: Path) -> list[SimpleNamespace]:
    """Return all frames of a whole video as PyAV decodes them, with their `pixels` (3, H, W) and their `pts`."""
    with av.open(str(path)) as container:
        return [
            SimpleNamespace(pixels=frame.to_ndarray(format="rgb24").transpose(2, 0, 1), pts=frame.pts)
            for frame in container.decode(video=0)
        ]
