"""Train a hypercolumn segmenter: `python train.py --help`. See `hypercolumns.commands.train`."""

from hypercolumns.cli import app
from hypercolumns.commands.train import main

if __name__ == "__main__":
    app.run(main)
