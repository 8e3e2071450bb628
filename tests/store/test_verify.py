"""Every damage that can be thought of is found, named, and mended by making the shard again."""

import json
import pickle
import random
import shutil

import pytest
import safetensors
import safetensors.torch
import torch
from store.conftest import make_image, write

from hypercolumns.errors import HypercolumnsError
from hypercolumns.store import SampleStore, find_damage


def found(folder):
    """What is wrong, by whichever of opening and verifying says so."""
    try:
        return find_damage(folder)
    except HypercolumnsError as error:
        return str(error).splitlines()


def test_nothing_is_wrong_with_a_store_as_it_was_written(folder):
    assert find_damage(folder) == []


@pytest.mark.parametrize("part", range(20))
def test_a_shard_cut_short_is_named_without_reading_it(folder, part):
    shard = folder / "train-00001.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) * part // 20])
    assert "train-00001.safetensors" in found(folder)[0]
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors has \d+ bytes, not"):
        SampleStore(folder).split("train")


@pytest.mark.parametrize("flip", range(100))
def test_a_flipped_bit_is_found_in_whichever_file(folder, flip):
    chance = random.Random(flip)
    path = chance.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    assert found(folder)
    if path.name != "index.json":
        assert path.stem in found(folder)[0]


@pytest.mark.parametrize(
    "name", ["train-00000.json", "train-00000.safetensors", "val-00000.json", "index.json", "fingerprint.json"]
)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert name in found(folder)[0]
    if name == "fingerprint.json":  # which reading does without
        return
    with pytest.raises(HypercolumnsError, match=name):
        [SampleStore(folder).split(split) for split in ("train", "val")]


def swap(folder, one, other):
    (folder / one).rename(folder / "third")
    (folder / other).rename(folder / one)
    (folder / "third").rename(folder / other)


@pytest.fixture
def even(tmp_path, fingerprint):
    """A store with shards of one size, which their size does not tell apart."""
    write(tmp_path / "even", fingerprint, lambda number: make_image(number, 4), {"train": 6, "val": 3})
    return tmp_path / "even"


def test_swapped_shards(even):
    swap(even, "train-00000.safetensors", "train-00001.safetensors")
    assert [damage.split(".")[0] for damage in find_damage(even)] == ["train-00000", "train-00001"]
    with pytest.raises(HypercolumnsError, match=r"train-00000\.safetensors belongs to another store or another place"):
        SampleStore(even).split("train").statistics()


def test_swapped_sidecars(even):
    swap(even, "train-00000.json", "train-00001.json")
    assert find_damage(even) == ["train-00000.json is that of train-00001", "train-00001.json is that of train-00000"]


def test_shards_swapped_with_their_sidecars(even):
    for suffix in ("json", "safetensors"):
        swap(even, f"train-00000.{suffix}", f"train-00001.{suffix}")
    assert len(find_damage(even)) == 2


@pytest.mark.parametrize("with_sidecar", [False, True])
def test_a_shard_of_another_store(even, tmp_path, with_sidecar):
    other = tmp_path / "other"
    write(other, {"seed": 2}, lambda number: make_image(number, 4), {"train": 6, "val": 3})
    for suffix in ("json", "safetensors") if with_sidecar else ("safetensors",):
        shutil.copy(other / f"train-00001.{suffix}", even)
    assert [damage.split(".")[0] for damage in find_damage(even)] == ["train-00001"]
    with pytest.raises(HypercolumnsError, match=r"train-00001\.safetensors (belongs to another store|has \d+ bytes)"):
        SampleStore(even).split("train").statistics()


def test_an_index_that_was_edited(folder):
    index = json.loads((folder / "index.json").read_text())
    index["splits"]["train"][1]["rows"] += 1
    index["splits"]["train"][1]["samples_per_class"][0] += 1
    (folder / "index.json").write_text(json.dumps(index))
    assert find_damage(folder) == ["train-00001.json does not agree with the index"]


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
def test_an_index_that_is_odd_is_one_line_for_every_use(folder, edit):
    index = json.loads((folder / "index.json").read_text())
    EDITS[edit](index)
    (folder / "index.json").write_text(json.dumps(index))
    assert found(folder)
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
def test_a_sidecar_that_is_odd_is_made_again(folder, fingerprint, edit):
    path = folder / "train-00001.json"
    whole = path.read_bytes()
    sidecar = json.loads(whole) | edit
    path.write_text(json.dumps({name: value for name, value in sidecar.items() if value is not None}))
    assert found(folder)[0].startswith("train-00001.json lacks some of")
    write(folder, fingerprint)
    assert path.read_bytes() == whole


def test_what_was_found_is_mended_by_making_it_again(folder, fingerprint):
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
        (lambda tensors: tensors["images"].fill_(3), "it has samples of no image"),
        (lambda tensors: tensors["images"].fill_(-1), "it has samples of no image"),
        (lambda tensors: tensors["labels"].fill_(77), "it has not the samples of each class that index.json lists"),
        (lambda tensors: tensors.update(labels=tensors["labels"].int()), "its arrays are not those of a shard"),
        (lambda tensors: tensors.update(labels=tensors["labels"][1:]), "its arrays are not those of a shard"),
        (_without_features, "its arrays are not those of a shard"),
        (_without_the_first, "it has not the 3 samples that index.json lists"),
    ],
)
def test_a_shard_that_cannot_be_is_refused_where_it_is_read(folder, change, message):
    """Nobody has verified it: no index error deep inside."""
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


def test_a_shard_of_garbage_is_refused_where_it_is_read(folder):
    path = folder / "train-00001.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    split = SampleStore(folder).split("train")
    with pytest.raises(
        HypercolumnsError, match=r"train-00001\.safetensors can't be read \(.*header.*\); remove the shard"
    ):
        split.fetch(torch.arange(len(split)))


@pytest.mark.parametrize("images", [None, "abc", [1, 2], ["one"]])
def test_a_sidecar_that_cannot_be_is_refused_where_it_is_read(folder, images):
    path = folder / "train-00000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"images": images}))
    with pytest.raises(HypercolumnsError, match=r"train-00000\.json is damaged \(it lists (no|1) images"):
        list(SampleStore(folder).split("train").images())


def test_a_pickle_in_place_of_a_shard_or_an_index_is_not_opened(folder):
    for name in ("train-00000.safetensors", "index.json", "train-00000.json"):
        (folder / name).write_bytes(pickle.dumps(Executed()).ljust((folder / name).stat().st_size))
        assert name in found(folder)[0] or "can't be read" in found(folder)[0]


class Executed:
    def __reduce__(self):
        return (pytest.fail, ("code in a file was executed",))
