"""Reading and writing a store, also after a kill and by several processes."""

import json
import os
import pickle
import re
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from helpers.sample_store import COUNTS, SPLITS, make_image, write

from hypercolumns.cli.app import error_line
from hypercolumns.errors import HypercolumnsError
from hypercolumns.store import INDEX, SampleStore, StoreWriter, fingerprint_of, writer


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestReading:
    def test_samples_equal_those_written(self, folder, fingerprint):
        store = SampleStore(folder)
        assert store.fingerprint == fingerprint_of(folder) == fingerprint
        split = store.split("train")
        assert (len(split), len(store.split("val"))) == (10, 3)
        for image, stored in zip(map(make_image, range(5)), split.images(), strict=True):
            assert (stored.id, stored.size) == (image.id, image.size)
            assert torch.equal(stored.positions.long(), image.positions)
            assert torch.equal(stored.labels.long(), image.labels)
            assert torch.equal(stored.features, image.features.half())

    @pytest.mark.parametrize("rows", [[9, 0, 5, 5, 7, 2], [0, 1, 6, 7], [7], []])
    def test_rows_are_fetched_in_requested_order(self, folder, rows):
        split = SampleStore(folder).split("train")
        images = [make_image(number) for number in range(5)]
        features, labels, (y, x) = split.fetch(torch.tensor(rows, dtype=torch.int64), with_coordinates=True)
        assert len(split.fetch(torch.tensor(rows, dtype=torch.int64)).coordinates.y) == 0
        assert (features.dtype, labels.dtype) == (torch.float16, torch.int64)
        assert torch.equal(features, torch.cat([image.features for image in images]).half()[rows])
        assert torch.equal(labels, torch.cat([image.labels for image in images])[rows])
        centres = torch.cat([(image.positions + 0.5) / torch.tensor(image.size) for image in images])[rows]
        assert torch.allclose(torch.stack([y, x], dim=1), centres)

    def test_origins_give_image_row_and_column(self, folder):
        origins = SampleStore(folder).split("train").origins(torch.tensor([8, 0]))
        row, column = make_image(3).positions[1].tolist()
        first = make_image(0).positions[0].tolist()
        assert origins == [("image 3", row, column), ("image 0", *first)]

    def test_statistics_equal_those_of_features(self, folder):
        mean, std = SampleStore(folder).split("train").statistics()
        everything = torch.cat([make_image(number).features for number in range(5)]).half().double()
        assert mean.dtype == torch.float64
        assert torch.allclose(mean, everything.mean(0))
        assert torch.allclose(std, everything.std(0, correction=0))

    def test_samples_of_each_image_are_counted(self, folder):
        counts = SampleStore(folder).split("train").samples_per_image()
        assert counts.tolist() == [len(make_image(number).labels) for number in range(5)]

    def test_samples_of_each_class_are_counted(self, folder):
        split = SampleStore(folder).split("train")
        labels = torch.cat([make_image(number).labels for number in range(5)])
        assert torch.equal(split.samples_per_class(7), labels.bincount(minlength=7))
        assert split.counts.shape[0] == 2

    def test_shards_are_plain_safetensors(self, folder):
        tensors = safetensors.torch.load_file(folder / "train-00000.safetensors")
        assert tensors["features"].dtype == torch.float16
        assert tensors["images"].tolist() == [0, 0, 0, 2, 2, 2, 2]
        assert tensors["sums"].dtype == torch.float64

    def test_features_are_memory_mapped(self, folder):
        features = SampleStore(folder).split("train").tensors(0)["features"]
        with open("/proc/self/maps") as maps:
            mapped = [line for line in maps if "train-00000.safetensors" in line]
        starts = [range(*(int(end, 16) for end in line.split()[0].split("-"))) for line in mapped]
        assert any(features.data_ptr() in addresses for addresses in starts)

    def test_pickled_split_leaves_out_memory_maps(self, folder):
        split = SampleStore(folder).split("train")
        unopened = pickle.dumps(split)
        mean, _ = split.statistics()
        assert pickle.dumps(split) == unopened
        assert torch.equal(pickle.loads(unopened).statistics()[0], mean)

    def test_unfinished_store_is_refused(self, folder):
        (folder / "index.json").unlink()
        with pytest.raises(HypercolumnsError, match="is not a finished store ") as caught:
            SampleStore(folder)
        assert re.search(r"is not a finished store .* stage=extract", error_line(caught.value))

    def test_store_of_other_format_is_refused(self, folder):
        (folder / "index.json").write_text('{"format": 99}')
        message = r"has format 99, but this version of the program reads format 1; make the store again"
        with pytest.raises(HypercolumnsError, match=message) as caught:
            SampleStore(folder)
        assert re.search(r"make the store again .*stage=extract .*overwrite=true", error_line(caught.value))


