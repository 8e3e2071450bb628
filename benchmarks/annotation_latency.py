"""Time from the end of a stroke to the new prediction on the screen, in a real browser.

    python benchmarks/annotation_latency.py data/camvid/VOCdevkit/VOC2012/JPEGImages --threads 1

The images have true labels in a folder SegmentationClass beside theirs.
The benchmark starts stage=annotate on some of the images and on one that is enlarged, opens the page
in the system's Chromium, and paints strokes along the true labels: 40 pixels long and 3 wide on the small images, and
enlarged on the large one.

- open ms: from the click on an image that was never open to its pixels on the screen
- stroke ms: from the release of the mouse to the frame after the one that draws a prediction which knows the stroke
- painting: the next stroke begins 0.3 s after the prediction of the one before; the model is still training
- at rest: the next stroke begins when the server has nothing more to do for the model

A prediction knows a stroke if it was asked for with the version of a model that learned from it. The server counts
versions up; the one that is current when the stroke is answered may be followed by one more that does not know the
stroke, if the model was in training. So while painting, the second new version counts, and at rest the first.
"""

import argparse
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import ROOT, report
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CLASSES = "sky building pole road pavement tree sign fence car pedestrian bicyclist".split()
WAIT = 120.0  # seconds
RECORD = """
window.told = [];
for (const name of ["open-start", "image-drawn", "stroke-end", "prediction-drawn"])
    window.addEventListener(name, ({ detail }) => window.told.push({ name, ...detail }));
"""
Mask = NDArray[np.uint8]


