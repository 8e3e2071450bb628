"""What a kill of stage annotate loses, and which hostile requests it serves.

python benchmarks/annotation_robustness.py
python benchmarks/annotation_robustness.py --kills 100 --size 4000x3000

A painter without a browser makes strokes, undoes and redoes, one after the other, on several images. At a random moment
the server is killed by SIGKILL. All masks must then be readable; and when the server runs again, the labels must be
those after the last edit that was answered, or after the one that was on its way. The images are noise, and the network
is `cnn=rgb`, as neither changes what is on the disk.
"""

import http.client
import json
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import ROOT, arguments, report, size
from hostile_requests import hostile
from numpy.typing import NDArray
from PIL import Image

from hypercolumns.io.masks import read_mask
from hypercolumns.labels import LabelScheme

CLASSES = ("sky", "tree", "road")
IMAGES = 3
OLD = 0.5  # seconds after which an answered edit must not be lost
MAX_STEPS = 100  # edits that the painter undoes at most; the server knows more
START = 120.0  # seconds that a start may take
STARTED: list[subprocess.Popen[str]] = []
Labels = NDArray[np.uint8]


class Server:
    """A running stage annotate, with a connection to it.

    Args:
        folder: the folder of `images` and `classes.txt`, to which all is written.
        network: the settings of the network.

    Attributes:
        headers: the headers of the last answer.
    """

    def __init__(self, folder: Path, network: Sequence[str] = ("cnn=rgb",)) -> None:
        settings = [f"data.{name}={folder / name}" for name in ("images", "masks")]
        settings += [f"data.classes={folder / 'classes.txt'}", f"runs={folder / 'runs'}", "open=false", *network]
        command = [sys.executable, str(ROOT / "train.py"), "stage=annotate", "data=folder", *settings]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        STARTED.append(self.process)
        assert self.process.stdout is not None
        self.lines: list[str] = []
        found = None
        while found is None:
            line = self.process.stdout.readline()
            assert line, f"the server did not start: {self.lines}"
            self.lines.append(line)
            found = re.match(r"http://127\.0\.0\.1:(\d+)/([\w-]+)/", line)
        self.port, self.token = int(found[1]), found[2]
        self.headers: http.client.HTTPMessage = http.client.HTTPMessage()
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START)
        self._connection.connect()
        self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Send a proper request, and return the status and the body of the answer."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        self._connection.request(method, f"/{self.token}/{path}", content, headers)
        answer = self._connection.getresponse()
        self.headers = answer.headers
        return answer.status, answer.read()

    def labels(self, number: int, shape: tuple[int, int]) -> Labels:
        """Return the labels of an image as the server has them."""
        return np.frombuffer(self.ask("GET", f"api/images/{number}/labels")[1], np.uint8).reshape(shape)

    def end(self, number: signal.Signals) -> str:
        """Send a signal, wait for the end, and return what the command printed."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        rest = self.process.stdout.read()
        self.process.wait()
        return "".join(self.lines) + rest


class Painter:
    """Edits of some images, and all states of the labels since the last kill, by an obvious model of what edits do."""

    def __init__(self, shape: tuple[int, int], seed: int) -> None:
        self.shape, self.random = shape, random.Random(seed)
        self.states: list[list[tuple[float, Labels]]] = []
        self.done: list[list[Labels]] = []  # the labels before each edit that can be undone
        self.undone: list[list[Labels]] = []
        self.edits = 0

    def begin(self, labels: list[Labels]) -> None:
        """Begin with these labels; the history before them is left alone."""
        self.states = [[(0.0, values.copy())] for values in labels]
        self.done, self.undone = [[] for _ in labels], [[] for _ in labels]

    def step(self, server: Server) -> None:
        """Make an edit, an undo or a redo, and remember when it was answered."""
        image = self.random.randrange(len(self.states))
        labels = self.states[image][-1][1]
        turn, body = self.random.random(), dict[str, Any]()
        if turn < 0.15 and self.done[image]:
            path, new = "undo", self.done[image].pop()
            self.undone[image].append(labels)
        elif turn < 0.25 and self.undone[image]:
            path, new = "redo", self.undone[image].pop()
            self.done[image].append(labels)
        else:
            path, (body, new) = "edits", self._stroke(labels)
            if (new != labels).any():
                self.done[image].append(labels)
                self.undone[image].clear()
        self.states[image].append((np.inf, new))
        status, _ = server.ask("POST", f"api/images/{image}/{path}", body)
        assert status == 200, status
        self.states[image][-1] = (time.monotonic(), new)
        self.edits += 1

    def forget(self) -> None:
        """Forget all states but the last, and edits that the server has forgotten long ago."""
        self.states = [states[-1:] for states in self.states]
        self.done = [labels[-MAX_STEPS:] for labels in self.done]

    def _stroke(self, labels: Labels) -> tuple[dict[str, Any], Labels]:
        """Return the body of an edit and the labels after it: a stroke of 3 rows and up to 40 columns."""
        height, width = self.shape
        top, left = self.random.randrange(height - 3), self.random.randrange(width - 40)
        value, length = self.random.choice([0, 1, 2, 255]), self.random.randint(1, 40)
        new = labels.copy()
        new[top : top + 3, left : left + length] = value
        runs = [number for row in range(top, top + 3) for number in (row * width + left, length)]
        return {"edits": [{"value": value, "runs": runs}]}, new

    def lost(self, image: int, found: Labels, killed: float) -> tuple[int, int]:
        """Return how many answered edits of an image are lost, and how many of them were old; -1 for other labels."""
        states = self.states[image]
        known = next((i for i in range(len(states) - 1, -1, -1) if (states[i][1] == found).all()), None)
        if known is None:
            return -1, -1
        answered = [when for when, _ in states[known + 1 :] if when < np.inf]
        return len(answered), sum(killed - when > OLD for when in answered)


def served(server: Server, content: bytes) -> bool:
    """Send raw bytes, and return whether the answer is a success."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.makefile("rb").read(20)
        except (ConnectionError, TimeoutError):
            return False
    return answer.startswith(b"HTTP/1.1 2") or answer.startswith(b"HTTP/1.1 101")


