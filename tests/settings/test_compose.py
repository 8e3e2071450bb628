"""Commands that messages give to paste."""

import shlex

import pytest

from hypercolumns.cli.paths import quote_paths
from hypercolumns.settings.compose import command_line


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
