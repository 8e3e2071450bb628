"""Each stage, killed at random moments and started again, writes the bytes of an undisturbed run.

The kills take turns among SIGKILL, SIGTERM, SIGINT and SIGUSR1. A kill after the end of the stage is repeated.
"""

import itertools
import shutil
import signal
import time

import pytest
from helpers.commands import kill_while_writing, sha256, wait_for
from helpers.small_runs import config

from hypercolumns.stages import run_stage

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
COMMON = [
    "data=shapes",
    "data.val_images=16",
    "cnn.weights=null",
    "trainer.accelerator=cpu",
    "num_workers=1",
]
SAMPLES = ["sampler.n=30"]
CLASSIFIER = ["classifier.hidden=64", "classifier.dropout=0.5", "checkpoint_minutes=0.01"]
STEPS = ["pixels=500", "augment.scale=null", "augment.crop=64", "augment.flip=0.5"]
SETTINGS = {
    "extract": [*SAMPLES, "embedding=0"],
    "pretrain": [*SAMPLES, *CLASSIFIER, "batch_size=128"],
    "train": [*CLASSIFIER, *STEPS, "wise_ft_alpha=0.5", "~callbacks.prediction_panels"],
}
SHORT = ["cnn=rgb", "data.train_images=40"]
LONG = ["data.train_images=120"]
EPOCHS = {"pretrain": 10, "train": 3}
SHORT_EPOCHS = 4
FIRST = {"extract": "samples/*/fingerprint.json", "pretrain": "pretrain/*/run.json", "train": "train/*/run.json"}
LAST = {"extract": "samples/*/index.json", "pretrain": "pretrain/latest", "train": "train/latest"}
RESULT = {"extract": "samples/*/*-*.*", "pretrain": "pretrain/*/model.*", "train": "train/*/model.*"}


@pytest.fixture
def settings(tmp_path, effort):
    """A function that returns the settings of a stage, given its name."""

    def settings(stage):
        size = SHORT if effort == 1 else LONG
        epochs = [f"trainer.max_epochs={SHORT_EPOCHS if effort == 1 else EPOCHS[stage]}"] if stage in EPOCHS else []
        places = [f"runs={tmp_path / 'runs'}", f"data.root={tmp_path / 'data'}"]
        return [f"stage={stage}", *COMMON, *size, *SETTINGS[stage], *epochs, *places]

    return settings


@pytest.fixture
def run(start, settings):
    """A function that starts a stage, given its name."""
    return lambda stage: start("train.py", *settings(stage))


def contents(stage, place):
    """Return the sha256 of each result of the stage, by path."""
    files = sorted(place.glob(f"runs/*/*/{RESULT[stage]}"))
    return {str(path): sha256(path) for path in files if path.parent.name != "latest"}


@pytest.mark.slow(seconds=70)
def test_killed_stage_ends_with_same_bytes(run, settings, tmp_path, effort, chance):
    """In CI only the last stage is killed; the stages before it make its input, in this process."""
    for stage in SETTINGS:
        if stage != "train" and effort == 1:
            run_stage(config("train", *settings(stage)))
            continue
        process = run(stage)
        wait_for(tmp_path, f"runs/*/*/{FIRST[stage]}", process)
        begin = time.perf_counter()
        assert process.wait() == 0
        seconds = time.perf_counter() - begin
        whole = contents(stage, tmp_path)
        assert whole
        for number in itertools.islice(itertools.cycle(SIGNALS), effort):
            kill(run, stage, tmp_path, chance, seconds, number)
            assert run(stage).wait() == 0
            assert contents(stage, tmp_path) == whole, f"{stage} after {signal.Signals(number).name}"
            print(f"{stage}: after {signal.Signals(number).name}, the same command gave the same bytes")


def kill(run, stage, place, chance, seconds, number):
    """Remove the results of a stage, run it and kill it; repeat until the kill comes before the end of the stage.

    Args:
        run: starts a stage, given its name.
        stage: the name of the stage.
        place: the folder with the runs.
        chance: draws the moment of the kill.
        seconds: the latest moment, counted from the first file.
        number: the signal.
    """
    while True:
        for folder in place.glob(f"runs/*/*/{FIRST[stage].partition('/')[0]}"):
            shutil.rmtree(folder)
        moment = chance.uniform(0, seconds)
        code = kill_while_writing(place, f"runs/*/*/{FIRST[stage]}", run(stage), moment, number)
        if not any(place.glob(f"runs/*/*/{LAST[stage]}")):
            assert code in (-number, 128 + number), f"{stage} ended without the signal"
            return
