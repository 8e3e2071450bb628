import json

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.prediction import PredictionManifest

SETTINGS = {"model": "abc", "tta": [[1.0], False]}
ORIGIN = {"source": "/a.jpg", "bytes": 3, "modified": 5}
STREAM = {"source": "rtsp://1", "stream": True}
MASK, BOTH = {"mask": True}, {"mask": True, "overlay": [0.5, True]}


def opened(folder, outputs=MASK, settings=SETTINGS, overwrite=False):
    record = PredictionManifest(folder, settings, outputs, overwrite)
    record.start()
    return record


def write(record, name, origin=ORIGIN, pixels=(1, 2)):
    record.begin(name, origin)
    for kind in record.missing(name, origin):
        record.path(name, kind).parent.mkdir(exist_ok=True)
        record.path(name, kind).touch()
    record.add(name, origin, pixels)


def test_what_was_added_is_known_when_it_is_opened_again(tmp_path):
    with opened(tmp_path) as record:
        assert not record.is_done("a", ORIGIN)
        write(record, "a")
        write(record, "b", STREAM, [4, 0])
    for _ in range(2):
        with record:
            assert record.is_done("a", ORIGIN)
            assert not record.is_done("a", {**ORIGIN, "modified": 6})
            assert not record.is_done("b", STREAM)  # what comes from a stream is new each time
            assert record.pixels("a") == [1, 2]
        record = opened(tmp_path)
    assert not record.is_new
    with record:
        (tmp_path / "a.png").unlink()
        assert not record.is_done("a", ORIGIN)


def test_outputs_are_known_one_by_one(tmp_path):
    with opened(tmp_path) as record:
        write(record, "a")
    with opened(tmp_path, BOTH) as record:
        assert record.missing("a", ORIGIN) == ["overlay"]
        write(record, "a")
    with opened(tmp_path, BOTH) as record:
        assert record.is_done("a", ORIGIN)
    with opened(tmp_path, {"mask": True, "overlay": [0.7, True]}) as record:
        assert record.missing("a", ORIGIN) == ["overlay"]
    changed = {**ORIGIN, "modified": 6}
    with opened(tmp_path) as record:
        write(record, "a", changed)
        assert not (tmp_path / "a.overlay.jpg").exists()  # which was of the image before
    with opened(tmp_path, BOTH) as record:
        assert record.missing("a", changed) == ["overlay"]


def test_what_was_overwritten_does_not_count(tmp_path):
    with opened(tmp_path, BOTH) as record:
        write(record, "a")
    other = {**SETTINGS, "model": "def"}
    with opened(tmp_path, MASK, other, overwrite=True) as record:
        assert not record.is_done("a", ORIGIN)
        write(record, "a")
        assert not (tmp_path / "a.overlay.jpg").exists()  # which was of the other model
    with opened(tmp_path, BOTH, other) as record:
        assert record.missing("a", ORIGIN) == ["overlay"]
        record.check("a", ORIGIN)


def test_overwriting_one_image_leaves_the_others(tmp_path):
    with opened(tmp_path, BOTH) as record:
        write(record, "a")
        write(record, "b")
    with opened(tmp_path, overwrite=True) as record:
        assert not record.is_done("a", ORIGIN)
        write(record, "a")
        assert record.is_done("a", ORIGIN)
    with opened(tmp_path, BOTH) as record:
        assert record.is_done("a", ORIGIN)
        assert record.is_done("b", ORIGIN)


def test_nothing_is_written_before_the_start(tmp_path):
    for _ in range(2):
        with PredictionManifest(tmp_path, SETTINGS, MASK, overwrite=False) as record:
            assert record.is_new
        assert not list(tmp_path.iterdir())


def test_streams_are_not_mixed(tmp_path):
    with opened(tmp_path) as record:
        write(record, "stream/000000", STREAM)
        for again in (STREAM, {**STREAM, "source": "rtsp://2"}):
            with pytest.raises(HypercolumnsError, match="holds what was predicted of rtsp://1 under the name stream"):
                record.check("stream/000000", again)


def test_what_a_kill_has_cut_off_does_not_count(tmp_path):
    with opened(tmp_path) as record:
        write(record, "a")
        write(record, "b")
    text = (tmp_path / "predictions.jsonl").read_text()
    for length in range(text.index("\n"), len(text) - 1, 7):
        (tmp_path / "predictions.jsonl").write_text(text[:length])
        with opened(tmp_path) as again:
            assert not again.is_done("b", ORIGIN)
            write(again, "c")
        lines = (tmp_path / "predictions.jsonl").read_text().splitlines()
        assert json.loads(lines[-1])["name"] == "c"
        (tmp_path / "c.png").unlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_a_kill_has_left_is_removed_and_nothing_else(tmp_path, overwrite):
    with opened(tmp_path) as record:
        record.begin("a[1]", ORIGIN)
    left, others = tmp_path / ".a[1].png.0123abcd.tmp", tmp_path / ".mine.tmp"
    left.touch()
    others.touch()
    with opened(tmp_path, overwrite=overwrite) as record:
        assert not left.exists()
        assert others.exists()
        record.path("a[1]", "mask").touch()
        record.check("a[1]", ORIGIN)  # it is ours


def test_files_of_others_are_not_replaced(tmp_path):
    with opened(tmp_path) as record:
        write(record, "b")
        (tmp_path / "a.png").touch()
        with pytest.raises(HypercolumnsError, match=r"a\.png is there, and predictions\.jsonl does not list it"):
            record.check("a", ORIGIN)
        for origin in ({**ORIGIN, "source": "/other/b.jpg"}, None):
            with pytest.raises(HypercolumnsError, match=r"holds what was predicted of /a\.jpg under the name b;"):
                record.check("b", origin)
        record.check("b", {**ORIGIN, "modified": 8})
    with opened(tmp_path, overwrite=True) as record:
        record.check("a", ORIGIN)


@pytest.mark.parametrize("text", ["", "{", "[1]\n", "no record", "{}\n{}\n"])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "predictions.jsonl").write_text(text)
    for overwrite in (False, True):
        with pytest.raises(HypercolumnsError, match=r"predictions\.jsonl is not the record of predictions; remove it"):
            PredictionManifest(tmp_path, SETTINGS, MASK, overwrite)


def test_other_settings_are_named(tmp_path):
    with opened(tmp_path):
        pass
    for _ in range(2):  # what was refused does not stay locked
        with pytest.raises(HypercolumnsError, match=r"made otherwise \(model abc there, def now\); choose"):
            opened(tmp_path, settings={**SETTINGS, "model": "def"})


def test_one_at_a_time(tmp_path):
    with opened(tmp_path), pytest.raises(HypercolumnsError, match="is being written by another process"):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_a_record_that_cant_be_written_is_named(tmp_path):
    with opened(tmp_path) as record:
        (tmp_path / "predictions.jsonl").unlink()
        with pytest.raises(HypercolumnsError, match=r"predictions\.jsonl can't be written \(.*No such file"):
            record.begin("a", ORIGIN)


def test_a_folder_that_cant_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HypercolumnsError, match=r"out=.*file.* can't be written"):
        opened(tmp_path / "file")
