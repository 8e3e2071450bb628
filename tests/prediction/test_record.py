import json

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.prediction import Record

SETTINGS = {"model": "abc", "opacity": 0.5}
ORIGIN = {"source": "/a.jpg", "bytes": 3, "modified": 5}


def test_what_was_added_is_known_when_it_is_opened_again(tmp_path):
    def check(record):
        assert record.has("a", ORIGIN)
        assert not record.has("a", {**ORIGIN, "modified": 6})
        assert not record.has("b", None)  # what comes from a stream is new each time
        assert record.counts == {"a": [1, 2], "b": [4, 0]}

    with Record(tmp_path, SETTINGS, overwrite=False) as record:
        assert not record.has("a", ORIGIN)
        record.add("a", ORIGIN, [1, 2])
        record.add("b", None, [4, 0])
        check(record)
    with Record(tmp_path, SETTINGS, overwrite=False) as record:
        check(record)
    with Record(tmp_path, SETTINGS, overwrite=True) as record:
        assert not record.has("a", ORIGIN)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_what_a_kill_has_cut_off_does_not_count(tmp_path):
    with Record(tmp_path, SETTINGS, overwrite=False) as record:
        record.add("a", ORIGIN, [1, 2])
        record.add("b", ORIGIN, [1, 2])
    text = record.path.read_text()
    for length in range(text.index("\n"), len(text) - 1):
        record.path.write_text(text[:length])
        (tmp_path / ".b.png.0123abcd.tmp").touch()
        with Record(tmp_path, SETTINGS, overwrite=False) as again:
            assert not again.has("b", ORIGIN)
            again.add("c", ORIGIN, [3, 3])
        assert json.loads(again.path.read_text().splitlines()[-1])["name"] == "c"
        assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


@pytest.mark.parametrize("text", ["", "{", "[1]\n", "no record"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "predictions.jsonl").write_text(text)
    with pytest.raises(HypercolumnsError, match=r"predictions\.jsonl is not the record of predictions; remove it"):
        Record(tmp_path, SETTINGS, overwrite=False)
    Record(tmp_path, SETTINGS, overwrite=True)


def test_other_settings_are_named(tmp_path):
    with Record(tmp_path, SETTINGS, overwrite=False):
        pass
    for _ in range(2):  # what was refused does not stay locked
        with pytest.raises(HypercolumnsError, match=r"made otherwise \(model abc there, def now\); choose"):
            Record(tmp_path, {**SETTINGS, "model": "def"}, overwrite=False)


def test_one_at_a_time(tmp_path):
    with (
        Record(tmp_path, SETTINGS, overwrite=False),
        pytest.raises(HypercolumnsError, match="is being written by another process"),
    ):
        Record(tmp_path, SETTINGS, overwrite=False)


def test_a_folder_that_cant_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HypercolumnsError, match=r"out=.*file.* can't be written"):
        Record(tmp_path / "file", SETTINGS, overwrite=False)
