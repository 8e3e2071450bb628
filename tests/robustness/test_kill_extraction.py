"""Extraction that is killed at random moments, or shared among processes, writes the bytes of an undisturbed one.

The network is SqueezeNet with random weights, and the pictures are synthetic.
"""

import signal

import pytest
from helpers.commands import kill_while_writing, seconds_of_writing, sha256

STORE = "*/*/samples/*/*"  # the files of a store, below a folder of runs


@pytest.fixture
def extract(start, tmp_path, effort):
    """A function that starts an extraction to a folder of runs, given its name; all extractions share the pictures."""
    settings = ["stage=extract", "data=shapes", "data.val_images=40", f"data.root={tmp_path / 'data'}"]
    settings += [f"data.train_images={64 if effort == 1 else 400}", "cnn.weights=null"]
    settings += ["sampler=uniform", "sampler.n=300", "embedding=0", "trainer.accelerator=cpu"]
    return lambda name: start("train.py", *settings, f"runs={tmp_path / name}")


def contents(runs):
    """Return the sha256 of each file of the store by name, without those that contain the folder."""
    files = [path for path in runs.glob(STORE) if path.name not in ("config.yaml", "environment.json")]
    assert len({path.parent for path in files}) == 1, f"not one store in {runs}"
    return {path.name: sha256(path) for path in sorted(files)}


@pytest.mark.slow(seconds=45)
def test_killed_extraction_ends_with_same_bytes(extract, tmp_path, effort, chance):
    assert extract("first").wait() == 0  # draws the pictures, so its time does not count
    assert extract("alone").wait() == 0
    (store,) = tmp_path.glob("alone/*/*/samples/*")
    seconds = seconds_of_writing(store)
    whole = contents(tmp_path / "alone")
    assert contents(tmp_path / "first") == whole
    for kill in range(effort):
        runs = tmp_path / f"killed {kill}"
        kill_while_writing(runs, STORE, extract(runs.name), chance.uniform(0, seconds), signal.SIGKILL)
        left = len(list(runs.rglob("*.safetensors")))
        assert extract(runs.name).wait() == 0
        assert contents(runs) == whole, f"kill {kill} left {left} shards"
        print(f"kill {kill} left {left} shards; the completed store is the same")


@pytest.mark.slow(seconds=30)
def test_several_writers_make_same_store(extract, tmp_path, effort):
    assert extract("alone").wait() == 0
    whole = contents(tmp_path / "alone")
    for count in [2] if effort == 1 else [1, 2, 4]:
        runs = tmp_path / f"{count} writers"
        writers = [extract(runs.name) for _ in range(count)]
        assert [writer.wait() for writer in writers] == [0] * count
        assert contents(runs) == whole
