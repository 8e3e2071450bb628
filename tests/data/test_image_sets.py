import hashlib
import itertools
import shutil

import numpy as np
import pytest
from PIL import Image

from hypercolumns.data import folder, limited, shapes, voc
from hypercolumns.data.shapes import CLASSES, draw
from hypercolumns.data.voc import read_layout
from hypercolumns.errors import HypercolumnsError
from hypercolumns.images import VOID


def make_pair(image, mask, value=1):
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), 50, np.uint8)).save(image)
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(mask)


@pytest.fixture
def root(tmp_path):
    layout = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("a", "b", "c"):
        make_pair(layout / "JPEGImages" / f"{name}.jpg", layout / "SegmentationClass" / f"{name}.png")
    lists = layout / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "odd.txt").write_bytes("\ufeffc\r\n\r\na \r\n".encode())
    return tmp_path


class TestVoc:
    def test_default_classes_and_order(self, root):
        images = voc(root)
        assert images.name == "voc2012"
        assert (len(images.classes), images.classes[15]) == (21, "person")
        assert images.palette[15] == (192, 128, 128)
        assert [pair.id for pair in images.splits["train"]] == ["b", "a"]
        assert images.splits["val"][0].mask == root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "c.png"

    def test_other_classes_and_name(self, root):
        (root / "classes.txt").write_text("sky\n\nsea\n")
        images = voc(root, classes=root / "classes.txt", name="beach")
        assert images.classes == ("sky", "sea")
        assert images.name == "beach"

    def test_other_colours(self, root):
        (root / "classes.txt").write_text("sky\nsea\n")
        (root / "colours.txt").write_text("0 128 255\n0 0 90\n")
        settings = {"classes": root / "classes.txt", "palette": root / "colours.txt"}
        assert voc(root, **settings).palette == ((0, 128, 255), (0, 0, 90))
        (root / "colours.txt").write_text("0 128 255\n0 0 256\n")
        with pytest.raises(HypercolumnsError, match=r"0 0 256 is no colour; expected R G B, each from 0 to 255"):
            voc(root, **settings)
        (root / "colours.txt").write_text("0 128 255\n0 128 255\n")
        with pytest.raises(HypercolumnsError, match=r"holds 1 different colours; expected one for each of 2 classes"):
            voc(root, **settings)

    def test_lists_with_byte_order_mark_and_blank_lines(self, root):
        assert [pair.id for pair in voc(root, val="odd").splits["val"]] == ["c", "a"]

    def test_other_year(self, root):
        shutil.move(root / "VOCdevkit" / "VOC2012", root / "VOCdevkit" / "VOC2007")
        assert voc(root, year=2007).name == "voc2007"
        shutil.move(root / "VOCdevkit" / "VOC2007", root / "TrainVal" / "VOCdevkit" / "VOC2011")
        assert voc(root, year="2011").name == "voc2011"

    def test_missing_data_says_where_it_looked_and_what_to_do(self, root):
        with pytest.raises(HypercolumnsError, match=r"looked for the folder .*VOC2010; .*download=true.*data=shapes"):
            voc(root, year=2010)

    def test_unknown_split_lists_the_others(self, root):
        with pytest.raises(HypercolumnsError, match=r"data\.val=test: .* the splits there are odd, train, val"):
            voc(root, val="test")

    def test_all_missing_files_are_listed(self, root):
        layout = root / "VOCdevkit" / "VOC2012"
        (layout / "JPEGImages" / "a.jpg").unlink()
        (layout / "SegmentationClass" / "b.png").unlink()
        with pytest.raises(HypercolumnsError, match=r"2 files of the train split are missing: .*b\.png, .*a\.jpg;"):
            voc(root)

    def test_doubled_and_empty_lists(self, root):
        lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_text("a\nb\na\n")
        with pytest.raises(HypercolumnsError, match="the train split lists a twice"):
            voc(root)
        (lists / "train.txt").write_text("\n")
        with pytest.raises(HypercolumnsError, match="the train split has no images"):
            voc(root)

    @pytest.mark.parametrize("name", ["../escaped", "a/b", "", 2012])
    def test_a_name_is_a_plain_name(self, root, name):
        with pytest.raises(HypercolumnsError, match="must be a plain name for a folder"):
            read_layout(root / "VOCdevkit" / "VOC2012", name, ["a"], "train", "val")

    def test_a_failed_download_is_one_line(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("File not found\nor corrupted.")

        monkeypatch.setattr("torchvision.datasets.VOCSegmentation", fail)
        with pytest.raises(HypercolumnsError, match=r"could not be fetched into .* \(File not found or corrupted\.\)"):
            voc(tmp_path, download=True)


class TestFingerprint:
    def test_is_of_the_contents_not_the_place(self, root, tmp_path_factory):
        before = voc(root).fingerprint()
        moved = tmp_path_factory.mktemp("moved") / "x"
        shutil.copytree(root, moved)
        assert voc(moved).fingerprint() == before

    @pytest.mark.parametrize("change", ["mask", "order"])
    def test_sees_what_changes(self, root, change):
        before = voc(root).fingerprint()
        layout = root / "VOCdevkit" / "VOC2012"
        if change == "mask":
            make_pair(layout / "JPEGImages" / "a.jpg", layout / "SegmentationClass" / "a.png", value=2)
        else:
            (layout / "ImageSets" / "Segmentation" / "train.txt").write_text("a\nb\n")
        after = voc(root).fingerprint()
        assert after["train"] != before["train"]
        assert after["val"] == before["val"]


class TestFolder:
    @pytest.fixture
    def settings(self, tmp_path):
        for name in ("1", "2", "3", "4", "deep/1"):
            make_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
        (tmp_path / "images" / "notes.txt").touch()
        (tmp_path / "classes.txt").write_text("sky\nsea\n")
        return {"images": tmp_path / "images", "masks": tmp_path / "masks", "classes": tmp_path / "classes.txt"}

    def test_split_by_chance_is_seeded_and_complete(self, settings):
        def split(seed):
            images = folder(**settings, val_share=0.4, split_seed=seed)
            return {name: {pair.id for pair in pairs} for name, pairs in images.splits.items()}

        assert split(0) == split(0)
        assert any(split(0) != split(seed) for seed in range(1, 6))
        assert len(split(0)["val"]) == 2
        assert split(0)["train"] | split(0)["val"] == {"1", "2", "3", "4", "deep/1"}
        assert not split(0)["train"] & split(0)["val"]

    def test_listed_split(self, settings, tmp_path):
        (tmp_path / "train.txt").write_text("deep/1\n1\n")
        (tmp_path / "val.txt").write_text("2\n")
        images = folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")
        assert [pair.id for pair in images.splits["train"]] == ["deep/1", "1"]
        assert images.splits["train"][0].mask == tmp_path / "masks" / "deep" / "1.png"
        (tmp_path / "val.txt").write_text("9\n")
        with pytest.raises(HypercolumnsError, match=r"lists 1 names without an image in .*, such as 9;"):
            folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"images": None}, "data=folder needs data.images=<folder>"),
            ({"masks": "nowhere"}, "data.masks=nowhere is not a folder"),
            ({"val_share": 1.5}, r"data\.val_share=1\.5 must lie between 0 and 1"),
            ({"train": "x.txt"}, "data.train and data.val go together"),
        ],
    )
    def test_wrong_settings(self, settings, change, message):
        with pytest.raises(HypercolumnsError, match=message):
            folder(**(settings | change))

    def test_two_images_for_one_mask(self, settings, tmp_path):
        shutil.copy(tmp_path / "images" / "1.jpg", tmp_path / "images" / "1.png")
        with pytest.raises(HypercolumnsError, match="would have the same mask; rename one"):
            folder(**settings)


