"""Waiting for the other processes of srun and torchrun, which the variables of the environment emulate."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from hypercolumns import HypercolumnsError
from hypercolumns.runtime import distributed, waiting
from hypercolumns.runtime.distributed import Machine

TASK = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
TASK |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
TORCHRUN |= {"LOCAL_WORLD_SIZE": "2"}
SCRIPT = """
from hypercolumns.runtime import distributed, signals, waiting
waiting.SECONDS = 0.5
signals.handle_stop_signals(signals.raise_interrupt)
distributed.launch(distributed.Machine("cpu", 2, strategy="ddp"))
"""


@pytest.fixture
def job(monkeypatch):
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("changes", [{}, {"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_PROCID": None}])
def test_job_without_srun_is_refused(job, changes):
    """A script of sbatch has the variables of a task, but not those of a step of srun."""
    for name, value in changes.items():
        job.delenv(name) if value is None else job.setenv(name, value)
    with pytest.raises(
        HypercolumnsError, match=r"job has 2 tasks \(SLURM_NTASKS\), but srun .*: srun python train\.py"
    ):
        distributed.launch(Machine("cpu", 2, strategy="ddp"))


@pytest.mark.parametrize(
    "changes",
    [{"SLURM_STEP_NUM_TASKS": "2"}, {"SLURM_JOB_NAME": "bash"}, {"SLURM_NTASKS": "1"}, {"SLURM_NTASKS": None}],
)
def test_other_jobs_are_accepted(job, changes):
    for name, value in changes.items():
        job.delenv(name) if value is None else job.setenv(name, value)
    waiting.check_started_by_srun()


@pytest.mark.slow(seconds=25)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("started", [TASK | {"SLURM_STEP_NUM_TASKS": "2"}, TORCHRUN])
def test_process_says_what_it_waits_for(started, number):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment = {**names, **started, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        limit = threading.Timer(90, process.kill)
        limit.start()
        line = next(line for line in process.stdout if line.startswith("waiting"))
        process.send_signal(number)
        error = process.stderr.read()
        limit.cancel()
    assert re.match(rf"waiting for 2 processes to connect at 127\.0\.0\.1:{port}; this is process 0\. ", line)
    assert process.returncode == 128 + number
    assert error.endswith("interrupted while waiting for the other processes\n")
