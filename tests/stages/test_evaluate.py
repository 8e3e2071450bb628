"""Stages evaluate and compare on a tiny data set; the features are the colours of the pixels."""

import csv
import functools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.paths import ROOT
from helpers.small_runs import RGB, config, only, run
from PIL import Image

from hypercolumns import HypercolumnsError
from hypercolumns.data import shapes
from hypercolumns.runs.results import Results
from hypercolumns.runtime import distributed
from hypercolumns.settings import training
from hypercolumns.settings.schema import taken
from hypercolumns.stages import run_stage
from hypercolumns.stages.predict import predict
from hypercolumns.visualization.panels import panels

MODEL = "runs/shapes/rgb/pretrain/latest/model.safetensors"
VOC = "data/shapes-v1-seed0-40+3/VOCdevkit/VOC2012"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a pretrained model and the masks that the model predicts."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
        run("pretrain")
        predict(config("predict", f"model={MODEL}", f"images={VOC}/JPEGImages", "out=predicted"))
        Path("classes.txt").write_text("\n".join(shapes("data", train_images=40, val_images=3).classes))
    return place


@pytest.fixture(autouse=True)
def place(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def figures(path):
    return json.loads((path / "metrics.json").read_text())


class TestModel:
    def test_left_out_group_is_named(self, place, capsys):
        run("evaluate", f"model={MODEL}", "data.group_pattern='(\\d)$'", "data.val_group='0'")
        assert figures(only(place, "runs/shapes/rgb/evaluate/*"))["evaluated"]["val_group"] == "0"
        assert "left-out (0) images" in " ".join(capsys.readouterr().out.split())

    def test_metrics_equal_those_of_training(self, place):
        miou = run("evaluate", f"model={MODEL}")
        folder = only(place, "runs/shapes/rgb/evaluate/*")
        metrics, of_training = figures(folder), figures(place / Path(MODEL).parent)
        assert miou == metrics["miou"] == of_training["miou"]
        for name in ("per_class_iou", "boundary_miou", "baseline", "pixels", "intervals", "images"):
            assert metrics[name] == of_training[name]
        assert metrics["evaluated"]["split"] == "val"
        assert (folder.parent / "latest").resolve() == folder
        names = {path.name for path in folder.iterdir()}
        pictures = {"confusion.png", "panels.png"}
        tables = {"metrics.json", "metrics.csv", "confusion.csv", "images.npz"}
        names -= {"changes.patch"}  # written if the checkout has uncommitted changes
        assert names == pictures | tables | {"config.yaml", "environment.json", "run.json"}

    @pytest.mark.parametrize("with_counts", [True, False])
    def test_missing_figure_is_computed_on_repeat(self, place, with_counts):
        run("evaluate", f"model={MODEL}")
        folder = only(place, "runs/shapes/rgb/evaluate/*")
        before, table = figures(folder), (folder / "metrics.csv").read_text()
        lacking = {name: value for name, value in before.items() if name != "boundary_miou_present"}
        (folder / "metrics.json").write_text(json.dumps(lacking))
        (folder / "metrics.csv").write_text("of an older version")
        if not with_counts:
            (folder / "images.npz").unlink()
        assert run("evaluate", f"model={MODEL}") == before["miou"]
        assert figures(folder) == before
        assert (folder / "metrics.csv").read_text() == table

    def test_tables_agree_with_metrics(self, place):
        run("evaluate", f"model={MODEL}")
        folder = only(place, "runs/shapes/rgb/evaluate/*")
        with (folder / "confusion.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        counts = np.array([row[1:] for row in rows], int)
        metrics = figures(folder)
        assert header[1:] == [row[0] for row in rows] == list(metrics["per_class_iou"])
        assert counts.sum() == metrics["pixels"]
        assert counts.trace() / counts.sum() == pytest.approx(metrics["pixel_accuracy"])
        with np.load(folder / "images.npz") as arrays:
            assert (arrays["all_pixels"].sum(0) == counts).all()
            assert list(arrays["ids"]) == ["val_00000", "val_00001", "val_00002"]
        with (folder / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert float(rows[0]["iou"]) == metrics["per_class_iou"]["background"]
        assert float(rows[1]["accuracy"]) == metrics["per_class_accuracy"]["disc"]
        assert float(rows[1]["boundary_iou"]) == metrics["boundary_per_class_iou"]["disc"]
        low, high = metrics["intervals"]["per_class_iou"]["background"]
        assert (float(rows[0]["iou_low"]), float(rows[0]["iou_high"])) == (low, high)
        assert [row["class"] for row in rows[-2:]] == ["(mean)", "(mean of classes in masks)"]
        assert float(rows[-2]["boundary_iou"]) == metrics["boundary_miou"]
        for name, metric in (("iou", "miou_present"), ("boundary_iou", "boundary_miou_present")):
            assert float(rows[-1][name]) == metrics[metric]
            ends = [float(rows[-1][f"{name}_low"]), float(rows[-1][f"{name}_high"])]
            assert ends == metrics["intervals"][metric]

    def test_split_selects_the_images(self, place):
        run("evaluate", f"model={MODEL}", "split=train")
        assert figures(only(place, "runs/shapes/rgb/evaluate/*"))["images"] == 40
        with pytest.raises(HypercolumnsError, match=r"split=test is not a split of data .*; choose one of train"):
            run("evaluate", f"model={MODEL}", "split=test")

    def test_each_scoring_setting_makes_its_own_run(self, place):
        for settings in (
            [],
            ["tta.flip=true"],
            ["tta.scales=[1,0.5]"],
            ["boundary_width=1"],
            ["trainer.precision=bf16-mixed"],
        ):
            run("evaluate", f"model={MODEL}", *settings)
        folders = [path for path in place.glob("runs/shapes/rgb/evaluate/*") if not path.is_symlink()]
        assert len(folders) == 5
        assert len({figures(folder)["boundary_pixels"] for folder in folders}) == 2
        assert len({figures(folder)["miou"] for folder in folders}) > 2

    def test_finished_run_only_updates_intervals(self, place):
        run("evaluate", f"model={MODEL}")
        folder = only(place, "runs/shapes/rgb/evaluate/*")
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        run("evaluate", f"model={MODEL}")
        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
        run("evaluate", f"model={MODEL}", "group_pattern='0000[01]|2'", "bootstrap_samples=50")
        changed = {path.name for path in before if path.stat().st_mtime_ns != before[path]}
        assert changed == {"metrics.json", "metrics.csv"}
        metrics = figures(folder)["intervals"]
        assert (metrics["draws"], metrics["drawn_from"], metrics["groups"]) == (50, 3, "0000[01]|2")

    def test_printed_table_shows_intervals(self, place, capsys):
        run("evaluate", f"model={MODEL}")
        metrics = figures(only(place, "runs/shapes/rgb/evaluate/*"))
        low, high = metrics["intervals"]["miou"]
        output = capsys.readouterr().out
        between = "{:.3f} to {:.3f}".format(*metrics["intervals"]["per_class_iou"]["background"])
        assert re.search(rf"background .*{between}", output)
        assert re.search(rf"mean \(mIoU\).*{metrics['miou']:.3f}.*{low:.3f} to {high:.3f}", output)
        assert "95% intervals: bootstrap over 3 images" in output

    def test_conflicting_inputs_are_refused(self):
        for settings in ([], [f"model={MODEL}", "predictions=predicted"]):
            with pytest.raises(HypercolumnsError, match=r"stage=evaluate needs either model=.* or predictions="):
                run("evaluate", *settings)
        with pytest.raises(HypercolumnsError, match="masks= needs predictions="):
            run("evaluate", f"model={MODEL}", "masks=m")
        with pytest.raises(HypercolumnsError, match=r"boundary_width=0 must be a whole number of at least 1"):
            run("evaluate", f"model={MODEL}", "boundary_width=0")

    def test_more_processes_than_images_are_refused(self, monkeypatch):
        monkeypatch.setattr(distributed, "launch", lambda cfg: None)
        with pytest.raises(HypercolumnsError, match=r"trainer\.devices=4: 4 processes can't share 3 images; use"):
            run("evaluate", f"model={MODEL}", "trainer.devices=4")

    def test_bad_group_pattern_is_refused_early(self, place):
        message = r"group(s|_pattern)=. (is not a regular|does not match image id val_00000)"
        for pattern in ("(", "9"):
            with pytest.raises(HypercolumnsError, match=message):
                run("evaluate", f"model={MODEL}", f"group_pattern='{pattern}'")
        assert not list(place.glob("runs/shapes/rgb/evaluate/*/images.npz"))

    def test_wrong_settings_are_refused(self):
        for setting, message in (
            ("tta=1", r"tta=1 must be a group .*; set tta\.scales=\[0\.75,1\] or tta\.flip="),
            ("+tta.foo=1", "tta=.* must be"),
            ("trainer.precision=foo", "trainer.precision=foo must be 32-true, bf16-mixed or 16-mixed"),
            ("bootstrap_samples=-1", "bootstrap_samples=-1 must be a whole number of at least 0"),
            ("group_pattern=[a-z]", "group_pattern=.* must be a regular expression"),
        ):
            with pytest.raises(HypercolumnsError, match=message):
                run("evaluate", f"model={MODEL}", setting)

    def test_other_classes_are_refused(self, place):
        settings = ["data=voc", f"data.root={Path(VOC).parents[1]}", "stage=evaluate", f"model={MODEL}"]
        settings.append("data.missing_classes=allow")
        with pytest.raises(
            HypercolumnsError,
            match=r"has the classes background, disc, .*, but data voc2012 has the classes background, aero",
        ):
            run_stage(config("train", *settings))


class TestMasks:
    def test_predicted_masks_score_as_the_model(self, place, monkeypatch):
        monkeypatch.setattr(training, "Results", functools.partial(Results, panels=panels))
        miou = run("evaluate", "predictions=predicted")
        folder = only(place, "runs/shapes/predictions/evaluate/*")
        assert miou == figures(place / Path(MODEL).parent)["miou"]
        with Image.open(folder / "panels.png") as picture:
            assert picture.width > 4 * 300

    def test_masks_alone_can_be_scored(self, place):
        settings = ["predictions=predicted", f"masks={VOC}/SegmentationClass", "data.classes=classes.txt"]
        run_stage(config("train", "stage=evaluate", "data=folder", "data.name=mine", *settings))
        metrics = figures(only(place, "runs/mine/predictions/evaluate/*"))
        assert metrics["images"] == 43
        run("evaluate", "predictions=predicted", "split=train")
        of_train = figures(place / "runs/shapes/predictions/evaluate/latest")
        run("evaluate", "predictions=predicted")
        of_val = figures(place / "runs/shapes/predictions/evaluate/latest")
        assert metrics["pixels"] == of_train["pixels"] + of_val["pixels"]

    def test_class_that_is_only_predicted(self, place, capsys):
        """One wrong pixel of 32,768 is of a class that no mask has."""
        for folder in ("predicted_masks", "true_masks"):
            (place / folder).mkdir()
            labels = np.arange(128, dtype=np.uint8)[None].repeat(256, 0) // 64
            labels[0, 0] = 2 if folder == "predicted_masks" else 0
            Image.fromarray(labels).save(place / folder / "a.png")
        settings = ["stage=evaluate", "predictions=predicted_masks", "masks=true_masks", "data=folder"]
        settings += ["data.classes=[sky,sea,gull,crab]", "data.name=shore", "data.missing_classes=allow"]
        run_stage(config("train", *settings))
        folder = only(place, "runs/shore/predictions/evaluate/*")
        metrics = figures(folder)
        assert metrics["miou"] == pytest.approx((16383 / 16384 + 1 + 0) / 3)
        assert metrics["miou_present"] == pytest.approx((16383 / 16384 + 1) / 2)
        output = capsys.readouterr().out
        assert re.search(r"mean \(mIoU\).* 0\.667 .*\n.*mean, classes in masks.* 1\.000 ", output)
        line = (
            "gull: in predictions but in no mask, so the IoU is 0. The mIoU includes it, as Pascal VOC defines it: the "
            "mean over the classes in masks or predictions. The mean over the classes in masks is 1.000 (miou_present)"
        )
        assert line in " ".join(output.split())
        run_stage(config("train", "stage=compare", f"evaluation={folder}", f"baseline={folder}"))
        output = " ".join(capsys.readouterr().out.split())
        assert f"evaluation: {line} baseline: {line}" in output
        assert "mIoU of classes in masks │ 1.000 │ 1.000 │ +0.000" in output

    def test_true_masks_may_hold_other_values(self, place):
        """Predicted masks hold class indices, whatever the values of the true masks are."""
        for folder, value in (("predicted_masks", 1), ("true_masks", 255)):
            (place / folder).mkdir()
            for number in range(2):
                labels = np.zeros((4, 6), np.uint8)
                labels[:, 3 + number :] = value
                Image.fromarray(labels).save(place / folder / f"{number}.png")
        settings = ["stage=evaluate", "predictions=predicted_masks", "masks=true_masks", "data=folder"]
        settings += ["data.classes=[ground,object]", "data.name=binary"]
        with pytest.raises(HypercolumnsError, match="only the values 0 and 255"):
            run_stage(config("train", *settings))
        run_stage(config("train", *settings, "data.map={255: object}", "data.void=none"))
        assert figures(only(place, "runs/binary/predictions/evaluate/*"))["miou"] == 1

    def test_wrong_mask_settings_are_refused(self, place):
        masks = ["stage=evaluate", f"masks={VOC}/SegmentationClass"]
        for settings, message in (
            (["predictions=none"], "predictions=none is not a folder"),
            (
                ["predictions=predicted", "masks=predicted/..", "data=voc"],
                r"masks.* hold colours that are no class's|are missing",
            ),
            (["predictions=predicted", "data=folder"], "masks= needs the names of the classes; give data.classes="),
            (["predictions=predicted", "data=shapes"], "masks= needs the names of the classes"),
        ):
            with pytest.raises(HypercolumnsError, match=message):
                run_stage(config("train", *masks, *settings))
        (place / "empty").mkdir()
        with pytest.raises(HypercolumnsError, match=r"masks=empty holds no \.png or"):
            run_stage(config("train", "stage=evaluate", "predictions=predicted", "masks=empty"))

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda labels: None, r"1 files of the val split are missing: .*val_00001\.png"),
            (
                lambda labels: labels[:-1],
                r"val_00001\.png is \d+x\d+, but the true mask .* is \d+x\d+; the predicted mask must",
            ),
            (
                lambda labels: np.full_like(labels, 255),
                r"pixels are void \(255\) in this file, but labelled in the true mask; predict",
            ),
            (lambda labels: labels + 6, r"have labels that are not a class"),
        ],
    )
    def test_invalid_predicted_mask_is_named(self, place, spoil, message):
        path = place / "predicted" / "val_00001.png"
        labels = spoil(np.array(Image.open(path)))
        path.unlink()
        if labels is not None:
            Image.fromarray(labels).save(path)
        with pytest.raises(HypercolumnsError, match=message):
            run("evaluate", "predictions=predicted", "num_workers=0")


