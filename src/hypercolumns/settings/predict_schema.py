"""The declarations of all settings of predict.py: the checks of their values, and which values are paths."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hypercolumns.errors import ArgumentError, check_bool, check_fraction, check_int

PATH_EXAMPLES = {"images": "photos/", "out": "predictions"}
PRECISIONS = ("auto", "32", "bf16")


class PredictSetting(NamedTuple):
    """The declaration of a setting of predict.py.

    Attributes:
        name: the name on the command line, such as `outputs.mask`.
        check: takes the name and the value, and raises ArgumentError if the value is invalid. None: the function or
            class that takes the value as an argument checks the value.
        path: whether the value is a path. `cli.paths` puts paths into quotes, so that Hydra does not parse them.
    """

    name: str
    check: Callable[[str, object], None] | None = None
    path: bool = False


def check_path(name: str, value: object) -> None:
    """Check that the value of a setting is a path, that is, a string that is not empty.

    Raises:
        ArgumentError: if the value is empty or not a string.
    """
    if value is None:
        raise ArgumentError(f"{name} is not set; give a path, as in {name}={PATH_EXAMPLES[name]}")
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"{name}={value} must be a path; to give several images, list their paths in a .txt file")


def check_name(name: str, value: object) -> None:
    """Check that the value of a setting is a text that is not empty.

    Raises:
        ArgumentError: if the value is empty or not a string.
    """
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"{name}={value} must be a text that is not empty (if it is a number, put it in quotes)")


def check_precision(name: str, value: object) -> None:
    """Check that the value of `precision` is one of `PRECISIONS`.

    Raises:
        ArgumentError: if the value is not one of `PRECISIONS`.
    """
    if str(value) not in PRECISIONS:
        raise ArgumentError(f"{name}={value} must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")


PREDICT_SETTINGS = (
    PredictSetting("model", path=True),
    PredictSetting("images", check_path, path=True),
    PredictSetting("out", check_path, path=True),
    PredictSetting("overwrite", check_bool),
    PredictSetting("masks", path=True),
    *(PredictSetting(f"outputs.{name}", check_bool) for name in ("mask", "overlay", "class_fractions", "color_mask")),
    *(PredictSetting(f"outputs.{name}", check_bool) for name in ("confidence", "entropy", "probabilities")),
    *(PredictSetting(f"outputs.{name}", check_bool) for name in ("cvat", "coco", "label_studio", "labelme")),
    PredictSetting("outputs.geotiff", check_bool),
    PredictSetting("opacity", check_fraction),
    PredictSetting("legend", check_bool),
    PredictSetting("coco_images", path=True),
    PredictSetting("label_studio.from_name", check_name),
    PredictSetting("label_studio.to_name", check_name),
    PredictSetting("label_studio.image_root", check_name, path=True),
    PredictSetting("adaptive", check_bool),
    PredictSetting("adaptive_stride"),
    PredictSetting("adaptive_margin"),
    PredictSetting("tta"),
    PredictSetting("export"),
    PredictSetting("export_input"),
    PredictSetting("export_output"),
    PredictSetting("export_size"),
    PredictSetting("range"),
    PredictSetting("channels"),
    PredictSetting("page"),
    PredictSetting("max_pixels", partial(check_int, minimum=1)),
    PredictSetting("frame_stride", partial(check_int, minimum=1)),
    PredictSetting("max_window_pixels", partial(check_int, minimum=1)),
    PredictSetting("window_overlap"),  # `HypercolumnExtractor.set_window_overlap` checks it
    PredictSetting("batch_size", partial(check_int, minimum=1)),
    PredictSetting("num_workers", partial(check_int, minimum=0)),
    PredictSetting("precision", check_precision),
    PredictSetting("compile", check_bool),
    PredictSetting("device"),
)
