"""Segment images with a finished model: `python predict.py --help`, or `hypercolumns predict --help`.

Exit codes: 0: success. 1: some images failed and all others are done, or a bug stopped the program (a traceback is
printed). 2: a setting or a file must be fixed. 128 + n: signal n stopped the program.
"""

import sys

import hydra
from omegaconf import DictConfig

from hypercolumns.cli import app
from hypercolumns.commands.conf import CONF
from hypercolumns.runtime import imports, signals


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
@app.command
def main(cfg: DictConfig) -> None:
    """Predict the images that the config names, and write masks, overlays and other outputs."""
    from hypercolumns.stages.predict import predict  # torch takes seconds to import, and --help does not need it

    imports.resume_collections()
    signals.handle_stop_signals(signals.raise_interrupt)  # from here on, an interrupt must let the command clean up
    if predict(cfg):
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
