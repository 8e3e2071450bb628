"""The record of predictions: what counts as done, what may be replaced, and what a kill leaves behind."""

import json

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.prediction import PredictionManifest

SETTINGS = {"model": "abc", "tta": [[1.0], False]}
ORIGIN = {"source": "/a.jpg", "bytes": 3, "modified": 5}
STREAM = {"source": "rtsp://1", "stream": True}
MASK, BOTH = {"mask": True}, {"mask": True, "overlay": [0.5, True]}


def opened(folder, outputs=MASK, settings=SETTINGS, overwrite=False):
    manifest = PredictionManifest(folder, settings, outputs, overwrite)
    manifest.start()
    return manifest


def write(manifest, name, origin=ORIGIN, pixels=(1, 2)):
    manifest.begin(name, origin)
    for kind in manifest.missing(name, origin):
        manifest.path(name, kind).parent.mkdir(exist_ok=True)
        manifest.path(name, kind).touch()
    manifest.add(name, origin, pixels)


def test_reopened_manifest_knows_what_is_done(tmp_path):
    with opened(tmp_path) as manifest:
        assert not manifest.is_done("a", ORIGIN)
        write(manifest, "a")
        write(manifest, "b", STREAM, [4, 0])
    for _ in range(2):
        with manifest:
            assert manifest.is_done("a", ORIGIN)
            assert not manifest.is_done("a", {**ORIGIN, "modified": 6})
            assert not manifest.is_done("b", STREAM)  # the content of a stream is new in every run
            assert manifest.pixels("a") == [1, 2]
        manifest = opened(tmp_path)
    assert not manifest.is_new
    with manifest:
        (tmp_path / "a.png").unlink()
        assert not manifest.is_done("a", ORIGIN)


def test_each_output_is_tracked_separately(tmp_path):
    with opened(tmp_path) as manifest:
        write(manifest, "a")
    with opened(tmp_path, BOTH) as manifest:
        assert manifest.missing("a", ORIGIN) == ["overlay"]
        write(manifest, "a")
    with opened(tmp_path, BOTH) as manifest:
        assert manifest.is_done("a", ORIGIN)
    with opened(tmp_path, {"mask": True, "overlay": [0.7, True]}) as manifest:
        assert manifest.missing("a", ORIGIN) == ["overlay"]
    changed = {**ORIGIN, "modified": 6}
    with opened(tmp_path) as manifest:
        write(manifest, "a", changed)
        assert not (tmp_path / "a.overlay.jpg").exists()  # it was made from the earlier image
    with opened(tmp_path, BOTH) as manifest:
        assert manifest.missing("a", changed) == ["overlay"]


def test_overwritten_outputs_are_removed(tmp_path):
    with opened(tmp_path, BOTH) as manifest:
        write(manifest, "a")
    other = {**SETTINGS, "model": "def"}
    with opened(tmp_path, MASK, other, overwrite=True) as manifest:
        assert not manifest.is_done("a", ORIGIN)
        write(manifest, "a")
        assert not (tmp_path / "a.overlay.jpg").exists()  # it was made with the other model
    with opened(tmp_path, BOTH, other) as manifest:
        assert manifest.missing("a", ORIGIN) == ["overlay"]
        manifest.check("a", ORIGIN)


def test_overwriting_one_image_keeps_the_others(tmp_path):
    with opened(tmp_path, BOTH) as manifest:
        write(manifest, "a")
        write(manifest, "b")
    with opened(tmp_path, overwrite=True) as manifest:
        assert not manifest.is_done("a", ORIGIN)
        write(manifest, "a")
        assert manifest.is_done("a", ORIGIN)
    with opened(tmp_path, BOTH) as manifest:
        assert manifest.is_done("a", ORIGIN)
        assert manifest.is_done("b", ORIGIN)


def test_nothing_is_written_before_start(tmp_path):
    for _ in range(2):
        with PredictionManifest(tmp_path, SETTINGS, MASK, overwrite=False) as manifest:
            assert manifest.is_new
        assert not list(tmp_path.iterdir())


