"""The instructions of docs/extending.md, applied to a copy of the project."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from helpers.paths import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = re.split(r"^## ", (ROOT / "docs" / "extending.md").read_text(), flags=re.MULTILINE)[1:]


def apply(place, diff):
    """Apply a unified diff to the file that it names; each hunk must occur exactly once in the file."""
    head, *hunks = re.split(r"^@@.*\n", diff, flags=re.MULTILINE)
    path = place / re.search(r"^\+\+\+ b/(.*)$", head, re.MULTILINE)[1]
    text = path.read_text()
    for hunk in hunks:
        before, after = (
            "".join(line[1:] for line in hunk.splitlines(keepends=True) if line[0] in f" {sign}") for sign in "-+"
        )
        assert text.count(before) == 1, f"{path} no longer says {before}"
        text = text.replace(before, after)
    path.write_text(text)


def run(place, *command):
    environment = {"PATH": f"{place}/bin:/usr/bin:/bin", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.partition("\n")[0])
def test_pasted_commands_and_code_of_a_page_work(page, tmp_path):
    for name in ("src", "conf", "train.py", "pyproject.toml"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/src" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for language, text in BLOCK.findall(page):
        named = re.match(r"# ((src|conf)/\S+)\n", text)
        if named:
            path = tmp_path / named[1]
            assert not path.exists()
            path.write_text(text.removeprefix(named[0]))
        elif language == "diff":
            apply(tmp_path, text)
        elif language == "python":
            run(tmp_path, "python", "-c", text)
        else:
            assert language == "bash"
            run(tmp_path, "bash", "-euc", text)
    assert list(tmp_path.glob("runs/*/*/train/latest/model.safetensors")) or re.search(
        "stage=extract|last_stage=pretrain", page
    )
