"""Memory and latency of stage annotate over a long session.

python benchmarks/annotation_endurance.py --images IMAGES --weights FILE
python benchmarks/annotation_endurance.py --images IMAGES --weights FILE --strokes 2000 --threads 1

A painter without a browser makes random strokes, undoes and redoes on the images, and asks for the prediction after
every tenth. A row for each tenth of the session is printed as soon as it is measured, and all of them as a table at the
end. Nothing may grow with the number of strokes. Times depend on what else the machine does; the processor time of the
server for each stroke hardly does.
"""

import json
import os
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from annotation_robustness import CLASSES, Painter, Server
from common import arguments, report
from PIL import Image

EVERY = 10  # strokes, after which the prediction is awaited
PARTS = 10  # of the session, which have a row each


def main() -> None:
    """Paint, and print the rows and the table."""
    parser = arguments(
        __doc__,
        1,
        images={"type": Path, "required": True, "help": "folder of images of one size"},
        weights={"type": Path, "help": "weights of the network; without them, the network is cnn=rgb"},
        strokes={"type": int, "default": 20000},
        number={"type": int, "default": 5, "help": "images to paint on"},
    )
    options = parser.parse_args()
    if options.strokes < PARTS:
        parser.error(f"--strokes {options.strokes}: give at least {PARTS}, one for each row of the table")
    network = ["cnn=rgb"] if options.weights is None else [f"cnn={options.cnn}", f"cnn.weights={options.weights}"]
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "images").mkdir()
        for path in sorted(options.images.iterdir())[: options.number]:
            shutil.copy(path, folder / "images")
        (folder / "classes.txt").write_text("\n".join(CLASSES))
        server, rows = Server(folder, network), []
        try:
            for row in _paint(server, folder, options.strokes):
                print(json.dumps(row), flush=True)  # at once, as a session may be interrupted
                rows.append(row)
            server.end(signal.SIGINT)
        finally:
            server.process.kill()
    report(f"stage=annotate over {options.strokes} strokes", rows, options.json)


def _paint(server: Server, folder: Path, strokes: int) -> Iterator[dict[str, Any]]:
    """Paint on the images of a folder, and yield the figures of each part of the session."""
    paths = sorted((folder / "images").iterdir())
    with Image.open(paths[0]) as image:
        shape = image.height, image.width
    painter, version, start = Painter(shape, 0), -1, time.perf_counter()
    painter.begin([np.full(shape, 255, np.uint8)] * len(paths))
    for part in range(PARTS):
        answers, predictions, used = [], [], _processor_seconds(server.process.pid)
        for number in range(strokes // PARTS):
            began = time.perf_counter()
            painter.step(server)
            answers.append(1000 * (time.perf_counter() - began))
            if number % EVERY == 0:
                version = _await_prediction(server, shape, version)
                predictions.append(1000 * (time.perf_counter() - began))
            painter.forget()
        yield {
            "strokes": (part + 1) * (strokes // PARTS),
            "minutes": (time.perf_counter() - start) / 60,
            "CPU ms": 1000 * (_processor_seconds(server.process.pid) - used) / len(answers),
            "memory MB": _memory(server.process.pid),
            "journals KB": sum(path.stat().st_size for path in (folder / "masks").rglob("*.journal")) / 1e3,
            "edit ms": statistics.median(answers),
            "edit 95 % ms": float(np.percentile(answers, 95)),
            "prediction ms": statistics.median(predictions),
            "prediction 95 % ms": float(np.percentile(predictions, 95)),
        }


def _await_prediction(server: Server, shape: tuple[int, int], version: int) -> int:
    """Wait for a newer prediction of the first image than that of a version, and return its version."""
    height, width = shape
    query = f"top=0&left=0&bottom={height}&right={width}&height=750&width=1000&after={version}"
    server.ask("GET", f"api/images/0/prediction?{query}")
    return int(server.headers.get("x-version", version))


def _processor_seconds(process: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # of the user and of the system


def _memory(process: int) -> float:
    """Return the resident memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1e3


if __name__ == "__main__":
    main()
