"""Maps in memory and on disk."""

import pytest
import torch

from hypercolumns.annotation.learning.map_cache import MapCache
from hypercolumns.models.alignment import FeatureMap


def maps(seed):
    generator = torch.Generator().manual_seed(seed)
    tables = torch.randn(2, 1, 5, 6, 4, generator=generator).half()
    return [FeatureMap(each.permute(0, 3, 1, 2), torch.arange(5).double(), torch.arange(6).double()) for each in tables]


SIZE = 2 * (5 * 6 * 4 * 2 + 11 * 8)  # bytes of one image's maps


def equal(one, two):
    return all(torch.equal(*pair) for a, b in zip(one, two, strict=True) for pair in zip(a, b, strict=True))


def test_least_recently_used_maps_go_to_disk(tmp_path):
    cache = MapCache(2 * SIZE, tmp_path)
    for number in range(2):
        cache.put(str(number), maps(number))
    cache.get("0")
    cache.put("2", maps(2))
    assert cache.held == 2 * SIZE
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1  # those of image 1
    assert all(equal(cache.get(str(number)), maps(number)) for number in (0, 2, 1, 0))
    assert cache.held == 2 * SIZE


def test_maps_from_disk_keep_their_memory_layout(tmp_path):
    cache = MapCache(0, tmp_path)
    cache.put("a", maps(0))
    cache.put("b", maps(1))
    assert cache.get("a")[0].values.stride() == maps(0)[0].values.stride()


def test_forgotten_maps_leave_no_file(tmp_path):
    cache = MapCache(0, tmp_path)
    cache.put("a", maps(0))
    cache.put("b", maps(1))
    for key in ("a", "b"):
        cache.forget(key)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert (cache.held, "a" in cache) == (0, False)


def test_folder_disappears_with_the_cache(tmp_path):
    cache = MapCache(0, tmp_path)
    cache.put("a", maps(0))
    cache.put("b", maps(1))
    del cache
    assert not list(tmp_path.iterdir())


def test_maps_that_cannot_be_written_stay(tmp_path):
    cache = MapCache(0, tmp_path / "none")
    cache.put("a", maps(0))
    with pytest.warns(UserWarning, match=r"can't be written to .*none .*stay in memory"):
        cache.put("b", maps(1))
    assert all(equal(cache.get(key), maps(number)) for number, key in enumerate("ab"))
    (tmp_path / "none").mkdir()
    cache.put("d", maps(3))
    assert cache.held == SIZE
    assert equal(cache.get("a"), maps(0))