class TestWriting:
    def test_shard_without_sidecar_is_missing(self, folder, fingerprint):
        with StoreWriter(folder, fingerprint, SPLITS) as store:
            assert store.missing("train") == []
            (folder / "train-00001.json").unlink()
            assert [shard.name for shard in StoreWriter(folder, fingerprint, SPLITS).missing("train")] == [
                "train-00001"
            ]
        assert not list(folder.glob(".*"))  # no lock files and no temporary files

    def test_only_missing_shards_are_made_again(self, folder, fingerprint):
        before = contents(folder)
        modified = (folder / "train-00000.safetensors").stat().st_mtime_ns
        for name in ("index.json", "train-00001.json", "val-00000.safetensors"):
            (folder / name).unlink()
        (folder / ".train-00001.safetensors.123.tmp").write_bytes(b"left by a kill")
        (folder / ".train-00001.safetensors.123d.tmp").mkdir()
        write(folder, fingerprint)
        assert contents(folder) == before
        assert (folder / "train-00000.safetensors").stat().st_mtime_ns == modified

    @pytest.mark.parametrize("damage", ["cut", "other", "swapped", "no json"])
    def test_damaged_shard_is_made_again(self, folder, fingerprint, damage):
        before = contents(folder)
        tensors, sidecar = folder / "train-00001.safetensors", folder / "train-00001.json"
        if damage == "cut":
            tensors.write_bytes(tensors.read_bytes()[:-1])
        elif damage == "other":
            sidecar.write_text(sidecar.read_text().replace('"seed": 1', '"seed": 2'))
        elif damage == "swapped":
            sidecar.write_bytes((folder / "train-00000.json").read_bytes())
        else:
            sidecar.write_text("{")
        write(folder, fingerprint)
        assert contents(folder) == before

    def test_claim_excludes_other_writers(self, tmp_path, fingerprint):
        with StoreWriter(tmp_path, fingerprint, SPLITS) as first, StoreWriter(tmp_path, fingerprint, SPLITS) as second:
            shard, others = next(first.claims("train")), list(second.claims("train"))
            assert [claimed.name for claimed in (shard, *others)] == ["train-00000", "train-00001"]
            assert list(second.claims("train")) == []
            first.write(shard, [make_image(number) for number in first.images(shard)])
            assert [missing.name for missing in second.missing("train")] == ["train-00001"]
        with StoreWriter(tmp_path, fingerprint, SPLITS) as third:  # claims what `second` has not written
            assert [shard.name for shard in third.claims("train")] == ["train-00001"]

    def test_claims_of_killed_process_are_released(self, tmp_path, fingerprint):
        code = f"""
import sys, time
from pathlib import Path
from hypercolumns.store import StoreWriter
writer = StoreWriter(Path({str(tmp_path)!r}), {fingerprint!r}, {{"train": 3}})
print(next(writer.claims("train")).name, flush=True)
time.sleep(20)
"""
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout.readline() == "train-00000\n"
            with StoreWriter(tmp_path, fingerprint, {"train": 3}) as store:
                assert list(store.claims("train")) == []
                with pytest.raises(HypercolumnsError, match="another process is writing"):
                    store.clear()
                other.kill()
                other.wait()
                assert [shard.name for shard in store.claims("train")] == ["train-00000"]

    def test_clear_removes_only_files_of_store(self, folder, fingerprint):
        (folder / "notes.json").write_text("mine")
        (folder / "cat-pictures.txt").write_text("mine")
        (folder / ".train-00001.safetensors.123d.tmp").mkdir()
        with StoreWriter(folder, fingerprint, {"train": 1}) as store:
            store.clear()
        assert sorted(path.name for path in folder.iterdir()) == ["cat-pictures.txt", "fingerprint.json", "notes.json"]

    def test_index_with_other_class_counts_is_refused(self, folder):
        index = json.loads((folder / INDEX).read_text())
        counts = index["splits"]["train"][0]["samples_per_class"]
        counts[0], counts[1] = counts[0] + 1, counts[1] - 1
        (folder / INDEX).write_text(json.dumps(index))
        with pytest.raises(HypercolumnsError, match=r"its class counts differ from those in index\.json"):
            SampleStore(folder).split("train").fetch(torch.arange(3))

    @pytest.mark.parametrize("value", ["Infinity", "-1e999", "[]"])
    def test_index_with_invalid_number_is_refused(self, folder, value):
        text = re.sub(r'"bytes": \d+', f'"bytes": {value}', (folder / INDEX).read_text())
        (folder / INDEX).write_text(text)
        with pytest.raises(HypercolumnsError, match=r"index\.json is damaged"):
            SampleStore(folder)

    def test_split_without_samples_is_refused(self, tmp_path, fingerprint):
        with pytest.raises(HypercolumnsError, match="no samples of the val split"):
            write(tmp_path, fingerprint, lambda number: make_image(number, 0 if number < 2 else 1))
        assert not (tmp_path / "index.json").exists()

    def test_shard_without_samples_is_valid(self, tmp_path, fingerprint):
        write(tmp_path, fingerprint, lambda number: make_image(number, 0 if number < 3 else 2), {"train": 5})
        split = SampleStore(tmp_path).split("train")
        assert len(split) == 4
        assert torch.equal(split.fetch(torch.tensor([2]))[0][0], make_image(4, 2).features[0].half())
        assert split.samples_per_class(5).sum() == 4

    def test_fingerprint_is_compared_as_json(self, tmp_path):
        write(tmp_path, {"size": (1, 2)})
        assert SampleStore(tmp_path).fingerprint == {"size": [1, 2]}
        assert StoreWriter(tmp_path, {"size": (1, 2)}, SPLITS).missing("train") == []

    def test_incomplete_index_is_written_again(self, folder, fingerprint):
        before = contents(folder)
        for damage in ('{"format": 1}', "{", json.dumps({"format": 1, "fingerprint": fingerprint, "splits": {}})):
            (folder / "index.json").write_text(damage)
            write(folder, fingerprint)
            assert contents(folder) == before

    def test_large_splits_have_larger_shards(self, tmp_path, monkeypatch):
        monkeypatch.setattr(writer, "MAX_SHARDS", 4)
        store = StoreWriter(tmp_path, {}, {"train": 22})
        assert [list(store.images(shard)) for shard in store.missing("train")] == [
            list(range(0, 6)),
            list(range(6, 12)),
            list(range(12, 18)),
            list(range(18, 22)),
        ]

    @pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
    def test_full_disk_keeps_complete_shards(self, tmp_path, fingerprint):
        code = f"""
import resource, signal, sys
from helpers.sample_store import *
from hypercolumns.store import StoreWriter, writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer.MIN_SHARD_IMAGES = 3
from pathlib import Path
def make(number):
    if number == 3:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))
    return make_image(number)
try:
    write(Path({str(tmp_path)!r}), {fingerprint!r}, make)
except writer.HypercolumnsError as error:
    print(error)
"""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert "train-00001.safetensors can't be written (" in result.stdout, result.stderr
        assert len(result.stdout.splitlines()) == 1
        assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} == {
            "fingerprint.json",
            "train-00000.json",
            "train-00000.safetensors",
        }
        write(tmp_path, fingerprint)
        assert len(SampleStore(tmp_path).split("train")) == sum(COUNTS)


