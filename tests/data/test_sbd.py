"""The Semantic Boundaries Dataset, whose masks are MATLAB files."""

import sys

import numpy as np
import pytest
from helpers.small_runs import config
from PIL import Image
from scipy.io import savemat

from hypercolumns.data import sbd
from hypercolumns.data.annotations.mat_mask import MatMask
from hypercolumns.data.datasets import auto
from hypercolumns.data.datasets.voc import CLASSES
from hypercolumns.data.index import pair_signature, read_example
from hypercolumns.errors import HypercolumnsError
from hypercolumns.io.masks import decode_mask, mask_size
from hypercolumns.labels import voc_palette
from hypercolumns.settings.data import image_index

IDS = ["2008_000001", "2008_000002", "2008_000003", "2008_000004"]


def values_of(number):
    """Return a mask (5, 7) with all 21 values, shifted by a number."""
    return ((np.arange(35) + number) % 21).astype(np.uint8).reshape(5, 7)


def write_mat(path, values, name="GTcls"):
    boundaries = np.empty((20, 1), object)
    boundaries[:] = [[np.zeros((1, 1))]] * 20
    struct = {"Boundaries": boundaries, "Segmentation": values, "CategoriesPresent": np.arange(1, 21)[:, None]}
    savemat(path, {name: struct}, do_compression=True)


@pytest.fixture
def root(tmp_path):
    """Return the folder above an SBD of four images."""
    folder = tmp_path / "benchmark_RELEASE" / "dataset"
    for name in ("img", "cls", "inst"):
        (folder / name).mkdir(parents=True)
    for number, id in enumerate(IDS):
        Image.fromarray(np.zeros((5, 7, 3), np.uint8)).save(folder / f"img/{id}.jpg")
        write_mat(folder / f"cls/{id}.mat", values_of(number))
        write_mat(folder / f"inst/{id}.mat", values_of(0), "GTinst")
    (folder / "train.txt").write_text("\n".join(IDS[:3]))
    (folder / "val.txt").write_text(IDS[3])
    (folder / "train_noval.txt").write_text("\n".join(IDS[:2]))
    return tmp_path


@pytest.mark.parametrize("inside", [".", "benchmark_RELEASE", "benchmark_RELEASE/dataset"])
@pytest.mark.parametrize("kind", ["sbd", "auto"])
def test_masks_are_read_without_a_conversion(root, monkeypatch, tmp_path, kind, inside):
    monkeypatch.chdir(tmp_path)
    before = sorted(root.rglob("*"))
    images = image_index(config("train", f"data={kind}", f"data.root={root / inside}"))
    assert images.classes == tuple(CLASSES)
    assert images.palette == voc_palette(21)
    assert {split: [pair.id for pair in pairs] for split, pairs in images.splits.items()} == {
        "train": IDS[:3],
        "val": IDS[3:],
    }
    for pairs in images.splits.values():
        for pair in pairs:
            assert np.array_equal(read_example(pair, images.scheme)[1].numpy(), values_of(IDS.index(pair.id)))
            assert mask_size(pair.mask) == (5, 7)
    assert [path for path in sorted(root.rglob("*")) if "runs" not in path.parts] == before


def test_other_lists_and_random_splits(root):
    assert [pair.id for pair in sbd(root, train="train_noval").splits["train"]] == IDS[:2]
    drawn = sbd(root, train=None, val=None, val_fraction=0.25).splits
    assert sorted(pair.id for pairs in drawn.values() for pair in pairs) == IDS
    assert len(drawn["val"]) == 1
    with pytest.raises(HypercolumnsError, match=r"^train=trainaug: .* does not exist; the lists .* are train, train"):
        sbd(root, train="trainaug")


def test_missing_list_is_drawn_by_auto(root, capsys):
    (root / "benchmark_RELEASE/dataset/val.txt").unlink()
    assert sorted(pair.id for pairs in auto(root).splits.values() for pair in pairs) == IDS[:3]
    assert "data.train=train data.val=null" in capsys.readouterr().out


def test_changed_mask_changes_hash_and_signature(root):
    before = sbd(root)
    pair = before.splits["train"][0]
    fingerprint, signature = before.fingerprint(), pair_signature(pair)
    write_mat(pair.mask.path, values_of(9)[:4])
    assert sbd(root).fingerprint() != fingerprint
    assert pair_signature(pair) != signature


def test_missing_scipy_names_the_extra(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(HypercolumnsError, match=r"^root=.* which scipy reads; install it with: uv sync --extra sbd"):
        sbd(root)


def hdf5(path):
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path.write_bytes(header + bytes(384) + b"\x89HDF\r\n\x1a\n")


def cut(path):
    write_mat(path, values_of(0))
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (hdf5, r"is a file of MATLAB 7\.3, which is not read; save it .* '-v7'"),
        (lambda path: write_mat(path, values_of(0), "GTinst"), r"holds GTinst, but no GTcls; .* in its folder cls"),
        (lambda path: savemat(path, {"GTcls": values_of(0)}), r"GTcls\.Segmentation is not a matrix of the type uint8"),
        (lambda path: write_mat(path, values_of(0).astype(float)), r"GTcls\.Segmentation is not a matrix of the type"),
        (lambda path: write_mat(path, np.zeros((2, 2, 2), np.uint8)), r"GTcls\.Segmentation is not a matrix"),
        (cut, r"can't be decoded"),
        (lambda path: path.write_bytes(b""), r"can't be decoded|is empty"),
        (lambda path: path.write_text("no MATLAB file"), r"can't be decoded"),
        (lambda path: None, r"does not exist"),
    ],
)
def test_other_files_are_refused(tmp_path, write, message):
    path = tmp_path / "a.mat"
    write(path)
    with pytest.raises(HypercolumnsError, match=rf"a\.mat.*{message}"):
        decode_mask(MatMask(path))


def test_folder_without_sbd_is_refused(tmp_path):
    with pytest.raises(HypercolumnsError, match=r"^root=.* holds no Semantic Boundaries Dataset: a folder img"):
        sbd(tmp_path)
