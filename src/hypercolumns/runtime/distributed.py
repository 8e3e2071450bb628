"""Where a job runs: on which device, and in how many processes."""

import atexit
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runtime.progress import console
from hypercolumns.runtime.signals import handle_stop_signals, raise_interrupt

EXIT_TIMEOUT = 5  # seconds that a process may take to end after the one that started it
Found = TypeVar("Found")


@dataclass(frozen=True)
class Machine:
    """Where a command runs: arguments of Lightning's Trainer, of which None are left to it.

    Attributes:
        accelerator: `cpu`, `gpu`, `auto` and so on.
        devices: how many of them, a process for each.
        precision: of the numbers that are computed with.
        num_nodes: how many machines.
        strategy: how processes share the work, such as `ddp`.
    """

    accelerator: str = "auto"
    devices: int | str | Sequence[int] = 1
    precision: str | int = "32-true"
    num_nodes: int | None = None
    strategy: str | None = None

    def device(self) -> torch.device:
        """The device of this process."""
        return self.trainer().strategy.root_device

    def trainer(self, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
        """A trainer on this machine for inference, which writes nothing and ends at a signal.

        Args:
            callbacks: of Lightning.
            settings: further arguments of the trainer, such as `precision`.

        Raises:
            HypercolumnsError: for a machine that is not there.
        """
        chosen = {name: value for name, value in vars(self).items() if name != "precision" and value is not None}
        try:
            return pl.Trainer(
                **chosen,
                callbacks=[*callbacks, _Interruptible()],
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                **settings,
            )
        except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:  # RuntimeError: of SLURM
            raise _invalid_trainer(error) from error


def launch(machine: Machine) -> None:
    """Launch the process group that the machine asks for, unless torchrun or SLURM already has.

    Each child process re-runs this command up to this point and is ended with its parent. Returns in all processes when
    all are here; only the first of them prints from then on.

    Raises:
        HypercolumnsError: for a machine that is not there, or a precision that it lacks.
    """
    if not distributed.is_initialized():
        _launch(machine)
    console.quiet = not is_rank_zero()


def _launch(machine: Machine) -> None:
    trainer = machine.trainer()
    _check_precision(str(machine.precision), trainer.strategy.root_device)
    if trainer.world_size == 1:
        # Lightning takes it from what torchrun and srun set, even for a command that works by itself
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and distributed.is_torchelastic_launched():
            raise HypercolumnsError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, but trainer.devices={machine.devices} "
                f"means one that works by itself; add trainer=ddp"
            )
        return
    launcher = trainer.strategy.launcher
    assert launcher is not None  # as always where there are several processes
    try:
        launcher.launch(trainer.strategy.setup_environment)
    except ValueError as error:  # torchrun or SLURM started another number of them
        raise _invalid_trainer(error) from error
    if isinstance(launcher, _SubprocessScriptLauncher):
        atexit.register(_end, launcher.procs)


def _check_precision(precision: str, device: torch.device) -> None:
    if precision.startswith("16") and device.type == "cpu":  # Lightning would take another one
        raise HypercolumnsError(f"trainer.precision={precision} is for GPUs; on a CPU use bf16-mixed or 32-true")
    if (
        precision.startswith("bf16")
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise HypercolumnsError(f"trainer.precision={precision}: this GPU has no bf16; use 16-mixed or 32-true")


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """See the processes end that were started here, by force if one does not: it waits for this one."""
    for process in processes:
        try:
            process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()


def is_rank_zero() -> bool:
    """Whether this process is the only one, or the one of several that writes files and speaks."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def is_distributed() -> bool:
    """Whether there are others."""
    return distributed.is_initialized() and distributed.get_world_size() > 1


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """The first process does what is inside, and then the others: they find what it has made."""
    if not is_rank_zero():
        barrier()
    try:
        yield
    finally:
        if is_rank_zero():
            barrier()


def broadcast_from_rank_zero(find: Callable[[], Found]) -> Found:
    """What the first process finds, in all of them."""
    found = [find() if is_rank_zero() else None]
    if is_distributed():
        distributed.broadcast_object_list(found)
    return cast(Found, found[0])


def barrier() -> None:
    """Until all processes are here: what the first one has written, the others then find."""
    if distributed.is_initialized():
        distributed.barrier()


class _Interruptible(pl.Callback):
    """Ends at once when a signal asks to, in place of Lightning, which would wait and let other processes do so."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        handle_stop_signals(raise_interrupt)


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Turn Lightning's way to end on Ctrl-C into Python's."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _invalid_trainer(error: Exception) -> HypercolumnsError:
    return HypercolumnsError(f"trainer: its settings are not right ({' '.join(str(error).split())})")