@pytest.mark.skipif(os.name != "posix", reason="needs fork")
def test_concurrent_writers_make_same_store(tmp_path, fingerprint):
    """Four processes start at the same moment and compete for the shards."""
    alone, together = tmp_path / "alone", tmp_path / "together"
    splits = {"train": 60, "val": 7}
    many = {"make": lambda number: make_image(number, 5), "splits": splits}
    write(alone, fingerprint, **many)
    code = f"""
import os, sys, time
from pathlib import Path
from helpers.sample_store import *
from hypercolumns.store import StoreWriter, writer
writer.MIN_SHARD_IMAGES = 3
start = time.time() + 0.2
if all(os.fork() for _ in range(4)):
    sys.exit(any([os.wait()[1] for _ in range(4)]))
while time.time() < start:
    pass
with StoreWriter(Path({str(together)!r}), {fingerprint!r}, {splits!r}) as store:
    for split in {splits!r}:
        while store.missing(split):
            for shard in store.claims(split):
                store.write(shard, [make_image(number, 5) for number in store.images(shard)])
                sys.stdout.write(f"{{shard.name}}\\n")
    store.write_index()
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    each = sorted(path.stem for path in alone.glob("*.safetensors"))
    assert sorted(done.stdout.split()) == each  # each shard was made exactly once
    assert contents(together) == contents(alone)
