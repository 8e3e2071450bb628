import errno
import os
from pathlib import Path

import pytest

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write, read_json, remove_temporaries, short_hash, walk_files


def test_atomic_write_flushes_before_rename(tmp_path, monkeypatch):
    steps = []
    replace, sync = Path.replace, os.fsync
    monkeypatch.setattr(Path, "replace", lambda path, to: (steps.append(f"rename to {to.name}"), replace(path, to)))
    monkeypatch.setattr(
        os, "fsync", lambda number: (steps.append(os.readlink(f"/proc/self/fd/{number}")), sync(number))
    )
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert steps == [str(temporary), "rename to file", str(tmp_path)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_failed_write_keeps_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")

    def write():
        with atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(HypercolumnsError, match=r"file can't be written .* no existing file has changed"):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_remove_temporaries_of_killed_writers(tmp_path):
    for name in (".a.json.12ab.tmp", ".b.json.12ab.tmp", "a.json"):
        (tmp_path / name).touch()
    (tmp_path / ".a.json.34cdd.tmp").mkdir()
    (tmp_path / ".a.json.34cdd.tmp" / ".tmpXYZ").touch()
    remove_temporaries(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.12ab.tmp", "a.json"]


def test_short_hash_ignores_key_order():
    assert short_hash({"a": 1, "b": [2]}) == short_hash({"b": [2], "a": 1}) != short_hash({"a": 1, "b": [3]})


def test_bug_inside_atomic_write_is_re_raised(tmp_path):
    def write():
        with atomic_write(tmp_path / "file") as temporary:
            temporary.touch()
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write()
    assert not list(tmp_path.iterdir())


def test_unreadable_folder_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        HypercolumnsError, match=rf"{tmp_path} can't be read \(Permission denied\); make it readable or"
    ):
        list(walk_files(tmp_path))


def test_read_json_rejects_other_json_values(tmp_path):
    (tmp_path / "file").write_text("[1]")
    with pytest.raises(
        HypercolumnsError, match="file does not contain a JSON object; remove this file and run the command again"
    ):
        read_json(tmp_path / "file")
