#!/usr/bin/env bash
# PyAV 18.1.0: where a read error ends a video, container.decode() loses frames that it has already read.
#
# A decoder holds frames back: those of H.264 that are shown later, and one for each thread but the first with
# thread_type FRAME or AUTO. At the end of a file, decode() asks for them. At an error, as when a server closes the
# connection in the middle of a download, it raises without asking, and they are gone. The more threads there are, the more
# frames are lost. demux(), packet.decode() and a last stream.decode(None) after the error give all of them.
#
# Output seen, for the first 77 % of an MPEG transport stream of 30 frames:
#   a local file, decode():                 23 frames
#   HTTP that breaks off, decode():         21 frames, OSError
#   HTTP, decode() with 4 threads:          18 frames, OSError
#   HTTP, demux() and a flush, 4 threads:   23 frames, OSError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.6

cat > "$work/frames.py" <<'PY'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np


def write(path):
    """Write a video of 30 frames of noise."""
    noise = np.random.default_rng(0)
    with av.open(path, "w") as video:
        stream = video.add_stream("libx264", rate=10, width=64, height=48, pix_fmt="yuv420p")
        for _ in range(30):
            pixels = noise.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        video.mux(stream.encode())


def read(place, threads, flush=False):
    """Return the number of frames that are decoded before the end or an error, and the error."""
    frames, error = 0, ""
    with av.open(place) as video:
        stream = video.streams.video[0]
        stream.codec_context.thread_type = "FRAME" if threads > 1 else "SLICE"
        stream.codec_context.thread_count = threads
        try:
            if flush:
                for packet in video.demux(stream):
                    frames += len(packet.decode())
            else:
                for _ in video.decode(stream):
                    frames += 1
        except OSError as raised:
            error = f", {type(raised).__name__}"
        if flush:
            frames += len(stream.decode(None))
    return f"{frames} frames{error}"


write("whole.ts")
with open("whole.ts", "rb") as file:
    whole = file.read()
part = whole[: len(whole) * 77 // 100]
with open("part.ts", "wb") as file:
    file.write(part)


class BrokenOff(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), BrokenOff)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/video.ts"
seen = [read("part.ts", 1), read(address, 1), read(address, 4), read(address, 4, flush=True)]
names = ["a local file, decode():", "HTTP that breaks off, decode():"]
names += ["HTTP, decode() with 4 threads:", "HTTP, demux() and a flush, 4 threads:"]
for name, frames in zip(names, seen):
    print(f"{name:39} {frames}")
if seen != ["23 frames", "21 frames, OSError", "18 frames, OSError", "23 frames, OSError"]:
    sys.exit("this has changed")
PY
cd "$work"
timeout 120 venv/bin/python frames.py 2> log || { cat log >&2; exit 1; }
