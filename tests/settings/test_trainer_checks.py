"""Arguments of Lightning's Trainer that a training can't take are refused before any work."""

import inspect
import re

import pytest
from helpers.small_runs import config
from pytorch_lightning import Trainer

from hypercolumns import HypercolumnsError
from hypercolumns.settings.check import check_settings
from hypercolumns.settings.trainer_checks import HARMLESS, REFUSED, TAKEN


def test_every_argument_is_taken_or_refused():
    assert TAKEN | set(REFUSED) == set(inspect.signature(Trainer).parameters)
    assert not TAKEN & set(REFUSED)
    assert set(HARMLESS) <= set(REFUSED)


def test_harmless_values_include_the_defaults():
    defaults = {name: parameter.default for name, parameter in inspect.signature(Trainer).parameters.items()}
    assert all(defaults[name] in values for name, values in HARMLESS.items())


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("+trainer.max_steps=5", "for a shorter training set trainer.max_epochs and trainer.limit_train_batches"),
        ("+trainer.max_time=00:00:00:10", "for a shorter training set trainer.max_epochs"),
        ("+trainer.fast_dev_run=true", "set trainer.max_epochs=1 trainer.limit_train_batches=1"),
        ("+trainer.overfit_batches=1", "set trainer.limit_train_batches, or use few images by data.train_subset"),
        ("+trainer.val_check_interval=0.5", "at the end of an epoch"),
        ("+trainer.num_sanity_val_steps=2", "this project sets it itself; leave it out"),
        ("+trainer.enable_checkpointing=false", "a training needs its checkpoints"),
        ("+trainer.callbacks=[]", "add a callback by +callbacks.mine._target_="),
        ("+trainer.logger=true", "choose loggers by logger="),
        ("+trainer.foo=1", "trainer.foo is not an argument of Lightning's Trainer; leave it out"),
        ("trainer.precision=bf16-true", "use trainer.precision=bf16-mixed"),
        ("trainer.precision=16-true", "use trainer.precision=16-mixed"),
        ("trainer.precision=64-true", "use trainer.precision=32-true"),
        ("trainer.precision=transformer-engine", "use trainer.precision=32-true"),
        ("trainer.precision=32", "use trainer.precision=32-true"),
        ("+trainer.strategy=fsdp", "trainer.strategy=fsdp must be one of auto, ddp, "),
        ("+trainer.strategy=ddp_spawn", "use trainer=ddp"),
        ("trainer.limit_val_batches=0", "must be a number of batches (1 or more) or a fraction"),
        ("trainer.limit_train_batches=0.0", "must be a number of batches (1 or more) or a fraction"),
        ("trainer.limit_val_batches=1.5", "must be a number of batches (1 or more) or a fraction"),
        ("trainer.max_epochs=-1", "trainer.max_epochs=-1 must be a whole number of at least 1"),
        ("trainer.check_val_every_n_epoch=null", "trainer.check_val_every_n_epoch=None must be a whole number"),
        ("trainer.check_val_every_n_epoch=4", "must be a multiple of trainer.check_val_every_n_epoch=4"),
    ],
)
def test_refusal_of_an_argument_says_what_to_set(override, advice):
    with pytest.raises(HypercolumnsError, match=re.escape(advice)):
        check_settings(config("train", "stage=train", override))


@pytest.mark.parametrize(
    "override",
    [
        "+trainer.max_steps=-1",
        "+trainer.fast_dev_run=false",
        "+trainer.enable_checkpointing=true",
        "+trainer.val_check_interval=1.0",
        "+trainer.min_epochs=2",
        "+trainer.deterministic=true",
        "trainer.limit_val_batches=0.5",
        "trainer.limit_val_batches=8.0",
        "trainer.limit_train_batches=null",
        "trainer.precision=bf16-mixed",
    ],
)
def test_argument_is_taken(override):
    check_settings(config("train", "stage=train", override))
