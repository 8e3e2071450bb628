"""Train a hypercolumn segmenter: `python train.py --help`, or `hypercolumns train --help`.

Exit codes: 0: success. 1: stage=validate found images that can't be used, a job of a sweep failed, or a bug stopped the
program (a traceback is printed). 2: a setting or a file must be fixed. 128 + n: signal n stopped the program.
"""

import hydra
from omegaconf import DictConfig, OmegaConf

from hypercolumns.cli import app
from hypercolumns.commands.conf import CONF
from hypercolumns.runtime import signals
from hypercolumns.settings.stage_help import stage_help

OmegaConf.register_new_resolver("stage_help", lambda stage: stage_help(CONF, stage), replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
@app.command
def main(cfg: DictConfig) -> float | None:
    """Run the stage that the config names. Return the mIoU that the stage measured, or None if it measured none."""
    from hypercolumns.stages import run_stage  # torch takes seconds to import, and --help does not need it

    signals.handle_stop_signals(signals.raise_interrupt)  # from here on, an interrupt must let the stage clean up
    miou: float | None = run_stage(cfg)
    return miou


if __name__ == "__main__":
    app.run(main)
