"""Segment images with a finished model: `python predict.py --help`. See `hypercolumns.commands.predict`."""

from hypercolumns.cli import app
from hypercolumns.commands.predict import main

if __name__ == "__main__":
    app.run(main)
