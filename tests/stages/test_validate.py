"""Images that can't be used: stage validate lists them all, and data.on_bad=skip leaves them out."""

import csv
import hashlib
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.small_runs import RGB, config, only, run
from PIL import Image

from hypercolumns.data import ImageMaskPair, checks, quarantine, shapes
from hypercolumns.errors import ArgumentError, BadDataError, HypercolumnsError, UnreadableError
from hypercolumns.io.files import file_signature, read_json
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.settings import model
from hypercolumns.settings.data import checks_dir, image_index, listed_images
from hypercolumns.settings.schema import taken

BAD = {"train_00001", "train_00004", "val_00002"}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of a valid data set in VOC's layout, with 8 train and 4 val images."""
    root = tmp_path_factory.mktemp("sound")
    layout = shapes(root, train_images=8, val_images=4).splits["train"][0].image.parents[1]
    (layout / "classes.txt").write_text("background\ndisc\nbox\ntriangle\nstar\nring\nmoon\n")
    return layout.parents[1]


def files(root, id):
    layout = root / "VOCdevkit" / "VOC2012"
    return layout / "JPEGImages" / f"{id}.jpg", layout / "SegmentationClass" / f"{id}.png"


@pytest.fixture
def root(sound, tmp_path, monkeypatch):
    """A copy of the data set in the working directory; four damaged files make three images unusable."""
    monkeypatch.chdir(tmp_path)
    root = shutil.copytree(sound, tmp_path / "data")
    image, _ = files(root, "train_00001")
    image.write_bytes(image.read_bytes()[:-500])
    image, mask = files(root, "train_00004")
    image.write_bytes(b"")
    mask.unlink()
    _, mask = files(root, "val_00002")
    with Image.open(mask) as opened:
        labels = np.array(opened)
    labels[3, 5:7] = 9
    Image.fromarray(labels).save(mask)
    return root


def settings(root, *more):
    classes = root / "VOCdevkit" / "VOC2012" / "classes.txt"
    data = [
        "data=voc",
        f"data.root={root}",
        f"data.classes={classes}",
        "data.name=mine",
        "data.missing_classes=allow",
        "num_workers=0",
    ]
    return [*(text for text in RGB if not text.startswith("data")), *data, *more]


