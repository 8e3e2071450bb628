"""Checks of the values of settings, for the lines of `schema`."""

from collections.abc import Callable, Mapping
from typing import Any

from hypercolumns.errors import HypercolumnsError, check_fraction, check_int, check_number, is_int

Check = Callable[[str, Any], None]  # of a setting's name and value; raises HypercolumnsError for a wrong one
MAX_LR = 1e30  # no optimizer takes more; float32 ends at 3e38


def optional(check: Check) -> Check:
    """The same check, which lets null pass."""
    return lambda name, value: None if value is None else check(name, value)


def at_least(minimum: int) -> Check:
    """A check for an integer of at least `minimum`."""
    return lambda name, value: check_int(name, value, minimum)


def below(limit: float) -> Check:
    """A check for a number from 0 up to, but not including, `limit`."""
    return lambda name, value: check_number(name, value, below=limit)


def one_of(*values: str) -> Check:
    """A check for one of some words."""

    def check(name: str, value: object) -> None:
        if value not in values:
            raise HypercolumnsError(f"{name}={value} must be {' or '.join(values)}")

    return check


def check_group(name: str, value: object) -> None:
    """Check that a group of settings is one.

    Raises:
        HypercolumnsError: for a single value.
    """
    if value and not isinstance(value, Mapping):
        raise HypercolumnsError(f"{name}={value} is a group of settings; set one of them, {name}.<name>=...")


def check_needed_group(name: str, value: object) -> None:
    """Check that a group of settings is one, and not null.

    Raises:
        HypercolumnsError: for a single value, and null.
    """
    check_group(name, value or "null")


def check_callbacks(name: str, value: Any) -> None:
    """Check that each callback is a group of settings.

    Raises:
        HypercolumnsError: for a single value.
    """
    for entry, settings in (value or {}).items():
        if not isinstance(settings, Mapping):
            raise HypercolumnsError(
                f"{name}.{entry}={settings} is a group of settings; set one of them, {name}.{entry}.<name>=..., or "
                f"leave it out, ~{name}.{entry}"
            )


def check_metric_of_val(name: str, value: object) -> None:
    """Check the metric that tells the best epoch.

    Raises:
        HypercolumnsError: unless it is one of the val images.
    """
    if value is None:
        raise HypercolumnsError(f"{name}=null: a training needs a figure to tell its best epoch by, such as val/loss")
    if not str(value).startswith("val/"):
        raise HypercolumnsError(f"{name}={value} must be a figure of the val images, such as val/loss")


def check_optimizer_number(name: str, value: object) -> None:
    """Check a learning rate, or another number that an optimizer multiplies with.

    Raises:
        ArgumentError: unless it is a number from 0 to below `MAX_LR`.
    """
    check_number(name, value, below=MAX_LR)


def check_image_size(name: str, value: object) -> None:
    """Check the size that images are shown to a network at.

    Raises:
        HypercolumnsError: unless it is [height, width], or null.
    """
    sides = value if isinstance(value, list) else []
    if value is not None and not (len(sides) == 2 and all(is_int(side, 1) for side in sides)):
        raise HypercolumnsError(f"{name}={value} must be [height,width] in pixels, or null")


def check_class_weights(name: str, value: object) -> None:
    """Check how the loss weights classes.

    Raises:
        HypercolumnsError: unless it is a word or a fraction that is known.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        check_fraction(name, value)
    elif value not in ("none", "balanced", "batch"):
        raise HypercolumnsError(
            f"{name}={value} is not known; choose one of none, balanced, batch, or a number from 0 (none) to 1 "
            f"(balanced)"
        )


def check_pixels(name: str, value: object) -> None:
    """Check which pixels of an image are trained on.

    Raises:
        HypercolumnsError: unless it is a number of pixels, all, or sampler.
    """
    if value not in ("all", "sampler") and not is_int(value, 1):
        raise HypercolumnsError(f"{name}={value} must be all, a number of pixels an image, or sampler")


def check_number_of_images(name: str, value: object) -> None:
    """Check how many images are scored.

    Raises:
        HypercolumnsError: unless it is a number, or all.
    """
    if value != "all" and not is_int(value, 0):
        raise HypercolumnsError(f"{name}={value} must be all, or a number of images (0 for none)")