class TestCompare:
    def test_difference_of_two_runs_has_an_interval(self, place, capsys):
        run("evaluate", f"model={MODEL}")
        first = only(place, "runs/shapes/rgb/evaluate/*")
        run("pretrain", "classifier.hidden=2")
        second = (place / Path(MODEL).parent).resolve()
        folder = run_stage(config("train", "stage=compare", f"evaluation={first}", f"baseline={second}/metrics.json"))
        assert folder is None
        result = json.loads(only(place, "runs/comparisons/*/comparison.json").read_text())
        difference = figures(first)["miou"] - figures(second)["miou"]
        assert result["difference"]["miou"] == pytest.approx(difference)
        low, high = result["intervals"]["miou"]
        output = capsys.readouterr().out
        assert f"{difference:+.3f} (95% interval {low:+.3f} to {high:+.3f}, bootstrap over 3 images" in output
        with only(place, "runs/comparisons/*/comparison.csv").open(newline="") as file:
            rows = {row["figure"]: row for row in csv.DictReader(file)}
        assert float(rows["mIoU"]["difference"]) == pytest.approx(difference)
        assert float(rows["boundary IoU of disc"]["baseline"]) == figures(second)["boundary_per_class_iou"]["disc"]

    def test_scored_predictions_can_be_compared(self, place):
        masks = Path(VOC) / "SegmentationClass"
        for adaptive in ("true", "false"):
            settings = [
                f"images={VOC}/JPEGImages",
                f"masks={masks}",
                f"out=adaptive_{adaptive}",
                f"adaptive={adaptive}",
            ]
            predict(config("predict", f"model={MODEL}", *settings))
        run_stage(config("train", "stage=compare", "evaluation=adaptive_true", "baseline=adaptive_false"))

    def test_new_prediction_removes_old_metrics(self, place):
        images = [f"model={MODEL}", f"images={VOC}/JPEGImages/val_00000.jpg"]
        predict(config("predict", *images, f"masks={VOC}/SegmentationClass", "out=scored"))
        assert (place / "scored/images.npz").is_file()
        predict(config("predict", *images, "out=scored"))
        assert not (place / "scored/images.npz").exists()
        assert not (place / "scored/metrics.json").exists()
        (place / "own").mkdir()
        (place / "own/images.npz").write_text("unrelated")
        predict(config("predict", *images, "out=own"))
        assert (place / "own/images.npz").read_text() == "unrelated"
        with pytest.raises(HypercolumnsError, match="is the folder of a run, and outputs would replace files"):
            predict(config("predict", *images, f"out={Path(MODEL).parent}"))

    def test_missing_inputs_are_refused(self, place):
        with pytest.raises(HypercolumnsError, match=r"stage=compare needs evaluation=<.*> and baseline=<"):
            run_stage(config("train", "stage=compare", "evaluation=predicted"))
        with pytest.raises(
            HypercolumnsError, match=r"evaluation=predicted holds no images\.npz; give the folder of a run"
        ):
            run_stage(config("train", "stage=compare", "evaluation=predicted", "baseline=predicted"))


