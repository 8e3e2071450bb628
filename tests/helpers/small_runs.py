"""Running stages in this process on a tiny data set.

For speed, the features are the colours of the pixels and no pictures are drawn.
"""

import copy
import functools
import re
import zipfile

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf, open_dict

from helpers.paths import CONF
from hypercolumns.settings.schema import taken
from hypercolumns.stages import run_stage

TINY = [
    "data=shapes",
    "num_workers=0",
    "sampler.n=30",
    "augment.scale=null",
    "augment.crop=96",
    "augment.color_jitter=0.1",
    "data.train_images=40",
    "data.val_images=3",
    "classifier.hidden=8",
    "trainer.accelerator=cpu",
    "embedding=0",
    "~callbacks.prediction_panels",
]
RGB = [*TINY, "cnn=rgb", "trainer.max_epochs=3"]


def config(name, *overrides):
    """Return the config that the command line `overrides` would give.

    Hydra needs a quarter of a second to compose a config. Configs are therefore cached by their choices of group
    options, and the other overrides are applied to a copy; test_configs compares the result with Hydra's. Settings in
    `RGB` that the stage does not take are left out; any other setting that it does not take raises.
    """
    stage = next((text.partition("=")[2] for text in reversed(overrides) if text.startswith("stage=")), "all")
    if name == "train":
        overrides = [text for text in overrides if text not in RGB or taken(stage, [text])]
    options = tuple(text for text in overrides if (CONF / re.split("[@=]", text.lstrip("+~"))[0]).is_dir())
    result = copy.deepcopy(composed(name, *options))
    for override in OverridesParser.create().parse_overrides([text for text in overrides if text not in options]):
        apply_override(result, override)
    return result


def apply_override(cfg, override):
    """Change a composed config in place as Hydra does for one parsed override of a value."""
    if override.is_delete():
        parent, _, name = override.key_or_group.rpartition(".")
        with open_dict(cfg):
            del (OmegaConf.select(cfg, parent) if parent else cfg)[name]
    else:
        added = override.is_add() or override.is_force_add()
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=added)


@functools.cache
def composed(name, *overrides):
    """Return the config that Hydra composes, cached; callers must not change it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def run(stage, *overrides, base=RGB):
    """Run a stage with the settings of `base` that it takes and the overrides, and return its result."""
    batch = ["batch_size=8"] if stage == "train" else []
    return run_stage(config("train", *taken(stage, list(base)), f"stage={stage}", *batch, *overrides))


def only(place, pattern):
    """Return the one path below `place` that matches the pattern and is not a link."""
    (path,) = (path for path in place.glob(pattern) if not path.is_symlink())
    return path


def damage(checkpoint):
    """Flip one bit of the largest tensor in a file that torch.save wrote."""
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[content.index(largest.filename.encode()) + len(largest.filename) + largest.file_size] ^= 1
    checkpoint.write_bytes(content)