def main() -> None:
    """Kill the server again and again, send hostile requests, and print the tables."""
    parser = arguments(
        __doc__,
        1,
        kills={"type": int, "default": 20},
        size={"type": size, "default": (360, 480)},
        seed={"type": int, "default": 0},
    )
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        try:
            rows = _measure(Path(temporary), options.kills, options.size, options.seed)
        finally:
            for server in STARTED:
                server.kill()
    report(f"stage=annotate, killed {options.kills} times", rows, options.json)


def _measure(folder: Path, kills: int, shape: tuple[int, int], seed: int) -> list[dict[str, Any]]:
    _draw(folder, shape)
    painter, when = Painter(shape, seed), random.Random(seed)
    painter.begin([np.full(shape, 255, np.uint8)] * IMAGES)
    lost = old = other = unreadable = 0
    slowest = 0.0
    server = Server(folder)
    for _ in range(kills):
        moment = time.monotonic() + when.uniform(0.2, 4)
        while time.monotonic() < moment:
            began = time.monotonic()
            painter.step(server)
            slowest = max(slowest, time.monotonic() - began)
        killed = time.monotonic()
        server.end(signal.SIGKILL)
        unreadable += _unreadable(folder / "masks")
        server = Server(folder)
        found = [server.labels(number, shape) for number in range(IMAGES)]
        counts = [painter.lost(number, found[number], killed) for number in range(IMAGES)]
        lost, old = lost + sum(max(count, 0) for count, _ in counts), old + sum(max(count, 0) for _, count in counts)
        other += sum(count < 0 for count, _ in counts)
        painter.begin(found)
    requests = hostile(server.port, server.token)
    passed = [what for what, content in requests if served(server, content)]
    changed = any((server.labels(number, shape) != found[number]).any() for number in range(IMAGES))
    server.end(signal.SIGINT)
    return [
        {"what": "edits that were answered", "count": painter.edits},
        {"what": f"of these lost, answered more than {OLD} s before the kill", "count": old},
        {"what": "of these lost, answered at any time before the kill", "count": lost},
        {"what": "images with other labels than after any edit", "count": other},
        {"what": "masks that can't be read after a kill", "count": unreadable},
        {"what": "hostile requests", "count": len(requests)},
        {"what": "of these served" + (f" ({', '.join(passed)})" if passed else ""), "count": len(passed)},
        {"what": "labels changed by them", "count": int(changed)},
        {"what": "slowest answer to an edit, ms", "count": round(1000 * slowest)},
    ]


def _draw(folder: Path, shape: tuple[int, int]) -> None:
    """Write the images, which are noise, and the list of classes."""
    (folder / "images").mkdir()
    for number in range(IMAGES):
        noise = np.random.default_rng(number).integers(0, 255, (*shape, 3), np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{number}.jpg")
    (folder / "classes.txt").write_text("\n".join(CLASSES))


def _unreadable(masks: Path) -> int:
    """Return how many of the files that other stages would read as masks can't be read."""
    scheme, count = LabelScheme.of(CLASSES), 0
    for path in masks.iterdir():
        if not path.name.startswith("."):
            try:
                read_mask(path, scheme)
            except Exception:
                count += 1
    return count


if __name__ == "__main__":
    main()