@pytest.mark.slow(seconds=50)
def test_any_number_of_processes_has_same_counts(tmp_path, monkeypatch):
    """Scoring seven images in one process and in three gives equal counts in the same order.

    A damaged mask that the second of two processes reads then ends the command with one line.
    """
    monkeypatch.chdir(tmp_path)
    counts = []
    base = [argument for argument in taken("evaluate", RGB) if "val_images" not in argument]
    arguments = [sys.executable, str(ROOT / "train.py"), *base, "data.val_images=7"]
    for stage in ("extract", "pretrain"):
        run(stage, "data.val_images=7")
    for devices in (1, 3):
        settings = [f"model={MODEL}", f"trainer.devices={devices}", "num_workers=1", "overwrite=true"]
        if devices == 1:
            run("evaluate", "data.val_images=7", *settings)
        else:
            done = subprocess.run(
                [*arguments, "stage=evaluate", *settings], cwd=tmp_path, check=False, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-3000:]
            assert done.stdout.count("mean (mIoU)") == 1
        with np.load(only(tmp_path, "runs/shapes/rgb/evaluate/*") / "images.npz") as arrays:
            counts.append(dict(arrays))
    (mask,) = tmp_path.glob("data/*+7/VOCdevkit/VOC2012/SegmentationClass/val_00001.png")
    mask.write_bytes(mask.read_bytes()[:-20])  # the header stays intact
    settings = ["stage=evaluate", f"model={MODEL}", "trainer.devices=2", "overwrite=true"]
    done = subprocess.run([*arguments, *settings], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"error: {mask.relative_to(tmp_path)} can't be decoded" in done.stderr
    assert len(counts[0]["ids"]) == 7
    for other in counts[1:]:
        for name, array in counts[0].items():
            assert np.array_equal(array, other[name])
