"""Checks of the arguments of Lightning's Trainer, in the group `trainer`.

A training must end with the weights of its best epoch, and must resume after a kill. Arguments that prevent this are
refused before any work starts, with the setting that does the same.
"""

from collections.abc import Mapping
from typing import Any

from hypercolumns.errors import HypercolumnsError, is_int

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false")
# The arguments of Lightning's Trainer that a command may give.
TAKEN = frozenset(
    "accelerator accumulate_grad_batches benchmark check_val_every_n_epoch detect_anomaly deterministic devices "
    "enable_autolog_hparams gradient_clip_algorithm gradient_clip_val inference_mode limit_train_batches "
    "limit_val_batches log_every_n_steps max_epochs min_epochs min_steps num_nodes precision profiler strategy".split()
)
SHORTER = "for a shorter training set trainer.max_epochs and trainer.limit_train_batches"
NO_EFFECT = "it has no effect in this project; leave it out"
OWN = "this project sets it itself; leave it out"
# The other arguments, with what to do instead.
REFUSED = {
    "barebones": OWN,
    "callbacks": "add a callback by +callbacks.mine._target_=<its class>",
    "default_root_dir": "set the folder of all results by runs=",
    "enable_checkpointing": "a training needs its checkpoints; leave it out",
    "enable_model_summary": "add +callbacks.summary._target_=pytorch_lightning.callbacks.ModelSummary instead",
    "enable_progress_bar": OWN,
    "fast_dev_run": "for a trial set trainer.max_epochs=1 trainer.limit_train_batches=1 trainer.limit_val_batches=1",
    "limit_predict_batches": NO_EFFECT,
    "limit_test_batches": f"{NO_EFFECT}, or score fewer images by val_images= in stage pretrain",
    "logger": "choose loggers by logger=tensorboard, csv, wandb, mlflow or null",
    "max_steps": f"it would end the training within an epoch, before its validation; {SHORTER}",
    "max_time": f"it would end the training within an epoch, before its validation; {SHORTER}",
    "model_registry": NO_EFFECT,
    "num_sanity_val_steps": OWN,
    "overfit_batches": "set trainer.limit_train_batches, or use few images by data.train_subset",
    "plugins": OWN,
    "reload_dataloaders_every_n_epochs": OWN,
    "sync_batchnorm": "several processes always share the statistics of batch normalisation; leave it out",
    "use_distributed_sampler": OWN,
    "val_check_interval": "each validation comes at the end of an epoch; for more of them set "
    "trainer.limit_train_batches and more trainer.max_epochs",
}
# Values that change nothing.
HARMLESS = {
    "barebones": (False,),
    "enable_checkpointing": (None, True),
    "fast_dev_run": (False,),
    "max_steps": (-1,),
    "max_time": (None,),
    "overfit_batches": (0,),
    "val_check_interval": (None, 1.0),
}


def check_trainer(name: str, value: Mapping[str, Any]) -> None:
    """Check that this project can take each argument of Lightning's Trainer.

    Raises:
        HypercolumnsError: for the first argument that is refused or unknown; the message says what to set instead.
    """
    for argument, given in value.items():
        if argument in TAKEN or argument == "_target_" or given in HARMLESS.get(argument, ()):
            continue
        if argument not in REFUSED:
            raise HypercolumnsError(f"{name}.{argument} is not an argument of Lightning's Trainer; leave it out")
        raise HypercolumnsError(f"{name}.{argument}={given} can't be set: {REFUSED[argument]}")


def check_precision(name: str, value: object) -> None:
    """Check the number format of a training or a scoring.

    Raises:
        HypercolumnsError: if it is not one of `PRECISIONS`.
    """
    if value not in PRECISIONS:
        half = "bf16" if str(value).startswith("bf16") else "16"
        instead = f"{half}-mixed" if "16" in str(value) else PRECISIONS[0]
        raise HypercolumnsError(
            f"{name}={value} must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, because the weights are always "
            f"kept in 32 bits; use {name}={instead}"
        )


def check_strategy(name: str, value: object) -> None:
    """Check how processes share a training: each of them must hold the whole model.

    Raises:
        HypercolumnsError: if it is not one of `STRATEGIES`.
    """
    if value not in STRATEGIES:
        raise HypercolumnsError(f"{name}={value} must be one of {', '.join(STRATEGIES)}; use trainer=ddp")


def check_batches(name: str, value: object) -> None:
    """Check the number of batches of an epoch or of a validation, or their fraction.

    Raises:
        HypercolumnsError: if it is not null, a whole number of at least 1, or a fraction above 0 and at most 1.
    """
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    fraction = isinstance(value, float) and 0 < value <= 1
    if value is not None and not fraction and not is_int(whole, 1):
        raise HypercolumnsError(
            f"{name}={value} must be a number of batches (1 or more) or a fraction of all (above 0, at most 1.0): each "
            f"epoch is trained and validated, so that the best can be chosen"
        )