class TestLimit:
    @pytest.fixture
    def ten(self, tmp_path):
        for number in range(10):
            make_pair(tmp_path / "images" / f"{number}.jpg", tmp_path / "masks" / f"{number}.png", value=0)
        (tmp_path / "classes.txt").write_text("sky\n")
        (tmp_path / "train.txt").write_text("8 3 7 0 5 2 9 1".replace(" ", "\n"))
        (tmp_path / "val.txt").write_text("4\n6\n")
        paths = {name: tmp_path / f"{name}.txt" for name in ("classes", "train", "val")}
        return {"images": tmp_path / "images", "masks": tmp_path / "masks", **paths}

    def test_smaller_sets_are_part_of_larger_ones_in_the_order_of_the_list(self, ten):
        def ids(count, seed=0):
            images = limited(folder(**ten), count, seed)
            assert [pair.id for pair in images.splits["val"]] == ["4", "6"]
            return [pair.id for pair in images.splits["train"]]

        sets = [ids(count) for count in range(1, 9)]
        assert [len(chosen) for chosen in sets] == list(range(1, 9))
        assert all(set(fewer) < set(more) for fewer, more in itertools.pairwise(sets))
        assert all(chosen == [id for id in sets[-1] if id in chosen] for chosen in sets)
        assert sets[-1] == ids(None) == ["8", "3", "7", "0", "5", "2", "9", "1"]
        assert len({tuple(ids(3, seed)) for seed in range(5)}) > 1

    def test_it_shows_in_the_fingerprint(self, ten):
        every, all_eight, some = (limited(folder(**ten), count, 0).fingerprint() for count in (None, 8, 7))
        assert every == all_eight
        assert every["train"] != some["train"]
        assert every["val"] == some["val"]

    @pytest.mark.parametrize("count", [0, -1, 9, 1.5, True])
    def test_more_than_there_are_or_none(self, ten, count):
        message = rf"data\.limit_images={count} must be a whole number from 1 to 8, .* train split of folder has"
        with pytest.raises(HypercolumnsError, match=message):
            limited(folder(**ten), count, 0)


class TestShapes:
    def test_the_seed_decides_every_byte(self, tmp_path):
        first, same = (shapes(tmp_path / name, train_images=3, val_images=2).fingerprint() for name in "ab")
        assert first == same
        assert shapes(tmp_path, seed=1, train_images=3, val_images=2).fingerprint()["train"] != first["train"]

    def test_train_and_val_differ(self, tmp_path):
        images = shapes(tmp_path, train_images=2, val_images=2)
        digests = {hashlib.sha256(p.image.read_bytes()).digest() for pairs in images.splits.values() for p in pairs}
        assert len(digests) == 4

    def test_drawn_once(self, tmp_path):
        image = shapes(tmp_path, train_images=2, val_images=1).splits["train"][0].image
        before = image.stat().st_mtime_ns
        shapes(tmp_path, train_images=2, val_images=1)
        assert image.stat().st_mtime_ns == before

    def test_pictures_hold_all_that_is_promised(self):
        drawn = [draw(np.random.default_rng(seed)) for seed in range(40)]
        assert len({labels.shape for _, labels in drawn}) > 30
        found = np.unique(np.concatenate([labels.ravel() for _, labels in drawn]))
        assert found.tolist() == [*range(len(CLASSES)), VOID]
        picture, labels = drawn[0]
        assert picture.shape == (*labels.shape, 3)
        inside = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] != VOID) & (labels[:, :-1] != VOID)
        assert not inside.any()  # between two classes there is always void
