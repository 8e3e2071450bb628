"""Check the config of predict.py, and convert it to the options and the device of a prediction."""

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.io.decoding import RULES, ImageDecoding
from hypercolumns.io.files import expand_path
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.prediction import OUTPUTS, TOOLS, AnnotationFiles, LabelStudioTags, PredictOptions, check_package
from hypercolumns.settings.compose import plain
from hypercolumns.settings.inference import test_time_augmentation
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS


def check_predict_settings(cfg: DictConfig) -> None:
    """Check the settings of predict.py before any work starts.

    Raises:
        HypercolumnsError: if a value is invalid, no output is selected, or a setting needs another output.
    """
    for setting in PREDICT_SETTINGS:
        if setting.check is not None:
            setting.check(setting.name, OmegaConf.select(cfg, setting.name))
    if not any(cfg.outputs.values()):
        raise HypercolumnsError(
            f"no output is selected; set one of {', '.join(f'outputs.{name}' for name in cfg.outputs)} to true"
        )
    if cfg.masks is not None and not cfg.outputs.mask:
        raise HypercolumnsError(
            "masks= compares true masks with predicted masks, but outputs.mask=false writes no predicted masks; set "
            "outputs.mask=true, or leave out masks="
        )
    for name in ("coco", "label_studio"):
        if cfg.outputs[name] and not cfg.outputs.mask:
            raise HypercolumnsError(
                f"outputs.{name}=true makes its file from the predicted masks, but outputs.mask=false writes no "
                f"predicted masks; set outputs.mask=true, or outputs.{name}=false"
            )
    if cfg.coco_images is not None and not cfg.outputs.coco:
        raise HypercolumnsError(
            f"coco_images={cfg.coco_images} gives the ids for outputs.coco, which is false; set outputs.coco=true, or "
            f"leave out coco_images="
        )


def predict_options(cfg: DictConfig, device: torch.device) -> PredictOptions:
    """Make the options of a prediction on `device` from the config of predict.py.

    Call `check_predict_settings` first; the errors below are those that it does not find.

    Raises:
        HypercolumnsError: if a setting of the adaptive prediction, of the test-time augmentation or of the precision is
            invalid, if two settings can't be combined, or if a package that an output needs is not installed.
    """
    outputs = tuple(name for name, kind in OUTPUTS.items() if cfg.outputs[kind.setting or name])
    for name in outputs:
        if (package := OUTPUTS[name].package) is not None:
            check_package(package, OUTPUTS[name].extra or name, f"outputs.{name}=true")
    with setting_prefix("adaptive_"):
        adaptive = AdaptiveSettings(cfg.adaptive_stride, cfg.adaptive_margin)
    return PredictOptions(
        outputs=outputs,
        class_fractions=cfg.outputs.class_fractions,
        opacity=cfg.opacity,
        legend=cfg.legend,
        adaptive=adaptive if cfg.adaptive else None,
        tta=test_time_augmentation(cfg),
        bf16=use_bf16(cfg.precision, device),
        batch_size=cfg.batch_size,
        num_workers=cfg.num_workers,
        frame_stride=cfg.frame_stride,
    )


def annotation_files(cfg: DictConfig) -> AnnotationFiles:
    """Make the options for the files of annotation tools from the config of predict.py.

    Raises:
        HypercolumnsError: if the package that `outputs.coco` needs is not installed, or if `coco_images` names the file
            that would be written.
    """
    if cfg.outputs.coco:
        check_package("pycocotools", "coco", "outputs.coco=true")
    images = None if cfg.coco_images is None else expand_path("coco_images", cfg.coco_images)
    files = AnnotationFiles(
        frozenset(tool for tool in TOOLS if cfg.outputs[tool]), images, LabelStudioTags(**cfg.label_studio)
    )
    out = expand_path("out", cfg.out)
    if images is not None and images.resolve() in [path.resolve() for path in files.paths(out)]:
        raise HypercolumnsError(f"coco_images={images} would be replaced by the output; choose another out=")
    return files


def given_decoding(cfg: DictConfig) -> ImageDecoding:
    """Return the rules for reading images that the config gives; they take the place of those of the model.

    Raises:
        HypercolumnsError: if a rule is invalid.
    """
    return ImageDecoding(**{name: plain(cfg[name]) for name in RULES})


def find_device(name: str) -> torch.device:
    """Return the device that the setting `device` names; `auto` names an accelerator if there is one, else the CPU.

    Raises:
        HypercolumnsError: if the device can't be used.
    """
    if name == "meta":
        raise HypercolumnsError("device=meta can't be used (its tensors hold no values); try device=auto")
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        return torch.zeros(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise HypercolumnsError(
            f"device={name} can't be used ({str(error).splitlines()[0]}); try device=auto"
        ) from error


def use_bf16(precision: int | str, device: torch.device) -> bool:
    """Return whether to predict in bfloat16: with precision `bf16`, and with `auto` on a GPU that supports bfloat16."""
    if str(precision) == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(precision) == "bf16"
