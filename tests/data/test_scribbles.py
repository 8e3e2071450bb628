"""The command that makes sparsely labelled masks from full ones."""

import re

import numpy as np
import pytest
from PIL import Image

from hypercolumns.data import scribbles, shapes
from hypercolumns.labels import IGNORE_INDEX, connected_regions


@pytest.mark.parametrize("seed", range(5))
def test_scribble_is_curve_inside_region(seed):
    mask = np.full((30, 40), IGNORE_INDEX, np.uint8)
    mask[5:20, 3:35] = 1
    mask[10:14, 10:30] = IGNORE_INDEX
    (region,) = connected_regions(mask)
    curve = scribbles.draw_scribble(region, np.random.default_rng(seed))
    assert (mask[tuple(curve.T)] == 1).all()
    assert len(curve) > 20
    assert np.abs(np.diff(curve, axis=0)).max() == 1
    assert (curve == scribbles.draw_scribble(region, np.random.default_rng(seed))).all()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    shapes(place := tmp_path_factory.mktemp("source"), train_images=3, val_images=2)
    (layout,) = place.glob("*/VOCdevkit/VOC2012")
    return layout.parents[1]


def masks(root):
    layout = root / "VOCdevkit" / "VOC2012"
    listed = (layout / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    return {name: np.array(Image.open(layout / "SegmentationClass" / f"{name}.png")) for name in listed}


@pytest.mark.parametrize("kind", [["--scribbles"], ["--points", "3"]])
def test_train_masks_keep_few_correct_labels(source, tmp_path, capsys, kind):
    whole, target = masks(source), tmp_path / "target"
    scribbles.main([str(source), str(target), *kind])
    sparse = masks(target)
    assert sparse.keys() == whole.keys()
    for name, mask in whole.items():
        kept = sparse[name] != IGNORE_INDEX
        assert (sparse[name] == mask)[kept].all()
        counts = [kept[tuple(region.T)].sum() for region in connected_regions(mask)]
        assert all(counts)
        assert sum(counts) == kept.sum() < mask.size / 10
        if "3" in kind:
            assert max(counts) == 3
    kept, total = (sum(int((mask != IGNORE_INDEX).sum()) for mask in each.values()) for each in (sparse, whole))
    assert f"keeps {kept:,} of {total:,} labelled pixels (" in capsys.readouterr().out
    assert all((masks(source)[name] == mask).all() for name, mask in whole.items())  # no link was written through


def test_other_files_are_links(source, tmp_path):
    scribbles.main([str(source), str(tmp_path), "--scribbles"])
    layout, copy = (root / "VOCdevkit" / "VOC2012" for root in (source, tmp_path))
    for path in layout.rglob("*"):
        assert (copy / path.relative_to(layout)).exists()
    changed = {path.stem for path in (copy / "SegmentationClass").iterdir() if not path.is_symlink()}
    assert changed == set(masks(source))
    assert (copy / "JPEGImages").resolve() == (layout / "JPEGImages").resolve()


def test_same_seed_makes_same_masks(source, tmp_path):
    for name, seed in (("first", "5"), ("second", "5"), ("other", "6")):
        scribbles.main([str(source), str(tmp_path / name), "--scribbles", "--seed", seed])
    first, second, other = (masks(tmp_path / name) for name in ("first", "second", "other"))
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_small_regions_become_void():
    mask = np.full((8, 8), IGNORE_INDEX, np.uint8)
    mask[0, :2], mask[4, :3] = 1, 2
    sparse = scribbles.sparse_mask(mask, lambda region, random: region, np.random.default_rng(0), min_region=3)
    assert (sparse == np.where(mask == 2, 2, IGNORE_INDEX)).all()


def test_existing_target_or_missing_source_fails(source, tmp_path, capsys):
    scribbles.main([str(source), str(tmp_path), "--points", "1"])
    for arguments, message in (
        ([str(source), str(tmp_path)], "already exists; remove it, or give another target"),
        ([str(tmp_path / "nothing"), str(tmp_path / "new")], "does not hold VOCdevkit/VOC2012; give"),
    ):
        with pytest.raises(SystemExit, match="2"):
            scribbles.main([*arguments, "--points", "1"])
        assert re.search(message, capsys.readouterr().err)
