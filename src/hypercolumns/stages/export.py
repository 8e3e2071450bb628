"""Export a finished model to a file that other programs can run, as `export` of predict.py asks."""

from omegaconf import DictConfig

from hypercolumns.errors import HypercolumnsError, check_bool, setting_prefix
from hypercolumns.export.onnx import export_onnx
from hypercolumns.export.torch_export import export_torch
from hypercolumns.io.files import expand_path
from hypercolumns.models.segmenter import Segmenter
from hypercolumns.runtime.progress import console
from hypercolumns.settings.compose import plain

FORMATS = {"onnx": (export_onnx, ".onnx"), "torch": (export_torch, ".pt2")}


def export(cfg: DictConfig) -> None:
    """Write the model to <out>/model.onnx or <out>/model.pt2, and print how well this file agrees with the model.

    Raises:
        HypercolumnsError: if a setting is invalid, the model can't be loaded or exported, or the file exists already
            and `overwrite` is false.
    """
    if cfg.export not in FORMATS:
        raise HypercolumnsError(f"export={cfg.export} is not a known format; choose one of {', '.join(FORMATS)}")
    write, suffix = FORMATS[cfg.export]
    path = (expand_path("out", cfg.out) / "model").with_suffix(suffix)
    if path.exists():
        check_bool("overwrite", cfg.overwrite)
        if not cfg.overwrite:
            raise HypercolumnsError(f"{path} exists already; choose another out=, or set overwrite=true")
    with setting_prefix("model="):
        segmenter = Segmenter.load(expand_path("model", cfg.model))
    with setting_prefix("export_"):
        agreement = write(segmenter, path, cfg.export_input, cfg.export_output, plain(cfg.export_size))
    console.print(
        f"{path}: {agreement.labels:.2%} of the labels agree with those of the original model, on images of noise",
        markup=False,
    )
    if agreement.logits is not None:
        console.print(
            f"{path}: the logits differ by at most {agreement.logits:.1e} of the range of the original model's logits",
            markup=False,
        )
