"""Running annotation tools in Python environments of their own."""

import atexit
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

SCRIPT_END = """
import sys, numpy
arrays = {f"{image}|{name}": numpy.asarray(mask) for (image, name), mask in masks(*sys.argv[2:]).items()}
numpy.savez(sys.argv[1], **{str(number): mask for number, mask in enumerate(arrays.values())})
print("KEYS" + __import__("json").dumps(list(arrays)))
"""


def run_tool(folder, package, script, *arguments, python=sys.executable):
    """Return what the function `masks` of a script returns: boolean masks by (name of the image, class).

    The test is skipped if uv, the version of Python, the package or a library of the system can't be had.
    """
    venv = _environment(package, python)
    (folder / "tool.py").write_text(script + SCRIPT_END)
    command = [venv / "bin/python", folder / "tool.py", folder / "masks.npz", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    if "ImportError: lib" in run.stderr:
        pytest.skip(f"{package} needs a library of the system: {run.stderr.strip().splitlines()[-1]}")
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("KEYS")]
    with np.load(folder / "masks.npz") as arrays:
        return {tuple(key.split("|")): arrays[str(n)] for n, key in enumerate(json.loads(line.removeprefix("KEYS")))}


def assert_equal(masks, expected):
    """Assert that two dictionaries have the same keys and the same masks, to the pixel."""
    assert sorted(masks) == sorted(expected)
    for key, mask in expected.items():
        assert masks[key].shape == mask.shape, key
        assert (masks[key].astype(bool) == mask).all(), key


@functools.cache
def _environment(package, python):
    """Return a virtual environment with a package, made once for all tests of a process; skip if it can't be had."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("the program uv, which makes the tool's environment, is not installed")
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for command in (
        ["venv", "--no-python-downloads", "--python", python, str(folder)],
        ["pip", "install", "--python", str(folder), *package.split()],
    ):
        # in another folder and without the files of settings: the constraints of this project do not hold there
        run = subprocess.run([uv, *command, "--quiet", "--no-config"], cwd=folder, capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"uv {command[0]} for {package} on Python {python} failed: {run.stderr.strip()[:300]}")
    return folder
