"""Damage to a store is found and named, and making the shard again repairs it."""

import json
import pickle
import random
import shutil

import pytest
import safetensors
import safetensors.torch
import torch
from helpers.sample_store import make_image, write

from hypercolumns.errors import HypercolumnsError
from hypercolumns.store import SampleStore, find_damage


def damages(folder):
    """Return the damage that opening or verifying the store reports, one line each."""
    try:
        return find_damage(folder)
    except HypercolumnsError as error:
        return str(error).splitlines()


def test_intact_store_has_no_damage(folder):
    assert find_damage(folder) == []


@pytest.mark.parametrize("part", range(20))
def test_truncated_shard_is_named_without_reading(folder, part):
    shard = folder / "train-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) * part // 20])
    assert "train-00001.safetensors" in damages(folder)[0]
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors has \d+ bytes, not"):
        SampleStore(folder).split("train")


@pytest.mark.parametrize("flip", range(100))
def test_flipped_bit_in_any_file_is_found(folder, flip):
    chance = random.Random(flip)
    path = chance.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    assert damages(folder)
    if path.name != "index.json":
        assert path.stem in damages(folder)[0]


@pytest.mark.parametrize(
    "name", ["train-00000.json", "train-00000.safetensors", "val-00000.json", "index.json", "fingerprint.json"]
)
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in damages(folder)[0]
    if name == "fingerprint.json":  # reading does not need this file
        return
    with pytest.raises(HypercolumnsError, match=name):
        [SampleStore(folder).split(split) for split in ("train", "val")]


def swap(folder, first, second):
    (folder / first).rename(folder / "third")
    (folder / second).rename(folder / first)
    (folder / "third").rename(folder / second)


@pytest.fixture
def even(tmp_path, fingerprint):
    """Return a store whose train shards have the same size, so that their size does not distinguish them."""
    write(tmp_path / "even", fingerprint, lambda number: make_image(number, 4), {"train": 6, "val": 3})
    return tmp_path / "even"


def test_swapped_shards_are_found(even):
    swap(even, "train-00000.safetensors", "train-00001.safetensors")
    assert [damage.split(".")[0] for damage in find_damage(even)] == ["train-00000", "train-00001"]
    with pytest.raises(HypercolumnsError, match=r"train-00000\.safetensors belongs to another store or another shard"):
        SampleStore(even).split("train").statistics()


def test_swapped_sidecars_are_found(even):
    swap(even, "train-00000.json", "train-00001.json")
    assert find_damage(even) == [
        "train-00000.json is the sidecar of train-00001",
        "train-00001.json is the sidecar of train-00000",
    ]


def test_shards_swapped_with_sidecars_are_found(even):
    for suffix in ("json", "safetensors"):
        swap(even, f"train-00000.{suffix}", f"train-00001.{suffix}")
    assert len(find_damage(even)) == 2


@pytest.mark.parametrize("with_sidecar", [False, True])
def test_shard_of_other_store_is_found(even, tmp_path, with_sidecar):
    other = tmp_path / "other"
    write(other, {"seed": 2}, lambda number: make_image(number, 4), {"train": 6, "val": 3})
    for suffix in ("json", "safetensors") if with_sidecar else ("safetensors",):
        shutil.copy(other / f"train-00001.{suffix}", even)
    assert [damage.split(".")[0] for damage in find_damage(even)] == ["train-00001"]
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors (belongs to another store|has \d+ bytes)"):
        SampleStore(even).split("train").statistics()


def test_edited_index_is_found(folder):
    index = json.loads((folder / "index.json").read_text())
    index["splits"]["train"][1]["rows"] += 1
    index["splits"]["train"][1]["samples_per_class"][0] += 1
    (folder / "index.json").write_text(json.dumps(index))
    assert find_damage(folder) == ["train-00001.json does not agree with index.json"]


