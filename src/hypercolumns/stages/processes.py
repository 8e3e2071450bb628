"""Where a job runs: on which device, and in how many processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig
from torch import distributed

from hypercolumns.errors import HypercolumnsError

WHERE = ("accelerator", "devices", "num_nodes", "strategy")  # settings of the trainer


def begin(cfg: DictConfig) -> None:
    """Start the processes that the trainer's settings ask for, if nobody else has, and let them find each other.

    A process that is started here runs this very command, up to this point. No process goes on before all are here.
    """
    if distributed.is_initialized():
        return
    trainer = bare_trainer(cfg)
    _check_precision(str(cfg.trainer.precision), trainer.strategy.root_device)
    if trainer.world_size == 1:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and distributed.is_torchelastic_launched():
            raise HypercolumnsError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, but trainer.devices={cfg.trainer.devices} "
                f"means one that works by itself; add trainer=ddp"
            )
        return
    launcher = trainer.strategy.launcher
    assert launcher is not None  # as always where there are several processes
    try:
        launcher.launch(trainer.strategy.setup_environment)
    except ValueError as error:  # torchrun or SLURM started another number of them
        raise _not_right(error) from error


def _check_precision(precision: str, device: torch.device) -> None:
    if precision.startswith("16") and device.type == "cpu":  # Lightning would take another one
        raise HypercolumnsError(f"trainer.precision={precision} is for GPUs; on a CPU use bf16-mixed or 32-true")
    if precision.startswith("bf16") and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise HypercolumnsError(f"trainer.precision={precision}: this GPU has no bf16; use 16-mixed or 32-true")


def is_first() -> bool:
    """Whether this process is the only one, or the one of several that writes files and speaks."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def several() -> bool:
    """Whether there are others."""
    return distributed.is_initialized()


def wait() -> None:
    """Until all processes are here: what the first one has written, the others then find."""
    if distributed.is_initialized():
        distributed.barrier()


def device(cfg: DictConfig) -> torch.device:
    """The device of this process."""
    return bare_trainer(cfg).strategy.root_device


def bare_trainer(cfg: DictConfig, **settings: Any) -> pl.Trainer:
    """A trainer on the machine that the trainer's settings choose, which writes nothing."""
    try:
        return pl.Trainer(
            **{name: cfg.trainer[name] for name in WHERE if name in cfg.trainer},
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            **settings,
        )
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise _not_right(error) from error


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn Lightning's way to end on Ctrl-C into Python's."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _not_right(error: Exception) -> HypercolumnsError:
    return HypercolumnsError(f"trainer: its settings are not right ({' '.join(str(error).split())})")
