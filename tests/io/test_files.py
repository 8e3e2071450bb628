import errno
import os
from pathlib import Path

import pytest

from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.files import atomic_write, read_json, remove_temporaries, short_hash, walk_files


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    done = []
    replace, sync = Path.replace, os.fsync
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append(f"name {to.name}"), replace(path, to)))
    monkeypatch.setattr(os, "fsync", lambda number: (done.append(os.readlink(f"/proc/self/fd/{number}")), sync(number)))
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert done == [str(temporary), "name file", str(tmp_path)]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fault_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_text("old")

    def write():
        with atomic_write(tmp_path / "file") as temporary:
            temporary.write_text("half")
            raise OSError("the disk is full")

    with pytest.raises(HypercolumnsError, match=r"file can't be written .* nothing that was there has changed"):
        write()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


def test_temporaries_of_killed_writers_are_removed(tmp_path):
    for name in (".a.json.12ab.tmp", ".b.json.12ab.tmp", "a.json"):
        (tmp_path / name).touch()
    (tmp_path / ".a.json.34cdd.tmp").mkdir()
    (tmp_path / ".a.json.34cdd.tmp" / ".tmpXYZ").touch()
    remove_temporaries(tmp_path / "a.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.json.12ab.tmp", "a.json"]


def test_a_key_is_of_the_value_not_of_its_order():
    assert short_hash({"a": 1, "b": [2]}) == short_hash({"b": [2], "a": 1}) != short_hash({"a": 1, "b": [3]})


def test_a_bug_while_a_file_is_written_stays_one(tmp_path):
    def write():
        with atomic_write(tmp_path / "file") as temporary:
            temporary.touch()
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        HypercolumnsError, match=rf"{tmp_path} can't be read \(Permission denied\); allow it or take it"
    ):
        list(walk_files(tmp_path))


def test_json_of_another_kind(tmp_path):
    (tmp_path / "file").write_text("[1]")
    with pytest.raises(HypercolumnsError, match="file holds no JSON object; remove it and run the command again"):
        read_json(tmp_path / "file")
