"""Set up a segmenter for inference from a config, and silence libraries; this module does not import Lightning."""

import logging
import warnings
from pathlib import Path

from omegaconf import DictConfig
from PIL import Image
from torch.fx import GraphModule

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.settings import invocation
from hypercolumns.settings.compose import plain

# Regular expressions that match the beginnings of expected warnings. `quiet_libraries` hides these warnings.
EXPECTED_WARNINGS = (
    ".*does not have many workers.*",
    ".*eval mode at the start of training.*",
    ".*LeafSpec.*",
    ".*could not find the monitored key.*",  # the training then ends with an error that names the missing metric
    ".*smaller than the logging interval.*",
    ".*your dataloader is not resumable.*",  # the data modules restore their position themselves
    ".*when logging on epoch level in distributed setting.*",  # the metrics are the same on all ranks
    ".*Checkpoint directory .* exists and is not empty.*",
    "Dataset has no geotransform.*",  # of rasterio, for images without a georeference
    "Glyph .* missing from font.*",  # plots show class names, in any script
)


def quiet_libraries() -> None:
    """Hide log lines and warnings of libraries about intended behaviour; with hydra.verbose, show most of them."""
    for library in ("PIL", "matplotlib"):  # their debug logs list all chunks of each PNG, and all fonts
        logging.getLogger(library).setLevel(logging.INFO)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # `io.images` raises an error instead
    command = invocation.current()
    if command is not None and command.hydra.verbose:
        return
    logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # it also prints the errors that it raises
    for library in ("pytorch_lightning", "lightning_fabric", "onnxscript", "onnx_ir"):  # the last two log each rewrite
        logging.getLogger(library).setLevel(logging.WARNING)
    for message in EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `io.images` raises an error instead
    warnings.filterwarnings("ignore", module="PIL")  # `io.images` raises an error for damaged files


def test_time_augmentation(cfg: DictConfig) -> TestTimeAugmentation:
    """Build the test-time augmentation from the settings `tta`.

    Raises:
        HypercolumnsError: if the settings are invalid.
    """
    settings = plain(cfg.tta)
    if not isinstance(settings, dict) or set(settings) - {"scales", "flip"}:
        raise HypercolumnsError(
            f"tta={settings} must be a group of the settings scales and flip; set tta.scales=[0.75,1] or tta.flip=true"
        )
    scales = settings.get("scales", [1.0])
    with setting_prefix("tta."):
        return TestTimeAugmentation(
            tuple(scales if isinstance(scales, list) else [scales]), settings.get("flip", False)
        )


def configure_inference(segmenter: Segmenter, cfg: DictConfig) -> None:
    """Apply `max_window_pixels` and `compile`, which change the speed and memory of a segmenter, not the results.

    A model with `window_overlap` keeps its own `max_window_pixels`, because its results for large images depend on it.

    Raises:
        HypercolumnsError: if the network can't be compiled.
    """
    if segmenter.extractor.window_overlap is None:
        segmenter.extractor.max_window_pixels = cfg.max_window_pixels
    if cfg.compile:
        if not isinstance(segmenter.backbone.body, GraphModule):
            raise HypercolumnsError(
                f"compile=true has no effect on {segmenter.backbone.network}, which is read by its blocks; set "
                f"compile=false"
            )
        segmenter.backbone.body.compile()


def load_for_inference(cfg: DictConfig, path: Path) -> Segmenter:
    """Load a segmenter from a model file, and apply `max_window_pixels` and `compile` to the segmenter."""
    segmenter = Segmenter.load(path)
    configure_inference(segmenter, cfg)
    return segmenter
