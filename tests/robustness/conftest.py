"""The effort of the robustness tests, and the commands that they start.

    uv run pytest -m slow tests/robustness                            one kill of each, 340 mutants, as in CI
    HYPERCOLUMNS_ROBUSTNESS=20 uv run pytest -m slow tests/robustness 20 times as many, on larger sets

The tests make their own data and weights and use no network. They print what they tried; `-rP -s` shows it.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress

import pytest
from helpers.paths import ROOT

VARIABLE = "HYPERCOLUMNS_ROBUSTNESS"


@pytest.fixture(scope="session")
def effort():
    """The number of kills; each kind of file gets 20 times as many mutants."""
    times = int(os.environ.get(VARIABLE, "1"))
    assert times >= 1, f"{VARIABLE}={times} must be at least 1"
    return times


@pytest.fixture
def chance():
    """The generator that draws the moments of the kills."""
    return random.Random(0)


@pytest.fixture
def start():
    """A function that starts train.py or predict.py with one thread and no output; leftover processes are killed."""
    processes = []

    def start(script, *settings):
        command = [sys.executable, str(ROOT / script), *settings]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, start_new_session=True))
        return processes[-1]

    yield start
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers outlive a killed parent by seconds
        process.wait()
