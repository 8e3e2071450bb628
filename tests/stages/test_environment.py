"""The record of a run's command, code and machine."""

import shlex
import subprocess

import torch

from hypercolumns.runs.environment import RunOrigin, changes, commit, environment
from hypercolumns.settings.compose import command_line


def git(place, *arguments):
    fingerprint = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
    return subprocess.run(
        ["git", *fingerprint, *arguments], cwd=place, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_commit_of_a_tracked_file(tmp_path):
    (tmp_path / "code.py").write_text("a = 1\n")
    assert commit(tmp_path / "code.py") is None
    git(tmp_path, "init", "-q")
    assert commit(tmp_path / "code.py") is None  # the repository does not track the file
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path / "code.py") == {"commit": head, "changed": False}
    (tmp_path / "code.py").write_text("a = 2\n")
    assert commit(tmp_path / "code.py") == {"commit": head, "changed": True}


def test_changes_are_a_patch_that_applies_again(tmp_path):
    (tmp_path / "in").mkdir()
    code, other = tmp_path / "in/code.py", tmp_path / "other.bin"
    code.write_text("a = 1\n")
    other.write_bytes(b"\0\1")
    assert changes(code) == ""
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert changes(code) == ""
    code.write_text("a = 2  # ä\n")
    other.write_bytes(b"\0\2")
    patch = changes(code)
    git(tmp_path, "checkout", "-q", ".")
    subprocess.run(["git", "apply"], cwd=tmp_path, input=patch, text=True, check=True)
    assert code.read_text() == "a = 2  # ä\n"
    assert other.read_bytes() == b"\0\2"


def test_commit_without_git_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path / "code.py") is None


def test_command_line_is_quoted_for_a_shell():
    overrides = ["data.root='a b'", "model=it's", "scale=[1,2]"]
    typed = ["data.root=a b", *overrides[1:]]
    assert shlex.split(command_line(overrides)) == ["python", "train.py", *typed]


def test_environment_records_versions_and_device():
    recorded = environment(RunOrigin("", "python train.py", torch.device("cpu")))
    assert recorded["command"] == "python train.py"
    assert recorded["device"]["threads"] == torch.get_num_threads()
    assert {"torch", "pytorch-lightning", "hypercolumns", "matplotlib"} <= set(recorded["versions"])
