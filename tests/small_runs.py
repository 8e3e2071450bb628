"""Running stages in this process on a tiny set; to be quick, the hypercolumn is the pixel's colour, and no pictures."""

import copy
import functools
import re
import zipfile

from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser

from hypercolumns.settings.schema import taken
from hypercolumns.stages import run_stage

CONF = ROOT / "conf"
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
    """As of the command line; options of groups are composed once, for that takes Hydra a quarter of a second.

    Of the settings in RGB a stage gets those that it takes; any other that it does not take is refused, as by Hydra.
    The values are then set by what Hydra itself sets them by; it has no public name. test_configs compares.
    """
    stage = next((text.partition("=")[2] for text in reversed(overrides) if text.startswith("stage=")), "all")
    if name == "train":
        overrides = [text for text in overrides if text not in RGB or taken(stage, [text])]
    options = tuple(text for text in overrides if (CONF / re.split("[@=]", text.lstrip("+~"))[0]).is_dir())
    made = copy.deepcopy(composed(name, *options))
    values = [text for text in overrides if text not in options]
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(values), made)
    return made


@functools.cache
def composed(name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def run(stage, *overrides, base=RGB):
    batch = ["batch_size=8"] if stage == "train" else []
    return run_stage(config("train", *taken(stage, list(base)), f"stage={stage}", *batch, *overrides))


def only(place, pattern):
    (found,) = (path for path in place.glob(pattern) if not path.is_symlink())
    return found


def damage(checkpoint):
    """Change a bit of the largest tensor in a file of torch.save."""
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content[content.index(largest.filename.encode()) + len(largest.filename) + largest.file_size] ^= 1
    checkpoint.write_bytes(content)
