"""Warnings of this package in commands."""

import sys
import warnings

from hypercolumns.cli import app
from hypercolumns.errors import HypercolumnsWarning


def test_own_warning_is_one_line_in_commands(capsys, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        for name in ("handle_stop_signals", "exit_on_signal"):
            monkeypatch.setattr(app.signals, name, lambda *_: None)
        monkeypatch.setattr(app.threading, "excepthook", app.threading.excepthook)
        monkeypatch.setattr(sys, "argv", ["train.py"])
        monkeypatch.setattr(warnings, "showwarning", lambda *place: print("as", place[1].__name__))

        def main():
            warnings.warn("network=a [b] takes 2 GB", HypercolumnsWarning, stacklevel=1)
            warnings.warn("of a library", FutureWarning, stacklevel=1)

        app.run(main)
    assert capsys.readouterr().out == "warning: network=a [b] takes 2 GB\nas FutureWarning\n"
