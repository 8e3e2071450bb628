"""Segment images with a finished model: `python predict.py --help`."""

import hydra
from omegaconf import DictConfig

from hypercolumns import command_line


@hydra.main(version_base="1.3", config_path="conf", config_name="predict")
@command_line.exits_on_fault
def main(cfg: DictConfig) -> None:
    """Write masks and overlays."""
    from hypercolumns.stages import predict  # torch takes seconds to import, which --help need not wait for

    predict(cfg)


if __name__ == "__main__":
    command_line.run(main)
