"""From the config of predict.py to the options of a prediction."""

import torch
from omegaconf import DictConfig, OmegaConf

from hypercolumns.errors import HypercolumnsError, setting_prefix
from hypercolumns.models.engine import AdaptiveSettings
from hypercolumns.prediction import OUTPUTS, PredictOptions, check_package
from hypercolumns.settings.inference import test_time_augmentation
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS


def check_predict_settings(cfg: DictConfig) -> None:
    """Check the settings of a prediction, before any work.

    Raises:
        HypercolumnsError: for a value that can't be, nothing to write, and masks without predicted masks.
    """
    for setting in PREDICT_SETTINGS:
        if setting.check is not None:
            setting.check(setting.name, OmegaConf.select(cfg, setting.name))
    if not any(cfg.outputs.values()):
        raise HypercolumnsError(f"nothing is wanted: set one of {', '.join(f'outputs.{name}' for name in cfg.outputs)}")
    if cfg.masks is not None and not cfg.outputs.mask:
        raise HypercolumnsError("masks= compares them with the masks that are written; leave outputs.mask=true")


def predict_options(cfg: DictConfig, device: torch.device) -> PredictOptions:
    """Read the options of a prediction on a device from checked settings.

    Raises:
        HypercolumnsError: for options that don't go together, and an output whose package is not installed.
    """
    outputs = tuple(name for name in OUTPUTS if cfg.outputs[name])
    for name in outputs:
        if (package := OUTPUTS[name].package) is not None:
            check_package(package, name, f"outputs.{name}=true")
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


def find_device(name: str) -> torch.device:
    """The device of that name, `auto` for an accelerator if there is one; raises HypercolumnsError if it can't be."""
    if name == "meta":
        raise HypercolumnsError("device=meta holds no values; try device=auto")
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
    """Whether to predict in bf16: `auto` does on GPUs that compute in it."""
    if str(precision) == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return str(precision) == "bf16"