def test_stream_does_not_replace_another_stream(tmp_path):
    with opened(tmp_path) as manifest:
        write(manifest, "stream/000000", STREAM)
        for again in (STREAM, {**STREAM, "source": "rtsp://2"}):
            with pytest.raises(
                HypercolumnsError, match="already holds the prediction of rtsp://1 under the name stream"
            ):
                manifest.check("stream/000000", again)


def test_truncated_last_line_does_not_count(tmp_path):
    with opened(tmp_path) as manifest:
        write(manifest, "a")
        write(manifest, "b")
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
def test_start_removes_only_own_temporaries(tmp_path, overwrite):
    with opened(tmp_path) as manifest:
        manifest.begin("a[1]", ORIGIN)
    own, foreign = tmp_path / ".a[1].png.0123abcd.tmp", tmp_path / ".mine.tmp"
    own.touch()
    foreign.touch()
    with opened(tmp_path, overwrite=overwrite) as manifest:
        assert not own.exists()
        assert foreign.exists()
        manifest.path("a[1]", "mask").touch()
        manifest.check("a[1]", ORIGIN)  # the manifest lists the file as begun


def test_foreign_files_are_not_replaced(tmp_path):
    with opened(tmp_path) as manifest:
        write(manifest, "b")
        (tmp_path / "a.png").touch()
        with pytest.raises(HypercolumnsError, match=r"a\.png exists, but predictions\.jsonl does not list it"):
            manifest.check("a", ORIGIN)
        for origin in ({**ORIGIN, "source": "/other/b.jpg"}, None):
            with pytest.raises(HypercolumnsError, match=r"already holds the prediction of /a\.jpg under the name b;"):
                manifest.check("b", origin)
        manifest.check("b", {**ORIGIN, "modified": 8})
    with opened(tmp_path, overwrite=True) as manifest:
        manifest.check("a", ORIGIN)


def test_foreign_file_next_to_done_mask_is_kept(tmp_path):
    with opened(tmp_path) as manifest:
        write(manifest, "a")
    (tmp_path / "a.overlay.jpg").touch()
    with (
        opened(tmp_path, BOTH) as manifest,
        pytest.raises(HypercolumnsError, match=r"a\.overlay\.jpg exists, but predictions\.jsonl does not list it"),
    ):
        manifest.check("a", ORIGIN)
    with opened(tmp_path, BOTH, overwrite=True) as manifest:
        manifest.check("a", ORIGIN)


@pytest.mark.parametrize("text", ["", "{", "[1]\n", "no record", "{}\n{}\n"])
def test_invalid_record_is_refused(tmp_path, text):
    (tmp_path / "predictions.jsonl").write_text(text)
    for overwrite in (False, True):
        with pytest.raises(
            HypercolumnsError, match=r"predictions\.jsonl is not a valid record of predictions; remove it"
        ):
            PredictionManifest(tmp_path, SETTINGS, MASK, overwrite)


def test_changed_settings_are_named(tmp_path):
    with opened(tmp_path):
        pass
    for _ in range(2):  # the refused folder is unlocked again
        with pytest.raises(HypercolumnsError, match=r"made with other settings \(model: abc before, def now\); choose"):
            opened(tmp_path, settings={**SETTINGS, "model": "def"})


def test_second_writer_is_refused(tmp_path):
    with (
        opened(tmp_path),
        pytest.raises(HypercolumnsError, match="is being written by another process; wait until that process ends"),
    ):
        opened(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.jsonl"]


def test_unwritable_record_is_named(tmp_path):
    with opened(tmp_path) as manifest:
        (tmp_path / "predictions.jsonl").unlink()
        with pytest.raises(HypercolumnsError, match=r"predictions\.jsonl can't be written \(.*No such file"):
            manifest.begin("a", ORIGIN)


def test_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HypercolumnsError, match=r"out=.*file.* can't be written"):
        opened(tmp_path / "file")
