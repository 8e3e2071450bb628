"""Data sets in Pascal VOC's layout."""

import shutil
import sys

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from hypercolumns.data import check_headers, voc
from hypercolumns.data.datasets.voc import read_layout
from hypercolumns.errors import HypercolumnsError


def test_default_classes_and_order(root):
    images = voc(root)
    assert images.name == "voc2012"
    assert (len(images.classes), images.classes[15]) == (21, "person")
    assert images.palette[15] == (192, 128, 128)
    assert [pair.id for pair in images.splits["train"]] == ["b", "a"]
    assert images.splits["val"][0].mask == root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "c.png"


def test_classes_file_and_name_are_used(root):
    (root / "classes.txt").write_text("sky\nsea\n\n")
    images = voc(root, classes=root / "classes.txt", name="beach")
    assert images.classes == ("sky", "sea")
    assert images.name == "beach"


def test_palette_file_is_used_and_checked(root):
    (root / "classes.txt").write_text("sky\nsea\n")
    (root / "colours.txt").write_text("0 128 255\n0 0 90\n")
    settings = {"classes": root / "classes.txt", "palette": root / "colours.txt"}
    assert voc(root, **settings).palette == ((0, 128, 255), (0, 0, 90))
    (root / "colours.txt").write_text("0 128 255\n0 0 256\n")
    with pytest.raises(HypercolumnsError, match=r"0 0 256 is not a colour; expected R G B, each from 0 to 255"):
        voc(root, **settings)
    (root / "colours.txt").write_text("0 128 255\n0 128 255\n")
    with pytest.raises(HypercolumnsError, match=r"holds 2 lines with 1 different colours; expected 2 lines"):
        voc(root, **settings)


def test_bom_and_blank_lines_are_skipped(root):
    assert [pair.id for pair in voc(root, val="odd").splits["val"]] == ["c", "a"]


def test_year_selects_folder(root):
    shutil.move(root / "VOCdevkit" / "VOC2012", root / "VOCdevkit" / "VOC2007")
    assert voc(root, year=2007).name == "voc2007"
    shutil.move(root / "VOCdevkit" / "VOC2007", root / "TrainVal" / "VOCdevkit" / "VOC2011")
    assert voc(root, year="2011").name == "voc2011"


def test_missing_folder_error_names_path(root):
    with pytest.raises(HypercolumnsError, match=r"^root=.* the folder .*VOC2010 does not exist; give "):
        voc(root, year=2010)


def test_unknown_split_error_lists_known_splits(root):
    with pytest.raises(HypercolumnsError, match=r"^val=test: .* the lists in this folder are odd, train, val"):
        voc(root, val="test")


def test_repeated_id_or_empty_list_is_refused(root):
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text("a\nb\na\n")
    with pytest.raises(HypercolumnsError, match=r"the train split repeats images \(a\); list each"):
        voc(root)
    (lists / "train.txt").write_text("\n")
    with pytest.raises(
        HypercolumnsError, match=r"^train=train: .*train\.txt lists no images; write one image per line"
    ):
        voc(root)


@pytest.mark.parametrize("line", ["./a", ".//a", "b//a", "a/"])
def test_id_that_is_not_normalised_is_refused(root, line):
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text(f"a\n{line}\n")
    plain = line.replace("//", "/").removeprefix("./").removesuffix("/")
    message = rf"the train split lists paths that are not normalised \({line}\); .*, as in {plain}$"
    with pytest.raises(HypercolumnsError, match=message):
        voc(root)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{root}/a", r"the train split lists paths outside the folder of images \({root}/a\); write paths relative"),
        ("../JPEGImages/a", r"lists paths outside the folder of images \(\.\./JPEGImages/a\); .* without \.\."),
        ("b/../../x", "paths outside the folder"),
    ],
)
def test_id_outside_folder_is_refused(root, line, message):
    (root / "a.jpg").touch()
    lists = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "train.txt").write_text(f"b\n{line.format(root=root)}\n")
    with pytest.raises(HypercolumnsError, match=message.format(root=root)):
        voc(root)


def test_links_out_of_folder_are_followed(root, tmp_path_factory):
    """Data sets are often assembled from links. Following them is safe, since only images are read."""
    before = voc(root).fingerprint()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place, name in (("JPEGImages", "a.jpg"), ("SegmentationClass", "c.png")):
        path = root / "VOCdevkit" / "VOC2012" / place / name
        shutil.move(path, elsewhere / name)
        path.symlink_to(elsewhere / name)
    assert voc(root).fingerprint() == before
    check_headers(voc(root))


def test_list_that_is_not_utf8_is_refused(root):
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
        ("", "classes.txt holds 0 class names; expected 1 to 255, one per line"),
        ("x\n" * 256, "classes.txt holds 256 class names; expected 1 to 255"),
        ("sky\nsea\nsky\n", r"classes.txt repeats class names \(sky\); give each class a different class name"),
        ("sky\nsea\x1b[2J\n", r"classes.txt holds names with control characters \(sea\\x1b\[2J\); remove these"),
        (None, r"^classes=.*classes\.txt is not a file; give a file that lists .*, as in classes=\[background,road\]"),
    ],
)
def test_invalid_classes_file_is_refused(root, names, message):
    if names is not None:
        (root / "classes.txt").write_text(names)
    with pytest.raises(HypercolumnsError, match=message):
        voc(root, classes=root / "classes.txt")


@settings(max_examples=60)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.sampled_from([b"a", b"b", b"..", b"/", b"\n", b"\r", b" ", b"\0", b"\xef\xbb\xbf", b"\xff"])).map(
            b"".join
        ),
    )
)
def test_any_list_is_read_or_refused(shared_root, content):
    lists = shared_root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation"
    (lists / "any.txt").write_bytes(content)
    try:
        images = voc(shared_root, train="any")
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


@pytest.mark.parametrize("name", ["../escaped", "a/b", "", 2012])
def test_invalid_data_set_name_is_refused(root, name):
    with pytest.raises(HypercolumnsError, match="must be a folder name without slashes"):
        read_layout(root / "VOCdevkit" / "VOC2012", name, ["a"], "train", "val")


def test_failed_download_error_is_one_line(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("File not found\nor corrupted.")

    monkeypatch.setattr(sys.modules[voc.__module__], "download_url", fail)
    with pytest.raises(HypercolumnsError, match=r"could not be downloaded into .*\(the checksum .* is wrong"):
        voc(tmp_path, download=True)
