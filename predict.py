"""Segment images with a finished model: `python predict.py --help`.

Exit codes: 0 all is done; 1 some images failed, and the others are done; 2 a setting or a file must be mended.
"""

import sys

import hydra
from omegaconf import DictConfig

from hypercolumns.cli import app
from hypercolumns.runtime import signals


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
@app.exits_on_user_error
def main(cfg: DictConfig) -> None:
    """Write masks, overlays and what else is wanted."""
    from hypercolumns.stages.predict import predict  # torch takes seconds to import, which --help need not wait for

    signals.handle_stop_signals(signals.raise_interrupt)  # from here on there is something to stop
    if predict(cfg):
        sys.exit(1)


if __name__ == "__main__":
    app.run(main)
