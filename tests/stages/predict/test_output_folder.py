"""predict.py with an output folder that already contains files."""

import json
import os

import numpy as np
import pytest
from helpers.predictions import files, predict, read
from PIL import Image

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.prediction import outputs as outputs_module


def test_second_run_does_only_missing_outputs(photos, place):
    predict("images=photos", "out=out")
    out = place / "out"
    before = {name: (out / name).stat().st_mtime_ns for name in files(out)}
    fractions = (out / "class_fractions.csv").read_text()
    (out / "a.png").unlink()  # a deleted output
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photos / "x.png")  # a changed image
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join([*lines[:-1], lines[-1][:40]]))  # a line cut short by a kill
    last = json.loads(lines[-1])["name"]
    assert last == "x.png"
    assert predict("images=photos", "out=out") == 0
    again = {name for name in before if (out / name).stat().st_mtime_ns != before[name]}
    assert again == {"a.png", "x.png.png", "x.png.overlay.jpg", "class_fractions.csv", "predictions.jsonl"}
    assert (out / "class_fractions.csv").read_text().splitlines()[:-1] == fractions.splitlines()[:-1]
    assert predict("images=photos", "out=out", "overwrite=true") == 0
    assert all((out / name).stat().st_mtime_ns != before[name] for name in before)


def test_other_settings_need_overwrite(photos, place):
    predict("images=photos/a.jpg", "out=out", "outputs.color_mask=true")
    message = r"out=out holds predictions made with other settings \(tta: .* before, .* now"
    with pytest.raises(HypercolumnsError, match=message):
        predict("images=photos/a.jpg", "out=out", "tta.flip=true")
    predict("images=photos/a.jpg", "out=out", "tta.flip=true", "overwrite=true")
    predict("images=photos/a.jpg", "out=out", "tta.flip=true", "outputs.color_mask=true")  # replaces the colour mask
    colours = np.array(Segmenter.load("model.safetensors").palette, np.uint8)[read(place / "out" / "a.png")]
    assert (read(place / "out" / "a.color_mask.png") == colours).all()


def test_other_opacity_redraws_only_overlays(photos, place):
    predict("images=photos/a.jpg", "out=out")
    mask, overlay = ((place / "out" / name) for name in ("a.png", "a.overlay.jpg"))
    before = mask.stat().st_mtime_ns, overlay.read_bytes()
    predict("images=photos/a.jpg", "out=out", "opacity=0.2")
    assert mask.stat().st_mtime_ns == before[0]
    assert overlay.read_bytes() != before[1]


def test_other_image_of_same_name_is_refused(photos, place):
    (place / "others").mkdir()
    (place / "others" / "a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    predict("images=photos/a.jpg", "out=out")
    with pytest.raises(HypercolumnsError, match=r"holds the prediction of .*photos/a\.jpg under the name a; choose"):
        predict("images=others/a.jpg", "out=out")
    predict("images=others/a.jpg", "out=out", "overwrite=true")


def test_stopped_prediction_writes_its_table(photos, place, monkeypatch):
    def stop(path, *rest):
        if "one" in str(path):
            raise KeyboardInterrupt
        mask.write(path, *rest)

    mask = outputs_module.OUTPUTS["mask"]
    monkeypatch.setitem(outputs_module.OUTPUTS, "mask", mask._replace(write=stop))
    with pytest.raises(KeyboardInterrupt):
        predict("images=photos", "out=out", "num_workers=0")
    assert [line.split(",")[0] for line in (place / "out/class_fractions.csv").read_text().splitlines()] == [
        "image",
        "a",
        "deep/b c",
    ]


def test_write_failure_stops_then_resumes(photos, place, monkeypatch):
    def fail(path, *rest):
        if "deep" in str(path):
            raise HypercolumnsError(f"{path} can't be written (no space left)")
        mask.write(path, *rest)

    mask = outputs_module.OUTPUTS["mask"]
    monkeypatch.setitem(outputs_module.OUTPUTS, "mask", mask._replace(write=fail))
    with pytest.raises(HypercolumnsError, match="no space left"):
        predict("images=photos", "out=out")
    monkeypatch.undo()
    os.chdir(place)
    before = (place / "out" / "a.png").stat().st_mtime_ns
    assert predict("images=photos", "out=out") == 0
    assert (place / "out" / "a.png").stat().st_mtime_ns == before


def test_input_images_are_never_overwritten(photos):
    before = (photos / "x.png").read_bytes()
    with pytest.raises(HypercolumnsError, match=r"out=photos would overwrite the input .*x\.png"):
        predict("images=photos/x.png", "out=photos", "overwrite=true")
    assert (photos / "x.png").read_bytes() == before


def test_originals_next_to_outputs_are_kept(photos, place):
    predict("images=photos/a.jpg", "out=photos")
    before = (photos / "x.png").read_bytes()
    with pytest.raises(HypercolumnsError, match=r"photos/x\.png exists, but predictions\.jsonl does not list it"):
        predict("images=photos/x.jpg", "out=photos")
    assert (photos / "x.png").read_bytes() == before
    assert predict("images='photos/a*'", "out=photos") == 0  # the pattern also matches two outputs, which are skipped
    assert len((photos / "class_fractions.csv").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "other"), [("class_fractions.csv", "outputs.class_fractions=true"), ("metrics.json", "masks=truth")]
)
def test_foreign_tables_are_not_replaced(photos, place, name, other):
    predict("images=photos/a.jpg", "out=truth")
    (place / "mine").mkdir()
    (place / "mine" / name).write_text("[1]")
    for _ in range(2):
        with pytest.raises(HypercolumnsError, match=f"mine/{name} would be replaced; choose another out="):
            predict("images=photos/a.jpg", "out=mine", other)
        assert (place / "mine" / name).read_text() == "[1]"


def test_true_masks_are_not_replaced(photos, place):
    predict("images=photos/a.jpg", "out=truth")
    with pytest.raises(HypercolumnsError, match=r"out=truth would overwrite the input .*truth/a\.png"):
        predict("images=photos/a.jpg", "out=truth", "masks=truth", "overwrite=true")


def test_foreign_masks_are_not_replaced(photos, place):
    (place / "truth").mkdir()
    (place / "truth" / "a.png").write_bytes(b"mine")
    with pytest.raises(HypercolumnsError, match=r"truth/a\.png exists, but predictions\.jsonl does not list it"):
        predict("images=photos/a.jpg", "out=truth")
    assert (place / "truth" / "a.png").read_bytes() == b"mine"
