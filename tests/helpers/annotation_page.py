"""A server of stage annotate as a process of its own, and a hand that uses its page."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.paths import ROOT

HEIGHT, WIDTH = 72, 96
CLASSES = ["sky", "road", "tree"]
COLOURS = [(90, 140, 220), (110, 110, 110), (40, 130, 40)]
WAIT = 20_000  # milliseconds; a busy machine must not fail a test


def make_photos(folder: Path, count: int = 3) -> None:
    """Write photos of a sky on a road with a tree in the middle, with a little noise."""
    rng = np.random.default_rng(1)
    (folder / "photos").mkdir()
    for number in range(count):
        photo = np.empty((HEIGHT, WIDTH, 3))
        photo[: HEIGHT // 2], photo[HEIGHT // 2 :] = COLOURS[:2]
        photo[20:50, 40 : 50 + 5 * number] = COLOURS[2]
        noisy = (photo + rng.normal(0, 6, photo.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "photos" / f"photo{number}.png")
    (folder / "classes.txt").write_text("\n".join(CLASSES))


class Server:
    """The command `train.py stage=annotate` on a folder of photos."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Start the command, and wait for the URL that it prints."""
        data = ["data=folder", "data.images=photos", "data.masks=masks", "data.classes=classes.txt"]
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), "stage=annotate", *data, "cnn=rgb", "open=false"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        lines = []
        for line in self.process.stdout or ():
            lines.append(line)
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                return
        raise AssertionError("".join(lines))

    def kill(self) -> None:
        """End the command as a crash would."""
        self.process.kill()
        self.process.communicate()

    def mask(self, name: str) -> np.ndarray:
        """Return a mask as it is on the disk; where there is none, nothing is labelled."""
        path = self.folder / "masks" / f"{name}.png"
        return np.asarray(Image.open(path)) if path.exists() else np.full((HEIGHT, WIDTH), 255, np.uint8)


class Hand:
    """Uses the page as a person would, and reads what it shows."""

    def __init__(self, page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))

    def open(self, url: str) -> None:
        """Open the page, and wait until the first image is drawn."""
        self.page.goto(url)
        self.wait_for_image()

    def wait_for_image(self) -> None:
        """Wait until an image is open."""
        self.wait_text("#image-name", "/")

    def press(self, *keys: str) -> None:
        """Press keys."""
        for key in keys:
            self.page.keyboard.press(key)

    def screen(self, row: float, column: float) -> tuple[float, float]:
        """Return where a place of the image lies on the screen, if the whole image is shown."""
        box = self.page.locator("#canvas").bounding_box()
        scale = min(box["width"] / WIDTH, box["height"] / HEIGHT)
        return (
            box["x"] + box["width"] / 2 + (column - WIDTH / 2) * scale,
            box["y"] + box["height"] / 2 + (row - HEIGHT / 2) * scale,
        )

    def stroke(self, *places: tuple[float, float], button: str = "left") -> None:
        """Drag the mouse over the centres of pixels (row, column)."""
        (x, y), *others = (self.screen(row + 0.5, column + 0.5) for row, column in places)
        self.page.mouse.move(x, y)
        self.page.mouse.down(button=button)
        for x, y in others:
            self.page.mouse.move(x, y, steps=3)
        self.page.mouse.up(button=button)

    def click(self, row: float, column: float) -> None:
        """Click on a place of the image."""
        self.page.mouse.click(*self.screen(row, column))

    def wait_saved(self) -> None:
        """Wait until the server has answered all edits."""
        self.page.wait_for_timeout(450)  # the page only speaks of edits that take longer than this
        self.wait_text("#save-state", "saved")

    def wait_enabled(self, selector: str, enabled: bool) -> None:
        """Wait until a button can be pressed, or cannot."""
        self.page.wait_for_selector(f"{selector}:{'enabled' if enabled else 'disabled'}", timeout=WAIT)

    def wait_label(self, row: float, column: float, text: str) -> None:
        """Wait until the page says what the label of a place is."""
        self.page.mouse.move(*self.screen(row, column))
        self.wait_text("#place", text)

    def wait_predicted(self, row: float, column: float, name: str) -> None:
        """Wait until a place is predicted to be of a class."""
        self.page.mouse.move(*self.screen(row, column))
        self.wait_text("#place", f"predicted {name}")

    def wait_text(self, selector: str, text: str) -> None:
        """Wait until an element shows a text."""
        deadline = time.monotonic() + WAIT / 1000
        while text not in self.page.text_content(selector):
            assert time.monotonic() < deadline, f"{self.page.text_content(selector)!r} does not show {text!r}"
            self.page.wait_for_timeout(20)

    def labels(self, image: int = 0) -> np.ndarray:
        """Return the labels of an image, as the server holds them."""
        script = "async (image) => [...new Uint8Array(await (await fetch(`api/images/${image}/labels`)).arrayBuffer())]"
        return np.array(self.page.evaluate(script, image), np.uint8).reshape(HEIGHT, WIDTH)

    def colour(self, row: float, column: float) -> list[int]:
        """Return the colour of the canvas at a place of the image."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        x, y = self.screen(row, column)
        script = """([x, y]) => {
            const canvas = document.getElementById("canvas");
            const box = canvas.getBoundingClientRect();
            return [...canvas.getContext("2d").getImageData(x - box.x, y - box.y, 1, 1).data].slice(0, 3);
        }"""
        return self.page.evaluate(script, [x, y])
