"""Devices, ranks and process groups."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher
from torch import distributed

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runtime import processes
from hypercolumns.runtime.progress import console
from hypercolumns.runtime.signals import handle_stop_signals, raise_interrupt
from hypercolumns.runtime.waiting import announced, check_started_by_srun

Found = TypeVar("Found")


@dataclass(frozen=True)
class Machine:
    """The devices that a command uses, as arguments of Lightning's Trainer.

    Attributes:
        accelerator: the kind of device, such as `cpu`, `gpu` or `auto`.
        devices: the number of devices to use on each machine, or their indices, or `auto`. One process runs on each
            device.
        precision: the floating-point precision, such as `32-true` or `bf16-mixed`.
        num_nodes: the number of machines; None for Lightning's default.
        strategy: how ranks share the work, such as `ddp`; None for Lightning's default.
    """

    accelerator: str = "auto"
    devices: int | str | Sequence[int] = 1
    precision: str | int = "32-true"
    num_nodes: int | None = None
    strategy: str | None = None

    def device(self) -> torch.device:
        """Return the device of this process."""
        return self.trainer().strategy.root_device

    def trainer(self, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
        """Build a trainer for inference. It writes no files, and a stop signal stops it at once.

        Args:
            callbacks: Lightning callbacks.
            settings: more arguments of Lightning's Trainer. The attribute `precision` of this object is not used: give
                `precision` here, or the trainer has Lightning's default precision.

        Returns:
            The trainer.

        Raises:
            HypercolumnsError: if Lightning rejects the settings, for example because a device does not exist.
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
        # a RuntimeError comes from Lightning's code for SLURM
        except (TypeError, ValueError, RuntimeError, MisconfigurationException) as error:
            raise _invalid_trainer(error) from error


def launch(machine: Machine) -> None:
    """Start one process for each device of `machine`, and connect the processes.

    If torchrun or SLURM has already started the processes, they are only connected. Otherwise this process starts
    child processes. They run the same command up to this call, and they end when this process ends. The call returns
    when all processes are connected. From then on, only rank zero prints.

    Raises:
        HypercolumnsError: if a device does not exist or does not support the precision, or if the number of processes
            that torchrun, SLURM or an earlier call has started is not the number of devices, or if the command runs in
            a SLURM job of several tasks without srun.
    """
    if not distributed.is_initialized():
        _launch(machine)
    elif (wanted := machine.trainer().world_size) != distributed.get_world_size():
        raise HypercolumnsError(
            f"trainer.devices={machine.devices} asks for {wanted} processes, but an earlier training of this program "
            f"has started {distributed.get_world_size()}, which all run to the end of the program; use the same "
            f"trainer settings in all trainings, or a program of its own for this one"
        )
    console.quiet = not is_rank_zero()


def _launch(machine: Machine) -> None:
    if machine.strategy is not None and not distributed.is_torchelastic_launched():
        check_started_by_srun()
    trainer = machine.trainer()
    check_precision(str(machine.precision), trainer.strategy.root_device)
    if trainer.world_size == 1:
        # Lightning reads the rank from torchrun's and srun's variables even if this command uses one process
        rank_zero_only.rank = 0  # type: ignore[attr-defined]
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and distributed.is_torchelastic_launched():
            raise HypercolumnsError(
                f"torchrun started {os.environ['WORLD_SIZE']} processes, but trainer.devices={machine.devices} "
                f"asks for one process; add trainer=ddp"
            )
        return
    launcher = trainer.strategy.launcher
    assert launcher is not None  # strategies with several processes always have a launcher
    cluster = getattr(trainer.strategy, "cluster_environment", None)
    external = cluster is not None and cluster.creates_processes_externally
    wait = announced(cluster, trainer.world_size) if cluster is not None and external else nullcontext()
    try:
        with wait:
            launcher.launch(trainer.strategy.setup_environment)
    except ValueError as error:  # torchrun or SLURM has started another number of processes
        raise _invalid_trainer(error) from error
    finally:
        if isinstance(launcher, _SubprocessScriptLauncher):
            processes.adopt(launcher.procs)


def check_precision(precision: str, device: torch.device) -> None:
    """Check that a device supports a precision.

    Raises:
        HypercolumnsError: if the device does not support the precision.
    """
    if precision.startswith("16") and device.type == "cpu":  # Lightning would silently use another precision
        raise HypercolumnsError(f"trainer.precision={precision} is for GPUs; on a CPU use bf16-mixed or 32-true")
    if (
        precision.startswith("bf16")
        and device.type == "cuda"
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise HypercolumnsError(
            f"trainer.precision={precision}: this GPU does not support bf16; use 16-mixed or 32-true"
        )


def is_rank_zero() -> bool:
    """Whether this process is rank zero or the only process. Ranks other than zero neither write files nor print."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def is_distributed() -> bool:
    """Whether the process group has more than one rank."""
    return distributed.is_initialized() and distributed.get_world_size() > 1


@contextmanager
def rank_zero_first() -> Iterator[None]:
    """Run the `with` block on rank zero first, then on the other ranks.

    The other ranks can use the files that rank zero wrote in its block.
    """
    if not is_rank_zero():
        barrier()
    try:
        yield
    finally:
        if is_rank_zero():
            barrier()


def broadcast_from_rank_zero(find: Callable[[], Found]) -> Found:
    """Call `find` on rank zero only, and return the result on all ranks. All ranks must make this call."""
    result = [find() if is_rank_zero() else None]
    if is_distributed():
        distributed.broadcast_object_list(result)
    return cast(Found, result[0])


def gather(value: Found) -> list[Found]:
    """Return the values of all ranks, ordered by rank. All ranks must make this call."""
    values = [value]
    if is_distributed():
        values *= distributed.get_world_size()
        distributed.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until all ranks have made this call; a single process does not wait."""
    if distributed.is_initialized():
        distributed.barrier()


class _Interruptible(pl.Callback):
    """Make a stop signal stop `Trainer.test` at once. Lightning's own handler would finish the batch first."""

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        handle_stop_signals(raise_interrupt)


@contextmanager
def interruptible(trainer: pl.Trainer) -> Iterator[None]:
    """Raise the original KeyboardInterrupt if Lightning replaces it by a SystemExit in the `with` block."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise


def _invalid_trainer(error: Exception) -> HypercolumnsError:
    return HypercolumnsError(f"invalid trainer settings: {' '.join(str(error).split())}")
