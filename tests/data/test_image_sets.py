import hashlib
import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from hypercolumns.cli.app import error_line
from hypercolumns.data import (
    ImageMaskPair,
    check_headers,
    folder,
    shapes,
    shared_ids,
    take_train_subset,
    voc,
)
from hypercolumns.data.datasets.shapes import CLASSES, draw
from hypercolumns.data.datasets.voc import read_layout
from hypercolumns.data.index import check_present, make_index, read_example
from hypercolumns.errors import HypercolumnsError, InvalidFileError, UnreadableError
from hypercolumns.labels import IGNORE_INDEX, voc_palette


def make_pair(image, mask, value=1):
    for path in (image, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), 50, np.uint8)).save(image)
    Image.fromarray(np.full((4, 6), value, np.uint8)).save(mask)


def make_root(tmp_path):
    layout = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("a", "b", "c"):
        make_pair(layout / "JPEGImages" / f"{name}.jpg", layout / "SegmentationClass" / f"{name}.png")
    lists = layout / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("b\na\n")
    (lists / "val.txt").write_text("c\n")
    (lists / "odd.txt").write_bytes("\ufeffc\r\n\r\na \r\n".encode())
    return tmp_path


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path)


@pytest.fixture(scope="module")
def any_root(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("any"))


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
        with pytest.raises(HypercolumnsError, match=r"^root=.* looked for the folder .*VOC2010; give "):
            voc(root, year=2010)

    def test_unknown_split_lists_the_others(self, root):
        with pytest.raises(HypercolumnsError, match=r"^val=test: .* the splits there are odd, train, val"):
            voc(root, val="test")

    def test_all_missing_files_are_listed(self, root):
        layout = root / "VOCdevkit" / "VOC2012"
        (layout / "JPEGImages" / "a.jpg").unlink()
        (layout / "SegmentationClass" / "b.png").unlink()
        (layout / "SegmentationClass" / "c.png").unlink()
        (layout / "SegmentationClass" / "c.png").symlink_to("gone.png")
        message = (
            r"data voc2012: 3 files can't be used: .*b\.png does not exist; .*a\.jpg does not exist; "
            r".*c\.png is a link to gone\.png, which does not exist; put .* out\. Mend "
        )
        with pytest.raises(InvalidFileError, match=message) as caught:
            check_headers(voc(root))
        assert re.search(r"\. Mend .*stage=validate .*data\.on_bad=skip", error_line(caught.value))
        with pytest.raises(HypercolumnsError, match=r"2 files of the train split are missing: .*b\.png, .*a\.jpg;"):
            check_present(voc(root))

    def test_many_missing_files_are_counted(self, root):
        layout = root / "VOCdevkit" / "VOC2012"
        (layout / "ImageSets" / "Segmentation" / "train.txt").write_text("".join(f"{n:02}\n" for n in range(30)))
        with pytest.raises(
            HypercolumnsError, match=r"60 files can't .*/04\.jpg does not exist; put .* out; and 50 more\. Mend"
        ):
            check_headers(voc(root))

    def test_doubled_and_empty_lists(self, root):
        lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_text("a\nb\na\n")
        with pytest.raises(HypercolumnsError, match="the train split lists a twice"):
            voc(root)
        (lists / "train.txt").write_text("\n")
        with pytest.raises(HypercolumnsError, match=r"^train=train: .*train\.txt lists no images; write one a line"):
            voc(root)

    @pytest.mark.parametrize("line", ["./a", ".//a", "b//a", "a/"])
    def test_an_image_has_one_name(self, root, line):
        lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_text(f"a\n{line}\n")
        plain = line.replace("//", "/").removeprefix("./").removesuffix("/")
        with pytest.raises(HypercolumnsError, match=f"the train split lists {line}; write {plain} and so on"):
            voc(root)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{root}/a", "the train split lists {root}/a, out of its folder; names must lie in that"),
            ("../JPEGImages/a", r"lists \.\./JPEGImages/a, out of its folder; .* without \.\."),
            ("b/../../x", "out of its folder"),
        ],
    )
    def test_names_that_lead_out_are_refused(self, root, line, message):
        (root / "a.jpg").touch()
        lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_text(f"b\n{line.format(root=root)}\n")
        with pytest.raises(HypercolumnsError, match=message.format(root=root)):
            voc(root)

    def test_links_out_of_the_folder_are_followed(self, root, tmp_path_factory):
        """Sets are put together of links to what lies elsewhere; what is read is an image in any case."""
        before = voc(root).fingerprint()
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        for place, name in (("JPEGImages", "a.jpg"), ("SegmentationClass", "c.png")):
            path = root / "VOCdevkit" / "VOC2012" / place / name
            shutil.move(path, elsewhere / name)
            path.symlink_to(elsewhere / name)
        assert voc(root).fingerprint() == before
        check_headers(voc(root))

    def test_a_list_that_is_no_text(self, root):
        lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "train.txt").write_bytes("a\n\xfc\n".encode("latin-1"))
        with pytest.raises(
            HypercolumnsError,
            match=r"^train=train: .*train\.txt can't be read as text \(.*utf-8.*\); save it as UTF-8",
        ):
            voc(root)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ("", "classes.txt holds 0 names; expected 1 to 255, one a line"),
            ("x\n" * 256, "classes.txt holds 256 names; expected 1 to 255"),
            ("sky\nsea\nsky\n", "classes.txt holds sky twice; give each class its own name"),
            ("sky\nsea\x1b[2J\n", r"classes.txt holds sea\\x1b\[2J, with control characters; take them out"),
            (None, "^classes: .*classes.txt can't be read as text"),
        ],
    )
    def test_wrong_classes(self, root, names, message):
        if names is not None:
            (root / "classes.txt").write_text(names)
        with pytest.raises(HypercolumnsError, match=message):
            voc(root, classes=root / "classes.txt")

    @settings(max_examples=60)
    @given(
        st.one_of(
            st.binary(max_size=40),
            st.lists(
                st.sampled_from([b"a", b"b", b"..", b"/", b"\n", b"\r", b" ", b"\0", b"\xef\xbb\xbf", b"\xff"])
            ).map(b"".join),
        )
    )
    def test_any_list_gives_its_lines_or_an_error(self, any_root, content):
        lists = any_root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
        (lists / "any.txt").write_bytes(content)
        try:
            images = voc(any_root, train="any")
            check_headers(images)
        except HypercolumnsError as error:
            assert str(error).isprintable()  # noqa: PT017
            event("refused")
            return
        event("read")
        text = content.decode("utf-8-sig")
        lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
        assert [pair.id for pair in images.splits["train"]] == [line for line in lines if line]
        assert {pair.id for pair in images.splits["train"]} <= {"a", "b"}

    def test_ids_of_two_splits(self, root):
        assert shared_ids(voc(root)) == []
        assert shared_ids(voc(root, val="odd")) == ["a"]

    @pytest.mark.parametrize("name", ["../escaped", "a/b", "", 2012])
    def test_a_name_is_a_plain_name(self, root, name):
        with pytest.raises(HypercolumnsError, match="must be a plain name for a folder"):
            read_layout(root / "VOCdevkit" / "VOC2012", name, ["a"], "train", "val")

    def test_a_fault_of_the_machine_is_not_to_be_skipped(self, root, monkeypatch):
        def fail(*_):
            raise UnreadableError("c.jpg can't be read")

        monkeypatch.setattr("hypercolumns.data.index.read_pair", fail)
        with pytest.raises(UnreadableError, match=r"c\.jpg can't be read$"):
            read_example(voc(root).splits["val"][0], voc_palette(21), 21)

    def test_a_failed_download_is_one_line(self, tmp_path, monkeypatch):
        def fail(*args, **kwargs):
            raise RuntimeError("File not found\nor corrupted.")

        monkeypatch.setattr("torchvision.datasets.VOCSegmentation", fail)
        with pytest.raises(HypercolumnsError, match=r"could not be fetched into .* its checksum differs"):
            voc(tmp_path, download=True)


