"""Callbacks of Lightning's that a training can't take are refused before any work."""

import inspect

import pytest
from helpers.small_runs import config
from pytorch_lightning import callbacks

from hypercolumns import HypercolumnsError
from hypercolumns.settings.callbacks import chosen_callbacks

# The arguments that each refused callback needs, and the setting that its message names.
REFUSED = {
    "BackboneFinetuning": ([], "cnn.trainable="),
    "BaseFinetuning": ([], "cnn.trainable="),
    "BatchSizeFinder": ([], "batch_size="),
    "EMAWeightAveraging": ([], "ema=0.999"),
    "EarlyStopping": (["monitor=val/loss"], "patience= and monitor="),
    "GradientAccumulationScheduler": (["scheduling={0:2}"], "trainer.accumulate_grad_batches="),
    "LearningRateFinder": ([], "-m optimizer.lr="),
    "ModelPruning": (["pruning_fn=l1_unstructured"], "classifier.hidden="),
    "ProgressBar": ([], "every training has a progress bar"),
    "RichProgressBar": ([], "every training has a progress bar"),
    "SpikeDetection": ([], "trainer.gradient_clip_val=1"),
    "StochasticWeightAveraging": (["swa_lrs=0.01"], "ema=0.999"),
    "TQDMProgressBar": ([], "every training has a progress bar"),
    "WeightAveraging": ([], "ema=0.999"),
}
TAKEN = {
    "BasePredictionWriter": [],
    "Callback": [],
    "Checkpoint": [],
    "DeviceStatsMonitor": [],
    "LambdaCallback": [],
    "LearningRateMonitor": [],
    "ModelCheckpoint": ["monitor=val/loss"],
    "ModelSummary": [],
    "OnExceptionCheckpoint": ["dirpath=here"],
    "RichModelSummary": [],
    "ThroughputMonitor": ["batch_size_fn={_target_: hydra.utils.get_method, path: builtins.len}"],
    "Timer": [],
}


def build(name, arguments):
    settings = [f"+callbacks.mine._target_=pytorch_lightning.callbacks.{name}"]
    settings += [f"+callbacks.mine.{argument}" for argument in arguments]
    return chosen_callbacks(config("train", "stage=train", *settings))


def test_every_callback_is_taken_or_refused():
    classes = {name for name in callbacks.__all__ if inspect.isclass(getattr(callbacks, name))}
    assert REFUSED.keys() | TAKEN.keys() == classes


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_of_a_callback_says_what_to_set(name):
    arguments, advice = REFUSED[name]
    with pytest.raises(HypercolumnsError, match=rf"^callbacks\.mine: {name} can't be used in a training") as refusal:
        build(name, arguments)
    assert advice in str(refusal.value)


@pytest.mark.parametrize("name", TAKEN)
def test_callback_is_taken(name):
    assert type(build(name, TAKEN[name])[-1]).__name__ == name


def test_timer_that_ends_a_training_is_refused():
    with pytest.raises(HypercolumnsError, match=r"Timer can't be used .*; set trainer\.max_epochs="):
        build("Timer", ["duration=00:00:01:00"])


def test_other_objects_are_no_callbacks():
    with pytest.raises(HypercolumnsError, match=r"^callbacks\.mine: SimpleNamespace is not a callback; give callbacks"):
        chosen_callbacks(config("train", "stage=train", "+callbacks.mine._target_=types.SimpleNamespace"))
