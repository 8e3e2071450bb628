"""The system's Chromium for tests of the page, driven by playwright."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def works(name: str) -> bool:
    """Whether a browser is there and starts: on some systems the command only says how to install it."""
    return shutil.which(name) is not None and subprocess.run([name, "--version"], capture_output=True).returncode == 0


@contextmanager
def chromium() -> Iterator:
    """Start the system's Chromium without a window; skip the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(works, NAMES), None)
    if path is None:
        pytest.skip(f"no Chromium on this machine (looked for {', '.join(NAMES)})")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which(path), args=["--no-sandbox"]
        )  # root has no sandbox
        yield browser
        browser.close()
