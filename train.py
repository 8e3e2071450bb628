"""Train a hypercolumn segmenter: `python train.py --help`."""

import hydra
from omegaconf import DictConfig

from hypercolumns import command_line


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
@command_line.exits_on_fault
def main(cfg: DictConfig) -> float | None:
    """Run the stage that the config names; returns its mIoU, for sweeps."""
    from hypercolumns.stages import run_stage  # torch takes seconds to import, which --help need not wait for

    miou: float | None = run_stage(cfg)
    return miou


if __name__ == "__main__":
    command_line.run(main)