def test_a_set_of_ones_own_without_images():
    with pytest.raises(HypercolumnsError, match="data mine: the val split has no images; it needs one at least"):
        make_index(
            "mine", ["a"], voc_palette(1), {"train": [ImageMaskPair("1", Path("1.jpg"), Path("1.png"))], "val": []}
        )


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
            images = folder(**settings, val_fraction=0.4, split_seed=seed)
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
            ({"images": None}, "^images=None must be given: images=<folder>, masks=<folder> and classes=<file>"),
            ({"masks": "nowhere"}, "^masks=nowhere is not a folder"),
            ({"masks": "~nosuchuser/m"}, r"^masks=~nosuchuser/m: there is no user of that name; write out"),
            ({"val_fraction": 1.5}, r"^val_fraction=1\.5 must be a number from 0 to 1"),
            ({"val_fraction": "abc"}, r"^val_fraction=abc must be a number from 0 to 1"),
            ({"val_fraction": 1.0}, r"^val_fraction=1\.0 must lie between 0 and 1"),
            ({"train": "x.txt"}, "^train and val go together"),
        ],
    )
    def test_wrong_settings(self, settings, change, message):
        with pytest.raises(HypercolumnsError, match=message):
            folder(**(settings | change))

    def test_links_to_folders_are_entered(self, settings, tmp_path):
        make_pair(tmp_path / "elsewhere" / "i.jpg", tmp_path / "masks" / "linked" / "i.png")
        (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images")
        (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
        ids = {pair.id for pairs in folder(**settings).splits.values() for pair in pairs}
        assert ids == {"1", "2", "3", "4", "deep/1", "linked/i"}

    def test_two_images_for_one_mask(self, settings, tmp_path):
        shutil.copy(tmp_path / "images" / "1.jpg", tmp_path / "images" / "1.png")
        with pytest.raises(HypercolumnsError, match="would have the same mask; rename one"):
            folder(**settings)

    def test_masks_that_are_missing(self, settings, tmp_path):
        for name in ("2", "deep/1"):
            (tmp_path / "masks" / f"{name}.png").unlink()
        message = r"2 files can't be used: .*(2|deep/1)\.png does not exist; .*\.png does not exist; put .* out\."
        with pytest.raises(HypercolumnsError, match=message):
            check_headers(folder(**settings))

    @pytest.mark.parametrize("name", ["../masks/1", "/1"])
    def test_lists_that_lead_out(self, settings, tmp_path, name):
        (tmp_path / "train.txt").write_text(f"{name}\n")
        (tmp_path / "val.txt").write_text("2\n")
        with pytest.raises(HypercolumnsError, match=r"lists 1 names without an image in .*; names are relative to"):
            folder(**settings, train=tmp_path / "train.txt", val=tmp_path / "val.txt")

    def test_a_folder_without_images(self, settings, tmp_path):
        shutil.rmtree(tmp_path / "images")
        (tmp_path / "images").mkdir()
        with pytest.raises(HypercolumnsError, match=r"^images=.* has 0 images \(\.jpg .*\); two are needed at least"):
            folder(**settings)
        (tmp_path / "images" / "1.jpg").touch()
        with pytest.raises(HypercolumnsError, match=r"^images=.* has 1 images .* for train and for val: add some"):
            folder(**settings)

    def test_names_of_files_may_hold_anything_but_must_be_utf8(self, settings, tmp_path):
        for name in ("[red]a\nb", "<b>"):
            make_pair(tmp_path / "images" / f"{name}.jpg", tmp_path / "masks" / f"{name}.png")
        images = folder(**settings)
        check_headers(images)
        assert {"[red]a\nb", "<b>"} < {pair.id for pairs in images.splits.values() for pair in pairs}
        make_pair(tmp_path / "images" / "\udcff.jpg", tmp_path / "masks" / "\udcff.png")
        with pytest.raises(
            HypercolumnsError, match=r"names of the (train|val) split are not UTF-8 \(\\udcff\); rename"
        ):
            folder(**settings)


class TestHeaders:
    """What the stages look at before they begin."""

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda image, mask: image.write_bytes(b""), r"a\.jpg is empty; replace it"),
            (lambda image, mask: mask.write_bytes(b"<html>"), r"a\.png is not an image that can be read \(PNG\)"),
            (
                lambda image, mask: Image.new("L", (6, 5)).save(mask),
                r"a\.png is 6x5, its image .*a\.jpg is 6x4; they must",
            ),
            (
                lambda image, mask: Image.new("L", (4, 6)).save(mask),
                r"a\.png is 4x6, its image .*a\.jpg is 6x4; they must",
            ),
            (lambda image, mask: Image.new("RGBA", (6, 4)).save(mask), r"a\.png a mask must be .* this one is RGBA"),
            (
                lambda image, mask: Image.fromarray(np.zeros((4, 6), np.uint16)).save(image, format="PNG"),
                r"a\.jpg is of a kind that is not read \(I;16\)",
            ),
            (
                lambda image, mask: Image.new("L", (30000, 3000)).save(mask),
                r"claims 30000x3000 pixels, more than max_pix",
            ),
        ],
    )
    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_are_read(self, root, spoil, message):
        layout = root / "VOCdevkit" / "VOC2012"
        spoil(layout / "JPEGImages" / "a.jpg", layout / "SegmentationClass" / "a.png")
        with pytest.raises(HypercolumnsError, match=f"data voc2012: 1 files can't be used: .*{message}"):
            check_headers(voc(root))

    def test_and_no_more(self, root, monkeypatch):
        monkeypatch.setattr(ImageFile.ImageFile, "load", None)
        check_headers(voc(root))


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
            images = take_train_subset(folder(**ten), count, seed)
            assert [pair.id for pair in images.splits["val"]] == ["4", "6"]
            return [pair.id for pair in images.splits["train"]]

        sets = [ids(count) for count in range(1, 9)]
        assert [len(chosen) for chosen in sets] == list(range(1, 9))
        assert all(set(fewer) < set(more) for fewer, more in itertools.pairwise(sets))
        assert all(chosen == [id for id in sets[-1] if id in chosen] for chosen in sets)
        assert sets[-1] == ids(None) == ["8", "3", "7", "0", "5", "2", "9", "1"]
        assert len({tuple(ids(3, seed)) for seed in range(5)}) > 1

    def test_it_shows_in_the_fingerprint(self, ten):
        every, all_eight, some = (take_train_subset(folder(**ten), count, 0).fingerprint() for count in (None, 8, 7))
        assert every == all_eight
        assert every["train"] != some["train"]
        assert every["val"] == some["val"]

    @pytest.mark.parametrize("count", [0, -1, 9, 1.5, True])
    def test_more_than_there_are_or_none(self, ten, count):
        message = rf"^train_subset={count} must be a whole number from 1 to 8, .* train split of folder has"
        with pytest.raises(HypercolumnsError, match=message):
            take_train_subset(folder(**ten), count, 0)


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
        assert found.tolist() == [*range(len(CLASSES)), IGNORE_INDEX]
        picture, labels = drawn[0]
        assert picture.shape == (*labels.shape, 3)
        inside = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] != IGNORE_INDEX) & (labels[:, :-1] != IGNORE_INDEX)
        assert not inside.any()  # between two classes there is always void
