"""How much the tests here try, and the commands that they start.

    uv run pytest -m slow tests/robustness                            one kill of each, 340 mutants, as in CI
    HYPERCOLUMNS_ROBUSTNESS=20 uv run pytest -m slow tests/robustness 20 times as many, on larger sets

All of it is made here: no data, no weights and no network. What was tried is printed (`-rP -s` shows it).
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from conftest import ROOT

VARIABLE = "HYPERCOLUMNS_ROBUSTNESS"


@pytest.fixture(scope="session")
def effort():
    """How many times to kill; mutants are 20 times as many of each kind."""
    times = int(os.environ.get(VARIABLE, "1"))
    assert times >= 1, f"{VARIABLE}={times} must be at least 1"
    return times


@pytest.fixture
def chance():
    """What the moments of the kills are drawn from."""
    return random.Random(0)


@pytest.fixture
def start():
    """Starts train.py or predict.py, silently and in one thread; what still runs in the end is killed."""
    processes = []

    def start(script, *settings):
        command = [sys.executable, str(ROOT / script), *settings]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, start_new_session=True))
        return processes[-1]

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers too, which outlive a killed process by seconds
        process.wait()
