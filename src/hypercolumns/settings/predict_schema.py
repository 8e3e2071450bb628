"""Every setting of predict.py, one line each: how it is checked, and whether it is a path."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from hypercolumns.errors import ArgumentError, check_bool, check_fraction, check_int

PRECISIONS = ("auto", "32", "bf16")


class PredictSetting(NamedTuple):
    """A setting of predict.py.

    Attributes:
        name: with the name of its group.
        check: called with its name and value, raises ArgumentError; None where what is made of it is checked.
        path: whether its value is a path, which is taken as it is typed.
    """

    name: str
    check: Callable[[str, object], None] | None = None
    path: bool = False


def check_path(name: str, value: object) -> None:
    """Check a setting that must be a path.

    Raises:
        ArgumentError: unless it is a text that is not empty.
    """
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"{name}={value} must be a path; several go on the lines of a .txt")


def check_precision(name: str, value: object) -> None:
    """Check the setting `precision`.

    Raises:
        ArgumentError: unless it is one of `PRECISIONS`.
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
    *(PredictSetting(f"outputs.{name}", check_bool) for name in ("confidence", "entropy", "probabilities", "coco")),
    PredictSetting("opacity", check_fraction),
    PredictSetting("legend", check_bool),
    PredictSetting("adaptive", check_bool),
    PredictSetting("adaptive_stride"),
    PredictSetting("adaptive_margin"),
    PredictSetting("tta"),
    PredictSetting("export"),
    PredictSetting("export_input"),
    PredictSetting("export_output"),
    PredictSetting("max_pixels", partial(check_int, minimum=1)),
    PredictSetting("frame_stride", partial(check_int, minimum=1)),
    PredictSetting("max_window_pixels", partial(check_int, minimum=1)),
    PredictSetting("batch_size", partial(check_int, minimum=1)),
    PredictSetting("num_workers", partial(check_int, minimum=0)),
    PredictSetting("precision", check_precision),
    PredictSetting("compile", check_bool),
    PredictSetting("device"),
)
