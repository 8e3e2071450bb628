"""What predicting takes of a config, without Lightning."""

import logging
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from PIL import Image

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.settings.compose import plain

EXPECTED_WARNINGS = (
    ".*does not have many workers.*",
    ".*eval mode at the start of training.*",
    ".*LeafSpec.*",
    ".*could not find the monitored key.*",  # training says so itself, at the end
    ".*smaller than the logging interval.*",
    ".*your dataloader is not resumable.*",  # the data modules see to it
    ".*when logging on epoch level in distributed setting.*",  # of figures that are the same in all processes
    ".*Checkpoint directory .* exists and is not empty.*",
    "Glyph .* missing from font.*",  # of a class's name, in a plot
)


def quiet_libraries() -> None:
    """Silence Lightning's hints and warnings about things that are as they should be, unless hydra.verbose asks."""
    for library in ("PIL", "matplotlib"):  # they log every chunk of every PNG, and every font
        logging.getLogger(library).setLevel(logging.INFO)
    if HydraConfig.initialized() and HydraConfig.get().verbose:
        return
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # for `io.images` makes an error of it
    warnings.filterwarnings("ignore", module="PIL")  # what else a damaged file makes it say, beside our own words


def test_time_augmentation(cfg: DictConfig) -> TestTimeAugmentation:
    """The settings `tta`."""
    settings = plain(cfg.tta)
    if not isinstance(settings, dict) or set(settings) - {"scales", "flip"}:
        raise HypercolumnsError(f"tta={settings} must be tta.scales=[...] and tta.flip=true or false")
    scales = settings.get("scales", [1.0])
    with setting_prefix("tta."):
        return TestTimeAugmentation(
            tuple(scales if isinstance(scales, list) else [scales]), settings.get("flip", False)
        )


def configure_inference(segmenter: Segmenter, cfg: DictConfig) -> None:
    """Set what changes a segmenter's speed and memory, but not what it does."""
    segmenter.extractor.max_window_pixels = cfg.max_window_pixels
    if cfg.compile:
        segmenter.backbone.body.compile()


def load_for_inference(cfg: DictConfig, path: Path) -> Segmenter:
    """Load a finished model, and set it up as the settings say."""
    segmenter = Segmenter.load(path)
    configure_inference(segmenter, cfg)
    return segmenter
