import json

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.prediction import Record

SETTINGS = {"model": "abc", "opacity": 0.5}
ORIGIN = {"source": "/a.jpg", "bytes": 3, "modified": 5}


def test_what_was_added_is_known_when_it_is_opened_again(tmp_path):
    record = Record(tmp_path, SETTINGS, overwrite=False)
    assert not record.has("a", ORIGIN)
    record.add("a", ORIGIN, [1, 2])
    record.add("b", None, [4, 0])
    for known in (record, Record(tmp_path, SETTINGS, overwrite=False)):
        assert known.has("a", ORIGIN)
        assert not known.has("a", {**ORIGIN, "modified": 6})
        assert not known.has("b", None)  # what comes from a stream is new each time
        assert known.counts == {"a": [1, 2], "b": [4, 0]}
    assert not Record(tmp_path, SETTINGS, overwrite=True).has("a", ORIGIN)


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    record = Record(tmp_path, SETTINGS, overwrite=False)
    record.add("a", ORIGIN, [1, 2])
    record.add("b", ORIGIN, [1, 2])
    text = record.path.read_text()
    for length in range(len(text) - 1):
        record.path.write_text(text[:length])
        if length < text.index("\n"):
            with pytest.raises(HypercolumnsError, match=r"predictions\.jsonl is not the record of predictions"):
                Record(tmp_path, SETTINGS, overwrite=False)
            continue
        again = Record(tmp_path, SETTINGS, overwrite=False)
        assert not again.has("b", ORIGIN) or length == len(text) - 1
        again.add("c", ORIGIN, [3, 3])
        assert json.loads(again.path.read_text().splitlines()[-1])["name"] == "c"


def test_other_settings_are_named(tmp_path):
    Record(tmp_path, SETTINGS, overwrite=False)
    with pytest.raises(HypercolumnsError, match=r"made otherwise \(model abc there, def now\); choose another folder"):
        Record(tmp_path, {**SETTINGS, "model": "def"}, overwrite=False)
