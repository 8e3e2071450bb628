"""Wait for the other processes of a command: refuse to wait in vain, say what it waits for, and obey signals."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

from hypercolumns.errors import HypercolumnsError
from hypercolumns.runtime.progress import console
from hypercolumns.runtime.signals import STOPPING

SECONDS = 10.0  # time after which a line says what the process waits for
OWN_LAUNCHERS = ("bash", "interactive")  # names of SLURM jobs in which Lightning starts the processes itself


def check_started_by_srun() -> None:
    """Check that SLURM has started this process as one of the tasks of its job.

    In the script of a job, the variables of SLURM say how many tasks the job has, and that this process is task 0. Only
    `srun` starts the others. Its manual lists SLURM_STEP_NUM_TASKS among the variables of its tasks; sbatch and salloc
    do not set it.

    Raises:
        HypercolumnsError: if the process would wait for tasks that nobody has started.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "1"))
    if tasks < 2 or os.environ.get("SLURM_JOB_NAME") in OWN_LAUNCHERS:
        return
    started = os.environ.get("SLURM_STEP_NUM_TASKS", "0")
    if started != str(tasks) or "SLURM_PROCID" not in os.environ:
        raise HypercolumnsError(
            f"the SLURM job has {tasks} tasks (SLURM_NTASKS), but srun has not started this command for them, so it "
            f"would wait for the others: write srun before python, as in: srun python train.py trainer=ddp; or, on one "
            f"node, let the command start the processes: env -u SLURM_NTASKS python train.py trainer=ddp; or run one "
            f"process: trainer=default"
        )


@contextmanager
def announced(cluster: ClusterEnvironment, world_size: int) -> Iterator[None]:
    """Say after ten seconds of the `with` block what it waits for, and exit at a stop signal in the block.

    torch waits for the other processes outside of Python, so that Python's handlers of signals are not called. The
    number of the signal is read from a pipe in a thread instead.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    timer = threading.Timer(SECONDS, _say, [cluster, world_size])
    timer.daemon = True
    read, write = os.pipe()
    os.set_blocking(write, False)
    before = signal.set_wakeup_fd(write)
    watch = threading.Thread(target=_exit_at_signal, args=[read], daemon=True)
    timer.start()
    watch.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.set_wakeup_fd(before)
        os.close(write)
        watch.join()
        os.close(read)


def _exit_at_signal(pipe: int) -> None:
    while number := os.read(pipe, 1):
        if number[0] in STOPPING:
            os.write(2, b"interrupted while waiting for the other processes\n")
            os._exit(128 + number[0])


def _say(cluster: ClusterEnvironment, world_size: int) -> None:
    place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"  # Lightning has set them by now
    console.print(
        f"waiting for {world_size} processes to connect at {place}; this is process {cluster.global_rank()}. If some "
        f"are not started or can't reach this address, end the command (Ctrl-C), and start all {world_size}, by srun "
        f"or by torchrun on each node",
        markup=False,
        soft_wrap=True,
    )
