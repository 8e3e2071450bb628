"""Train a hypercolumn segmenter: `python train.py --help`.

Exit codes: 0 all is done; 1 stage=validate found images that can't be used; 2 a setting or a file must be mended.
"""

import hydra
from omegaconf import DictConfig

from hypercolumns.cli import app
from hypercolumns.runtime import signals


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@app.exits_on_user_error
def main(cfg: DictConfig) -> float | None:
    """Run the stage that the config names; returns its mIoU, for sweeps."""
    from hypercolumns.stages import run_stage  # torch takes seconds to import, which --help need not wait for

    signals.handle_stop_signals(signals.raise_interrupt)  # from here on there is something to stop
    miou: float | None = run_stage(cfg)
    return miou


if __name__ == "__main__":
    app.run(main)
