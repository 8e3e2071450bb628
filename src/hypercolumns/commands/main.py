"""The command `hypercolumns`, which runs what `train.py` and `predict.py` run, from any folder."""

import sys
from importlib import import_module

from hypercolumns.cli import app

PROGRAMS = {"train": "train a model", "predict": "segment images with a model"}


def main() -> None:
    """Run the program that the first argument names, with the other arguments.

    `sys.argv[0]` becomes the path of the program's file, by which Lightning starts further processes of a training.
    """
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        print("usage: hypercolumns train|predict SETTING=VALUE ...", file=sys.stderr)
        for name, purpose in PROGRAMS.items():
            print(f"  {purpose}: hypercolumns {name} --help", file=sys.stderr)
        sys.exit(2)
    program = import_module(f"hypercolumns.commands.{sys.argv.pop(1)}")
    sys.argv[0] = str(program.__file__)
    app.run(program.main)