EDITS = {
    "no splits": lambda index: index.update(splits=[]),
    "no val": lambda index: index["splits"].pop("val"),
    "a shard less": lambda index: index["splits"]["train"].pop(),
    "an empty split": lambda index: index["splits"].update(val=[]),
    "no channels": lambda index: index["splits"]["train"][0].pop("channels"),
    "other channels": lambda index: index["splits"]["train"][1].update(channels=4),
    "rows below 0": lambda index: index["splits"]["train"][1].update(rows=-5),
    "rows as text": lambda index: index["splits"]["train"][1].update(rows="3"),
    "classes as text": lambda index: index["splits"]["train"][1].update(samples_per_class="x"),
    "no fingerprint": lambda index: index.pop("fingerprint"),
    "splits of numbers": lambda index: index.update(splits={"train": 3, "val": 4}),
    "no bytes": lambda index: index["splits"]["train"][1].pop("bytes"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_invalid_index_never_raises_other_errors(folder, edit):
    index = json.loads((folder / "index.json").read_text())
    EDITS[edit](index)
    (folder / "index.json").write_text(json.dumps(index))
    assert damages(folder)
    try:
        for name in ("train", "val"):
            split = SampleStore(folder).split(name)
            split.statistics()
            split.fetch(torch.arange(len(split)))
    except HypercolumnsError:
        pass


@pytest.mark.parametrize(
    "edit", [{"bytes": None}, {"rows": None}, {"sha256": None}, {"images": 3}, {"samples_per_class": "x"}]
)
def test_invalid_sidecar_is_made_again(folder, fingerprint, edit):
    path = folder / "train-00001.json"
    whole = path.read_bytes()
    sidecar = json.loads(whole) | edit
    path.write_text(json.dumps({name: value for name, value in sidecar.items() if value is not None}))
    assert damages(folder)[0].startswith("train-00001.json lacks one of the fields shard, ")
    write(folder, fingerprint)
    assert path.read_bytes() == whole


def test_making_shard_again_repairs_damage(folder, fingerprint):
    shard = folder / "train-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert find_damage(folder)
    shard.with_suffix(".json").unlink()
    write(folder, fingerprint)
    assert find_damage(folder) == []
    assert shard.read_bytes() == whole


def _without_features(tensors):
    del tensors["features"]


def _without_the_first(tensors):
    for name in ("features", "labels", "images", "positions"):
        tensors[name] = tensors[name][1:].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors["images"].fill_(3), "it has samples without an image"),
        (lambda tensors: tensors["images"].fill_(-1), "it has samples without an image"),
        (lambda tensors: tensors["labels"].fill_(77), "its class counts differ from those in index.json"),
        (
            lambda tensors: tensors.update(labels=tensors["labels"].int()),
            "its tensors do not have the names, types and shapes of a shard",
        ),
        (
            lambda tensors: tensors.update(labels=tensors["labels"][1:]),
            "its tensors do not have the names, types and shapes of a shard",
        ),
        (_without_features, "its tensors do not have the names, types and shapes of a shard"),
        (_without_the_first, "it does not hold the 3 samples of 6 channels listed in index.json"),
    ],
)
def test_invalid_shard_is_refused_on_reading(folder, change, message):
    """Reading an unverified store raises no IndexError from deep inside."""
    path = folder / "train-00001.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata()
    change(tensors)
    safetensors.torch.save_file(tensors, path, metadata)
    index = json.loads((folder / "index.json").read_text())
    index["splits"]["train"][1]["bytes"] = path.stat().st_size
    (folder / "index.json").write_text(json.dumps(index))
    split = SampleStore(folder).split("train")
    with pytest.raises(HypercolumnsError, match=rf"train-00001\.safetensors is damaged \({message}\); remove"):
        split.fetch(torch.arange(len(split)), with_coordinates=True)


def test_shard_of_zeros_is_refused_on_reading(folder):
    path = folder / "train-00001.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    split = SampleStore(folder).split("train")
    with pytest.raises(
        HypercolumnsError, match=r"train-00001\.safetensors can't be read \(.*header.*\); remove the shard"
    ):
        split.fetch(torch.arange(len(split)))


@pytest.mark.parametrize("images", [None, "abc", [1, 2], ["one"]])
def test_invalid_sidecar_is_refused_on_reading(folder, images):
    path = folder / "train-00000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": images}))
    with pytest.raises(HypercolumnsError, match=r"train-00000\.json is damaged \(it lists (no|1) images"):
        list(SampleStore(folder).split("train").images())


def test_pickle_is_not_loaded(folder):
    for name in ("train-00000.safetensors", "index.json", "train-00000.json"):
        (folder / name).write_bytes(pickle.dumps(Executed()).ljust((folder / name).stat().st_size))
        assert name in damages(folder)[0] or "can't be read" in damages(folder)[0]


class Executed:
    """An object that fails the test when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("code in a file was executed",))
