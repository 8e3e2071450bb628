"""The stages of train.py on images of one shape, for `shapes_memory.py --work stages`.

Each stage runs on two train images and one val image of noise. The masks are noise of all classes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from common import CONF
from hydra import compose, initialize_config_dir
from PIL import Image

from hypercolumns.stages import stage_result

CLASSES = 21
IMAGES = {"train": ("a", "b"), "val": ("c",)}
Overrides = Sequence[str]
TRAINER = ("trainer.accelerator=cpu",)
EXTRACT = ("stage=extract", "num_workers=0", *TRAINER)
PRETRAIN = ("stage=pretrain", "trainer.max_epochs=1", *TRAINER)
TRAIN = ("stage=train", "num_workers=0", "init_from=scratch", "batch_size=2", "trainer.max_epochs=1", *TRAINER)
# For each case, the commands; the last one is measured, and the others make its input. In a command, {shape} is the
# folder of the images, and {cnn} is the network.
CASES: Mapping[str, Sequence[Overrides]] = {
    "extract": [(*EXTRACT, "sampler=uniform")],
    "extract, per_class": [(*EXTRACT, "sampler=per_class")],
    "extract, resize": [(*EXTRACT, "sampler=uniform", "resize=[480,640]")],
    "pretrain": [(*EXTRACT, "sampler=uniform", "embedding=0"), PRETRAIN],
    "train": [(*TRAIN, "augment.crop=256", "pixels=1000")],
    "evaluate": [("stage=evaluate", "num_workers=0", "model={cnn}.safetensors", *TRAINER)],
    "validate": [("stage=validate", "num_workers=0")],
    "validate, float": [("stage=validate", "num_workers=0", "data.range=[2%,98%]")],
}
WITHOUT_NETWORK = ("validate", "validate, float")


def save_data(folder: Path, shape: tuple[int, int], is_float: bool) -> None:
    """Write the images and masks of a data set, its classes and its lists."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for split, ids in IMAGES.items():
        (folder / f"{split}.txt").write_text("\n".join(ids))
        for id in ids:
            pixels = generator.integers(0, 256, (*shape, 3), np.uint8)
            if is_float:
                import tifffile

                tifffile.imwrite(folder / "images" / f"{id}.tif", pixels.astype(np.float32), photometric="rgb")
            else:
                Image.fromarray(pixels).save(folder / "images" / f"{id}.png", compress_level=1)
            mask = generator.integers(0, CLASSES, shape, np.uint8)
            Image.fromarray(mask).save(folder / "masks" / f"{id}.png", compress_level=1)
    (folder / "classes.txt").write_text("\n".join(f"class {number}" for number in range(CLASSES)))


def run_case(
    case: str, cnn: str, shape: str, runs: str, measured: Callable[[Callable[[], object]], tuple[int, float]]
) -> tuple[int, float]:
    """Run the commands of a case, and return the peak memory of the last one in bytes and its seconds.

    Args:
        case: a key of `CASES`.
        cnn: the network.
        shape: the folder of the images.
        runs: the folder for all that the commands write.
        measured: calls a function, and returns the peak memory and the seconds.
    """
    result = (0, 0.0)
    for command in CASES[case]:
        names = [f"data.{name}={shape}/{name}" for name in ("images", "masks")]
        names += [f"data.{name}={shape}/{name}.txt" for name in ("classes", "train", "val")]
        settings = ["data=folder", *names, f"runs={runs}", *(each.format(cnn=cnn) for each in command)]
        if "stage=evaluate" not in command and case not in WITHOUT_NETWORK:
            settings += [f"cnn={cnn}", *(["cnn.weights=null"] if cnn != "rgb" else [])]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", settings)
        result = measured(lambda: stage_result(cfg))  # noqa: B023, it is called at once
    return result
