"""Running stages in this process on a tiny set; to be quick, the hypercolumn is the pixel's colour, and no pictures."""

import copy
import functools
import zipfile

from conftest import ROOT
from hydra import compose, initialize_config_dir

from hypercolumns.stages import run_stage

TINY = [
    "data=shapes",
    "data.train_images=40",
    "data.val_images=3",
    "classifier.hidden=8",
    "trainer.accelerator=cpu",
    "embedding=0",
    "~callbacks.pictures",
]
RGB = [*TINY, "cnn=rgb", "trainer.max_epochs=3"]


def config(name, *overrides):
    return copy.deepcopy(composed(name, *overrides))


@functools.cache
def composed(name, *overrides):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, overrides=list(overrides))


def run(stage, *overrides, base=RGB):
    batch = ["batch_size=8"] if stage == "train" else []
    return run_stage(config("train", *base, f"stage={stage}", *batch, *overrides))


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
