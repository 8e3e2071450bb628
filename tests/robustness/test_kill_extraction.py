"""Extraction that is killed at random moments, or shared among processes, writes the bytes of an undisturbed one.

The network is SqueezeNet with random weights, and the pictures are synthetic.
"""

import signal

import pytest
from helpers.commands import kill_while_writing, seconds_of_writing, sha256

from hypercolumns.data import shapes

STORE = "*/*/samples/*/*"  # the files of a store, below a folder of runs


@pytest.fixture
def extract(start, tmp_path, effort):
    """A function that starts an extraction to a folder of runs, given its name; all extractions share the pictures."""
    number = 64 if effort == 1 else 400
    shapes(tmp_path / "data", train_images=number, val_images=40)  # so that no extraction draws them
    settings = ["stage=extract", "data=shapes", "data.val_images=40", f"data.root={tmp_path / 'data'}"]
    settings += [f"data.train_images={number}", "cnn.weights=null"]
    settings += ["sampler=uniform", "sampler.n=300", "embedding=0", "trainer.accelerator=cpu"]
    return lambda name: start("train.py", *settings, f"runs={tmp_path / name}")


def contents(runs):
    """Return the sha256 of each file of the store by name, without those that contain the folder."""
    files = [path for path in runs.glob(STORE) if path.name not in ("config.yaml", "environment.json")]
    assert len({path.parent for path in files}) == 1, f"not one store in {runs}"
    return {path.name: sha256(path) for path in sorted(files)}


@pytest.mark.slow(seconds=40)
def test_killed_or_shared_store_has_same_bytes(extract, tmp_path, effort, chance):
    assert extract("alone").wait() == 0
    (store,) = tmp_path.glob("alone/*/*/samples/*")
    seconds = seconds_of_writing(store)
    whole = contents(tmp_path / "alone")
    for kill in range(effort):
        runs = tmp_path / f"killed {kill}"
        kill_while_writing(runs, STORE, extract(runs.name), chance.uniform(0, seconds), signal.SIGKILL)
        left = len(list(runs.rglob("*.safetensors")))
        assert extract(runs.name).wait() == 0
        assert contents(runs) == whole, f"kill {kill} left {left} shards"
        print(f"kill {kill} left {left} shards; the completed store is the same")
    for count in [2] if effort == 1 else [1, 2, 4]:
        runs = tmp_path / f"{count} writers"
        writers = [extract(runs.name) for _ in range(count)]
        assert [writer.wait() for writer in writers] == [0] * count
        assert contents(runs) == whole
