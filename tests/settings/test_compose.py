"""Commands that messages give to paste."""

import shlex
import sys

import pytest
from omegaconf import OmegaConf

from hypercolumns.cli.paths import quote_paths
from hypercolumns.settings.compose import command_line
from hypercolumns.settings.invocation import INSTALLED, Invocation, invoked


@pytest.mark.parametrize(
    ("typed", "pasted"),
    [
        ("data.root=my data", "'data.root=my data'"),
        ("data.root=data", "data.root=data"),
        ("data.group_pattern=^(\\w{6})", "'data.group_pattern='\"'\"'^(\\w{6})'\"'\"''"),
        ("cnn.context=[local_mean:7]", "'cnn.context=[local_mean:7]'"),
    ],
)
def test_command_is_quoted_once_and_pastes(typed, pasted):
    quoted = quote_paths([typed])
    assert command_line(quoted) == f"python train.py {pasted}"
    assert quote_paths(shlex.split(command_line(quoted))[2:]) == quoted


def test_command_names_the_places_of_the_configs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--config-dir", "my own", "seed=1", "hydra.searchpath=[x]"])
    assert command_line(["stage=all"]) == "python train.py --config-dir 'my own' 'hydra.searchpath=[x]' stage=all"
    hydra = OmegaConf.create({"overrides": {"hydra": ["hydra.searchpath=[y]", "hydra.mode=RUN"]}})
    with invoked(Invocation(hydra, INSTALLED)):  # called from Python
        assert command_line(["stage=all"]) == "hypercolumns train 'hydra.searchpath=[y]' stage=all"


def test_missing_input_keeps_the_configs(run_script, tmp_path):
    flag = f"--config-dir={tmp_path}"
    result = run_script("train.py", flag, "stage=pretrain", "data=shapes", "cnn=rgb", cwd=tmp_path)
    assert f"make one first: python train.py {flag} stage=extract data=shapes cnn=rgb\n" in result.stderr
