"""The benchmark of a long session."""

import json
import signal
import subprocess
import sys

import pytest
from helpers.annotation_world import draw
from helpers.paths import ROOT


@pytest.mark.slow(seconds=20)
def test_interrupted_session_keeps_its_rows(tmp_path):
    draw(tmp_path / "images")
    script, options = ROOT / "benchmarks" / "annotation_endurance.py", ["--strokes", "1000", "--threads", "1"]
    command = [sys.executable, script, "--images", tmp_path / "images", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        row = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
    assert row["strokes"] == 100


@pytest.mark.slow(seconds=10)
def test_each_row_needs_a_stroke(tmp_path):
    script = ROOT / "benchmarks" / "annotation_endurance.py"
    command = [sys.executable, script, "--images", tmp_path, "--strokes", "9"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "give at least 10" in result.stderr