def listed(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestValidate:
    def test_report_lists_every_problem(self, root, tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(model, "backbone", None)  # the stage must not build a backbone
        with pytest.raises(
            BadDataError, match=r"data mine: 3 of 12 images can't be used, .*offenders\.csv lists"
        ) as end:
            run("validate", base=settings(root, "num_workers=1"))
        folder = tmp_path / "runs" / "mine" / "validate"
        assert str(folder.relative_to(tmp_path)) in str(end.value)
        rows = listed(folder / "offenders.csv")
        image, mask = files(root, "train_00004")
        assert [(row["split"], row["id"], row["file"]) for row in rows] == [
            ("train", "train_00001", str(files(root, "train_00001")[0])),
            ("train", "train_00004", str(mask)),
            ("train", "train_00004", str(image)),
            ("val", "val_00002", str(files(root, "val_00002")[1])),
        ]
        beginnings = [
            "can't be decoded (",
            "does not exist",
            "is empty;",
            "2 pixels have labels that are not a class (9);",
        ]
        printed = capsys.readouterr().out
        for row, beginning in zip(rows, beginnings, strict=True):
            assert row["problem"].startswith(beginning)
            assert f"{row['split']}: {row['file']} {row['problem']}\n" in printed

    def test_file_that_seems_to_be_a_mask_is_named(self, root, tmp_path, capsys):
        _, mask = files(root, "train_00004")
        Image.new("L", (4, 3)).save(mask.with_suffix(".jpg"))
        with pytest.raises(BadDataError, match="3 of 12 images"):
            run("validate", base=settings(root))
        rows = listed(tmp_path / "runs/mine/validate/offenders.csv")
        (problem,) = (row["problem"] for row in rows if row["file"] == str(mask))
        hint = f"does not exist; {mask.with_suffix('.jpg')} seems to be this mask; masks must be PNG, TIFF or BMP files"
        assert problem.startswith(hint)
        assert f"train: {mask} {problem}\n" in capsys.readouterr().out
        assert sum("seems to be" in row["problem"] for row in rows) == 1

    def test_problems_are_printed_without_a_report(self, root, tmp_path, capsys):
        (tmp_path / "runs").touch()
        with pytest.raises(HypercolumnsError, match="can't be written"):
            run("validate", base=settings(root))
        assert f"train: {files(root, 'train_00004')[0]} is empty; " in capsys.readouterr().out

    def test_summary_counts_the_usable_images(self, root, tmp_path, capsys):
        with pytest.raises(BadDataError):
            run("validate", base=settings(root))
        folder = tmp_path / "runs" / "mine" / "validate"
        counts, within, void, sizes = np.zeros(7, int), np.zeros(7, int), 0, []
        for number in (0, 2, 3, 5, 6, 7):
            with Image.open(files(root, f"train_{number:05}")[1]) as mask:
                labels = np.bincount(np.array(mask).ravel(), minlength=256)
                sizes.append((mask.width * mask.height, *mask.size))
            counts, within, void = counts + labels[:7], within + (labels[:7] > 0), void + labels[IGNORE_INDEX]
        of_train = read_json(folder / "summary.json")["splits"]["train"]
        assert (of_train["images"], of_train["usable"], of_train["without_labels"]) == (8, 6, 0)
        assert of_train["absent"] == ["moon"]
        assert of_train["void"] == {"pixels": void, "share": void / (void + counts.sum()), "images": 6}
        assert [row["pixels"] for row in of_train["classes"].values()] == counts.tolist()
        assert [row["images"] for row in of_train["classes"].values()] == within.tolist()
        assert sum(row["share"] for row in of_train["classes"].values()) == pytest.approx(1)
        sizes = sorted(sizes)
        shown = {"smallest": sizes[0][1:], "median": sizes[3][1:], "largest": sizes[-1][1:]}
        assert of_train["sizes"] == {"distinct": 6} | {name: list(size) for name, size in shown.items()}
        rows = listed(folder / "classes.csv")
        assert [int(row["pixels"]) for row in rows if row["split"] == "train"] == [*counts, void]
        assert [row["class"] for row in rows if row["split"] == "train"][-2:] == ["moon", ""]
        printed = capsys.readouterr().out
        assert "train: 6 of 8 images can be used, in 6 sizes from" in printed
        assert "warning: val has no pixels of moon" in printed

    def test_set_without_usable_images_is_summarised(self, root, tmp_path, capsys):
        (root / "VOCdevkit" / "VOC2012" / "classes.txt").write_text("background\n")
        with pytest.raises(BadDataError, match="12 of 12 images can't be used"):
            run("validate", base=settings(root))
        of_val = read_json(tmp_path / "runs" / "mine" / "validate" / "summary.json")["splits"]["val"]
        assert (of_val["usable"], of_val["sizes"], of_val["absent"]) == (0, {"distinct": 0}, ["background"])
        assert "val: 0 of 4 images can be used\n" in capsys.readouterr().out

    def test_valid_set_passes(self, sound, tmp_path, monkeypatch, run_script):
        done = run_script(
            "train.py", "stage=validate", *taken("validate", settings(sound, "data.val=train")), cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "warning: 8 images are in several splits: train_00000, " in done.stdout
        assert listed(tmp_path / "runs" / "mine" / "validate" / "offenders.csv") == []

    def test_exit_codes_of_bad_data_and_bad_settings(self, root, tmp_path, run_script):
        done = run_script("train.py", "stage=validate", *taken("validate", settings(root)), cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("error: data mine: 3 of 12 images can't be used, ")
        assert len(done.stderr.splitlines()) == 1
        done = run_script(
            "train.py", "stage=validate", *taken("validate", settings(root, "data.root=nowhere")), cwd=tmp_path
        )
        assert done.returncode == 2

    def test_odd_file_names_stay_on_one_line(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "classes.txt").write_text("[red]<script>\n$\\frac$\n")
        for number, name in enumerate(["ok", "a\nerror: [red]x", "<b>"]):
            for place, suffix in (("images", ".png"), ("masks", ".png")):
                (tmp_path / place).mkdir(exist_ok=True)
                Image.new("L", (4, 3), 9 * number).save(tmp_path / place / f"{name}{suffix}")
        data = ["data=folder", "data.images=images", "data.masks=masks", "data.classes=classes.txt", "num_workers=0"]
        data.append("data.missing_classes=allow")
        with pytest.raises(BadDataError, match="2 of 3 images"):
            run("validate", base=[*(text for text in RGB if not text.startswith("data")), *data])
        lines = capsys.readouterr().out.splitlines()
        assert any(
            ": masks/a\\nerror: [red]x.png 12 pixels have labels that are not a class (9); " in line for line in lines
        )
        assert any("│ [red]<script> │" in line for line in lines)
        assert not any(line.startswith("error") for line in lines)
        rows = listed(tmp_path / "runs" / "folder" / "validate" / "offenders.csv")
        assert {row["id"] for row in rows} == {"a\\nerror: [red]x", "<b>"}


class TestSkip:
    def test_skip_equals_a_set_without_bad_images(self, root, tmp_path):
        smaller = shutil.copytree(root, tmp_path / "smaller")
        for split in ("train", "val"):
            path = smaller / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / f"{split}.txt"
            path.write_text("".join(f"{id}\n" for id in path.read_text().split() if id not in BAD))
        skip = settings(root, "data.on_bad=skip", "data.max_invalid=0.25", "runs=a")
        shards = []
        for base in (skip, settings(smaller, "runs=b")):
            run("extract", base=base)
            store = only(tmp_path, f"{base[-1].removeprefix('runs=')}/mine/rgb/samples/*")
            paths = sorted(store.glob("*.safetensors"))
            shards.append([(store.name, path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths])
        assert len(shards[0]) == 2
        assert shards[0] == shards[1]
        left, fewer = (image_index(config("train", *base)) for base in (skip, settings(smaller)))
        assert left.fingerprint() == fewer.fingerprint()
        assert [pair.id for pair in left.splits["val"]] == [pair.id for pair in fewer.splits["val"]]

    def test_skipped_images_are_listed_checked_once(self, root, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        cfg = config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=0.25"))
        checked = []
        check_pairs = quarantine.check_pairs
        monkeypatch.setattr(quarantine, "check_pairs", lambda *args: checked.append(len(args[1])) or check_pairs(*args))
        images = image_index(cfg)
        assert [len(images.splits[split]) for split in ("train", "val")] == [6, 3]
        assert not {pair.id for pairs in images.splits.values() for pair in pairs} & BAD
        listing = tmp_path / "runs" / "mine" / "validate" / "quarantine.csv"
        assert {row["id"] for row in listed(listing)} == BAD
        said = "left out, as they can't be used: 2 of 8 train and 1 of 4 val images, listed in runs/mine/validate/"
        assert f"{said}quarantine.csv" in capsys.readouterr().out
        assert image_index(cfg) == images
        assert checked == [12]
        shutil.copy(files(root, "train_00000")[0], files(root, "train_00001")[0])
        shutil.copy(files(root, "train_00000")[1], files(root, "train_00001")[1])
        assert len(image_index(cfg).splits["train"]) == 7
        assert {row["id"] for row in listed(listing)} == BAD - {"train_00001"}
        assert checked == [12, 1]

    def test_checks_of_stage_validate_are_reused(self, root, monkeypatch):
        with pytest.raises(BadDataError):
            run("validate", base=settings(root))
        monkeypatch.setattr(quarantine, "check_pairs", None)
        images = image_index(config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=0.25")))
        assert len(images.splits["train"]) == 6
        classes = root / "VOCdevkit" / "VOC2012" / "classes.txt"
        classes.write_text(classes.read_text() + "sun\n")  # more labels are valid now, so the checks must run again
        with pytest.raises(TypeError, match="not callable"):
            image_index(config("train", *settings(root, "data.on_bad=skip")))

    @pytest.mark.parametrize(
        "pairs", ["none", [], {"0": None}, {"0": [["a", "b", "c"]]}, {"0": [None]}, None, "cut"], ids=str
    )
    def test_damaged_checks_file_is_ignored(self, root, pairs):
        cfg = config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=0.25"))
        images, _ = listed_images(cfg)
        folder = checks_dir(cfg, images)
        quarantine.save_checks(folder, images, {"0": [checks.FileProblem("a", "is bad")]})
        path = folder / "checks.json"
        whole = read_json(path)
        assert quarantine.load_checks(folder, images) == {"0": [("a", "is bad", True)]}
        kept = {"how": whole["how"]} if pairs == "none" else whole | {"pairs": pairs}
        path.write_text(json.dumps(whole)[:-9] if pairs == "cut" else json.dumps(kept))
        assert quarantine.load_checks(folder, images) == {}

    def test_interrupted_checks_are_kept(self, root, monkeypatch):
        cfg = config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=0.25"))
        check_pairs, checked = quarantine.check_pairs, []

        def interrupted(images, pairs, num_workers):
            yield from itertools.islice(check_pairs(images, pairs, num_workers), 5)
            raise KeyboardInterrupt

        monkeypatch.setattr(quarantine, "check_pairs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            image_index(cfg)
        monkeypatch.setattr(quarantine, "check_pairs", lambda *args: checked.append(len(args[1])) or check_pairs(*args))
        assert len(image_index(cfg).splits["train"]) == 6
        assert checked == [12 - 5]

    def test_max_invalid_is_inclusive(self, sound, tmp_path, monkeypatch):
        """In floating point, 0.29 * 100 is less than 29."""
        monkeypatch.chdir(tmp_path)
        cfg = config("train", *settings(sound))
        images, _ = listed_images(cfg)
        folder = checks_dir(cfg, images)
        pairs = [ImageMaskPair(str(number), tmp_path / f"{number}.jpg", tmp_path / "m.png") for number in range(100)]
        images = replace(images, splits={"train": tuple(pairs)})
        found = [[checks.FileProblem("a", "is bad")]] * 29 + [[]] * 71
        quarantine.save_checks(
            folder,
            images,
            {file_signature(pair.image, pair.mask): check for pair, check in zip(pairs, found, strict=True)},
        )
        assert quarantine.drop_invalid(images, folder, max_invalid=0.29).splits["train"] == tuple(pairs[29:])
        with pytest.raises(
            ArgumentError,
            match=r"^max_invalid=0\.28 is exceeded: 29 of 100 train .*; repair the files, or raise max_invalid$",
        ):
            quarantine.drop_invalid(images, folder, max_invalid=0.28)

    def test_machine_error_is_not_remembered(self, root, monkeypatch):
        """An I/O error ends the command and quarantines nothing: the file may be valid."""
        broken, read = files(root, "train_00000")[0], checks.read_image

        def fail(path, *rules):
            if path == broken:
                raise UnreadableError(f"{path} can't be read (Input/output error)")
            return read(path, *rules)

        cfg = config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=0.25"))
        monkeypatch.setattr(checks, "read_image", fail)
        with pytest.raises(BadDataError, match="4 of 12 images can't be used"):
            run("validate", base=settings(root))
        with pytest.raises(
            HypercolumnsError, match=r"data mine: 1 files can't be read, .*: .*00000\.jpg can't be read \("
        ):
            image_index(cfg)
        monkeypatch.setattr(checks, "read_image", read)
        assert len(image_index(cfg).splits["train"]) == 6

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            (
                "data.max_invalid=0.24",
                r"^data\.max_invalid=0\.24 is exceeded: 2 of 8 train images of mine can't be used: ",
            ),
            ("data.max_invalid=25", r"data\.max_invalid=25 must be a number from 0 to 1"),
            ("data.on_bad=ignore", r"data\.on_bad=ignore must be error or skip"),
            (
                "data.on_bad=error",
                r"data mine: 1 images have no mask, such as .*00004\.jpg, .*; set data\.unlabelled=skip",
            ),
        ],
    )
    def test_wrong_skip_settings_are_refused(self, root, override, message):
        with pytest.raises(HypercolumnsError, match=message):
            run("extract", base=settings(root, "data.on_bad=skip", override))

    def test_split_without_usable_images_is_refused(self, root):
        for number in range(4):
            files(root, f"val_{number:05}")[0].write_bytes(b"<html>")
        message = r"4 of 4 val images can't be used, so the split is empty: .*\.csv lists .*; repair the files$"
        with pytest.raises(HypercolumnsError, match=message):
            image_index(config("train", *settings(root, "data.on_bad=skip", "data.max_invalid=1")))

    def test_train_subset_counts_usable_images_only(self, root):
        skip = ["data.on_bad=skip", "data.max_invalid=0.25"]
        images = image_index(config("train", *settings(root, *skip, "data.train_subset=6")))
        assert len(images.splits["train"]) == 6
        with pytest.raises(HypercolumnsError, match="whole number from 1 to 6"):
            image_index(config("train", *settings(root, *skip, "data.train_subset=7")))


def test_images_in_both_splits_are_refused(sound, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HypercolumnsError, match=r"8 images are in several splits, .* or set data\.overlap=allow$"):
        image_index(config("train", *settings(sound, "data.val=train")))
    image_index(config("train", *settings(sound, "data.val=train", "data.overlap=allow")))
    assert "warning: data mine: 8 images are in several splits, such as train_00000; " in capsys.readouterr().out
