"""The loggers of a run: one run for all commands, and errors that name the logger."""

import json

import numpy as np
import pytest
from helpers import fake_loggers
from helpers.fake_loggers import FakeWandbLogger

from hypercolumns import HypercolumnsError
from hypercolumns.io.images import encode_png
from hypercolumns.loggers import RunLoggers
from hypercolumns.loggers.silent import SilentLogger
from hypercolumns.runtime import distributed

PICTURE = encode_png(np.zeros((2, 3, 3), np.uint8))


@pytest.fixture(autouse=True)
def calls():
    fake_loggers.CALLS.clear()
    return fake_loggers.CALLS


def loggers(folder, **settings):
    make = {"wandb": lambda id: FakeWandbLogger("run", id, "events", **settings)}
    return RunLoggers(make, folder, {"lr": 0.1})


def test_later_command_continues_the_run(tmp_path, calls):
    with loggers(tmp_path) as first:
        assert first.open() == first.open()
    with loggers(tmp_path) as second:
        second.log_final({"final/miou": 0.5}, {"final_images/panels": PICTURE})
    closing = [("finalize", "success"), ("finish", 0)]
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": "new id"}
    assert calls == [
        ("wandb", "run", None, "events"),
        ("hyperparameters", {"lr": 0.1}),
        *closing,
        ("wandb", "run", "new id", "events"),
        ("hyperparameters", {"lr": 0.1}),
        ("metrics", {"final/miou": 0.5}, None),
        ("image", "final_images/panels", [(3, 2)], 0),
        *closing,
    ]


def test_unused_loggers_are_not_built(tmp_path, calls):
    with loggers(tmp_path):
        pass
    assert (calls, list(tmp_path.iterdir())) == ([], [])


def test_error_of_the_library_names_the_logger(tmp_path):
    message = r"^logger\.wandb: no API key configured; change the settings logger\.wandb, or leave out"
    with loggers(tmp_path, project="broken") as chosen, pytest.raises(HypercolumnsError, match=message):
        chosen.open()


def test_failed_command_closes_the_loggers(tmp_path, calls):
    def command():
        with loggers(tmp_path) as chosen:
            chosen.open()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command()
    assert calls[-2:] == [("finalize", "failed"), ("finish", 1)]


def test_only_rank_zero_logs(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(distributed, "is_rank_zero", lambda: False)
    with loggers(tmp_path) as chosen:
        (logger,) = chosen.open()
    assert isinstance(logger, SilentLogger)
    assert (calls, list(tmp_path.iterdir())) == ([], [])
