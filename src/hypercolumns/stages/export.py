"""Export a finished model, for use without this package: predict.py with the setting `export`."""

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, check_bool, setting_prefix
from hypercolumns.export.onnx import export_onnx
from hypercolumns.export.torch_export import export_torch
from hypercolumns.io.files import expand_path
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime.progress import console

FORMATS = {"onnx": (export_onnx, ".onnx"), "torch": (export_torch, ".pt2")}


def export(cfg: DictConfig) -> None:
    """Write <out>/model.onnx or <out>/model.pt2.

    Raises:
        HypercolumnsError: for an unknown format, and if the file is there and may not be overwritten.
    """
    if cfg.export not in FORMATS:
        raise HypercolumnsError(f"export={cfg.export} is not known; choose one of {', '.join(FORMATS)}")
    write, suffix = FORMATS[cfg.export]
    path = (expand_path("out", cfg.out) / "model").with_suffix(suffix)
    if path.exists():
        check_bool("overwrite", cfg.overwrite)
        if not cfg.overwrite:
            raise HypercolumnsError(f"{path} is there already; choose another out=, or replace it by overwrite=true")
    with setting_prefix("model="):
        segmenter = Segmenter.load(expand_path("model", cfg.model))
    with setting_prefix("export_"):
        agreement = write(segmenter, path, cfg.export_input, cfg.export_output)
    console.print(f"{path}: {agreement.labels:.2%} of the labels are the model's own, on images of noise", markup=False)
    if agreement.logits is not None:
        console.print(f"logits differ by {agreement.logits:.1e} of their range at most", markup=False)
