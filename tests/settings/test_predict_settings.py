"""The declarations of predict.py's settings agree with its config file and with the paths of the command line."""

import pytest
import torch
from helpers.small_runs import config
from omegaconf import DictConfig

from hypercolumns import HypercolumnsError
from hypercolumns.cli.paths import PATH_SETTINGS
from hypercolumns.models.tta import TestTimeAugmentation
from hypercolumns.prediction import OUTPUTS, TOOLS
from hypercolumns.settings.predict import check_predict_settings, predict_options, use_bf16
from hypercolumns.settings.predict_schema import PREDICT_SETTINGS

CPU = torch.device("cpu")


def test_every_setting_is_declared_once():
    settings = config("predict")
    names = [name for name in settings if not isinstance(settings.get(name), DictConfig) or name == "tta"]
    names += [f"{group}.{name}" for group in ("outputs", "label_studio") for name in settings[group]]
    assert sorted(setting.name for setting in PREDICT_SETTINGS) == sorted(names)
    kinds = {kind.setting or name for name, kind in OUTPUTS.items()}
    assert set(settings.outputs) == {*kinds, *TOOLS, "class_fractions"}


def test_paths_are_quoted_on_the_command_line():
    assert {setting.name for setting in PREDICT_SETTINGS if setting.path} <= set(PATH_SETTINGS)


def test_defaults_pass():
    check_predict_settings(config("predict", "model=a", "images=b"))


@pytest.mark.parametrize("setting", [setting for setting in PREDICT_SETTINGS if setting.check is not None])
def test_each_check_names_its_setting(setting):
    settings = config("predict", "model=a", "images=b", f"{setting.name}={{x: 1}}")
    with pytest.raises(HypercolumnsError, match=rf"^{setting.name}=.* must be "):
        check_predict_settings(settings)


def test_settings_become_options():
    settings = ["tta.flip=true", "outputs.entropy=true", "outputs.overlay=false", "batch_size=3", "frame_stride=5"]
    options = predict_options(config("predict", *settings), CPU)
    assert options.outputs == ("mask", "entropy")
    assert options.tta == TestTimeAugmentation(flip=True)
    assert (options.batch_size, options.frame_stride, options.num_workers) == (3, 5, 1)
    assert options.adaptive is None
    adaptive = predict_options(config("predict", "adaptive=true", "adaptive_stride=4", "adaptive_margin=2"), CPU)
    assert adaptive.fingerprint()["adaptive"] == [4, 2]


def test_bf16_is_used_where_it_is_asked_for():
    assert use_bf16("bf16", CPU)
    assert not use_bf16("auto", CPU)
    assert not use_bf16(32, CPU)