def main() -> None:
    """Measure and print a table."""
    options = parse()
    with TemporaryDirectory() as folder:
        masks = make_images(options.images, Path(folder), options.count, options.enlarge)
        with serving(Path(folder), options.weights, options.threads) as url, browsing(url) as page:
            small, large = masks[1:-1], masks[-1:]  # the page opens the first image by itself
            rows = [measure(page, small, 1, options.strokes // len(small), 1)]
            rows.append(measure(page, large, len(small) + 1, options.strokes, options.enlarge))
    report(
        f"From the end of a stroke to its prediction on the screen, load {os.getloadavg()[0]:.1f}", rows, options.json
    )


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images; their masks are in SegmentationClass beside it")
    parser.add_argument("--weights", default="IMAGENET1K_V1", help="cnn.weights of SqueezeNet")
    parser.add_argument("--enlarge", type=int, default=8, help="how many times the large image is enlarged")
    parser.add_argument("--count", type=int, default=5, help="number of small images")
    parser.add_argument("--strokes", type=int, default=20, help="in all small images together, and in the large one")
    parser.add_argument("--threads", type=int, default=2, help="threads of the server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    return parser.parse_args()


def make_images(source: Path, folder: Path, count: int, enlarge: int) -> list[Mask]:
    """Copy some images and enlarge one more.

    Args:
        source: folder of images.
        folder: where the copies go.
        count: number of copies, beside one that the page opens by itself.
        enlarge: how many times the last one is enlarged.

    Returns:
        Their true labels.
    """
    paths = sorted(source.iterdir())
    chosen = paths[:: len(paths) // (count + 2)][: count + 2]
    (folder / "photos").mkdir()
    (folder / "classes.txt").write_text("\n".join(CLASSES))
    masks = []
    for number, path in enumerate(chosen):
        mask: Image.Image = Image.open(source.parent / "SegmentationClass" / f"{path.stem}.png")
        if number <= count:
            shutil.copy(path, folder / "photos" / f"{number:03}{path.suffix}")
        else:
            size = mask.width * enlarge, mask.height * enlarge
            mask = mask.resize(size, Image.Resampling.NEAREST)
            Image.open(path).resize(size, Image.Resampling.LANCZOS).save(
                folder / "photos" / f"{number:03}.jpg", quality=95
            )
        masks.append(np.asarray(mask))
    return masks


@contextmanager
def serving(folder: Path, weights: str, threads: int) -> Iterator[str]:
    """Run stage=annotate on a folder; yield the URL of its page."""
    data = ["data=folder", "data.images=photos", "data.masks=masks", "data.classes=classes.txt"]
    command = [sys.executable, str(ROOT / "train.py"), "stage=annotate", *data, "cnn=sqn", "open=false"]
    with subprocess.Popen(
        [*command, f"cnn.weights={weights}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    ) as process:
        assert process.stdout is not None
        url = next((found[0] for line in process.stdout if (found := re.search(r"http://\S+", line))), None)
        assert url, "the server did not start"
        try:
            yield url
        finally:
            process.kill()


@contextmanager
def browsing(url: str) -> Iterator[Page]:
    """Open the page in a browser of the size of a laptop's screen."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, f"this benchmark needs one of {', '.join(BROWSERS)}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})
        page.add_init_script(RECORD)
        page.goto(url)
        yield page
        browser.close()


def measure(page: Page, masks: Sequence[Mask], first: int, strokes: int, scale: int) -> dict[str, Any]:
    """Open images and paint strokes on each.

    Args:
        page: the page.
        masks: their true labels.
        first: the number of the first image.
        strokes: strokes in each image.
        scale: size of a stroke, relative to 40 x 3 pixels.

    Returns:
        A row of the table.
    """
    rng = random.Random(0)
    page.evaluate("(size) => { document.getElementById('size').value = size; }", 3 * scale)
    page.dispatch_event("#size", "input")
    opened: list[float] = []
    times: dict[str, list[float]] = {"painting": [], "at rest": []}
    for number, mask in enumerate(masks, first):
        opened.append(open_image(page, number))
        wait_for_rest(page)  # the maps of the image are made
        for index in range(strokes):
            at_rest = index % 2 == 1
            if at_rest:
                wait_for_rest(page)
            else:
                page.wait_for_timeout(300)
            paint(page, mask, rng, 40 * scale)
            times["at rest" if at_rest else "painting"].append(wait_for_stroke(page, number, 1 if at_rest else 2))
    height, width = masks[0].shape
    row: dict[str, Any] = {
        "images": f"{width}x{height}",
        "strokes": len(masks) * strokes,
        "open ms": statistics.median(opened),
        "worst open ms": max(opened),
    }
    for kind, values in times.items():
        row |= {f"{kind} ms": statistics.median(values), f"{kind} 95 %": float(np.percentile(values, 95))}
    return row


def open_image(page: Page, number: int) -> float:
    """Open an image by a click on its row; return the milliseconds until it is drawn."""
    wait_until(page, "() => document.getElementById('image-name').textContent.includes('/')")
    page.evaluate("() => { window.told.length = 0; }")
    page.locator(f".image-row[data-number='{number}']").click()
    wait_until(page, "(image) => window.told.some((one) => one.name === 'image-drawn' && one.image === image)", number)
    return float(
        page.evaluate(
            """(image) => {
                const time = (name) => window.told.find((one) => one.name === name && one.image === image).time;
                return time("image-drawn") - time("open-start");
            }""",
            number,
        )
    )


def wait_for_rest(page: Page) -> None:
    """Wait until the model is trained and its prediction is on the screen, if there is a model."""
    said = "() => document.getElementById('save-state').textContent"
    began, quiet = time.monotonic(), 0
    while quiet < 40:  # 2 s, because the last prediction of a large image comes some time after the end of the training
        quiet = quiet + 1 if page.evaluate(said) == "saved" else 0
        assert time.monotonic() - began < WAIT, page.evaluate(said)
        page.wait_for_timeout(50)


def paint(page: Page, mask: Mask, rng: random.Random, length: int) -> None:
    """Paint a horizontal stroke of the class at a random place of the true labels, as long as the class goes on."""
    height, width = mask.shape
    while True:
        row, column = rng.randrange(height // 20, height - height // 20), rng.randrange(width - length)
        value = int(mask[row, column])
        if value < len(CLASSES):
            break
    along = mask[row, column : column + length]
    end = column + (int(np.argmax(along != value)) or length) - 1
    page.locator(f".class-row[data-value='{value}']").click()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    zoom = min(box["width"] / width, box["height"] / height)
    left, top = box["x"] + (box["width"] - width * zoom) / 2, box["y"] + (box["height"] - height * zoom) / 2
    page.mouse.move(left + (column + 0.5) * zoom, top + (row + 0.5) * zoom)
    page.mouse.down()
    page.mouse.move(left + (end + 0.5) * zoom, top + (row + 0.5) * zoom, steps=4)
    page.evaluate("() => { window.told = window.told.filter((one) => one.name === 'prediction-drawn').slice(-1); }")
    page.mouse.up()


def wait_for_stroke(page: Page, number: int, versions: int) -> float:
    """Return the milliseconds from the end of the stroke until its prediction is drawn.

    Args:
        page: the page.
        number: the image.
        versions: how many new versions of the model it takes until one knows the stroke for certain.
    """
    drawn = """([image, versions]) => {
        const end = window.told.findIndex((one) => one.name === "stroke-end");
        const isDrawn = (one) => one.name === "prediction-drawn" && one.image === image;
        const before = window.told.slice(0, end).filter(isDrawn).at(-1)?.version ?? 0;
        const wanted = before ? before + versions : 1;
        const found = window.told.slice(end).find((one) => isDrawn(one) && one.version >= wanted);
        return found ? found.time - window.told[end].time : null;
    }"""
    wait_until(page, f"(given) => ({drawn})(given) !== null", [number, versions])
    return float(page.evaluate(drawn, [number, versions]))


def wait_until(page: Page, condition: str, argument: object = None) -> None:
    """Wait until a function of the page returns true."""
    began = time.monotonic()
    while not page.evaluate(condition, argument):
        assert time.monotonic() - began < WAIT, condition
        page.wait_for_timeout(10)


if __name__ == "__main__":
    main()
