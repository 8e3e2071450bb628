"""Checks of the values of settings, for the declarations in `settings.schema`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypercolumns.errors import HypercolumnsError, check_fraction, check_int, check_number, is_int

# Takes the name and the value of a setting; raises HypercolumnsError if the value is invalid.
Check = Callable[[str, Any], None]
MAX_LR = 1e30  # below the float32 maximum, 3e38, because optimizers compute multiples of the learning rate


def optional(check: Check) -> Check:
    """Return a check that accepts None (null on the command line), and passes every other value to `check`."""
    return lambda name, value: None if value is None else check(name, value)


def at_least(minimum: int) -> Check:
    """Return a check that a value is an integer of at least `minimum`."""
    return lambda name, value: check_int(name, value, minimum)


def below(limit: float) -> Check:
    """Return a check that a value is a number of at least 0 and below `limit`."""
    return lambda name, value: check_number(name, value, below=limit)


def one_of(*values: str) -> Check:
    """Return a check that a value is one of `values`."""

    def check(name: str, value: object) -> None:
        if value not in values:
            raise HypercolumnsError(f"{name}={value} must be {' or '.join(values)}")

    return check


def check_group(name: str, value: object) -> None:
    """Check that the value of a group of settings is a mapping, or is null, empty, 0 or false.

    Raises:
        HypercolumnsError: for any other value, such as a number, a text or a list with entries.
    """
    if value and not isinstance(value, Mapping):
        raise HypercolumnsError(f"{name}={value} must be a group of settings; set each by {name}.<setting>=<value>")


def check_needed_group(name: str, value: object) -> None:
    """Check that the value of a group of settings that a stage needs is a mapping with entries.

    Raises:
        HypercolumnsError: if the value is empty or not a mapping.
    """
    check_group(name, value or "null")


def check_models(name: str, value: object) -> None:
    """Check that a value is a list of at least two paths of models.

    Raises:
        HypercolumnsError: if it is not.
    """
    paths = value if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(paths) < 2 or not all(isinstance(path, str) for path in paths):
        raise HypercolumnsError(
            f"{name}={value} must be a list of at least two models, {name}=[RUN,RUN], each the folder of a finished "
            f"run or its model.safetensors"
        )


def check_timm_model(name: str, value: object) -> None:
    """Check that timm's name of a network has no prefix `timm/`, as the names of `Backbone` have.

    Raises:
        HypercolumnsError: if it has.
    """
    if isinstance(value, str) and value.startswith("timm/"):
        raise HypercolumnsError(f"{name}={value}: leave out timm/; give {name}={value.removeprefix('timm/')}")


def check_callbacks(name: str, value: Any) -> None:
    """Check that the value of each callback in the group `callbacks` is a mapping; the group itself may be null.

    Raises:
        HypercolumnsError: if the value of a callback is not a mapping.
    """
    for entry, settings in (value or {}).items():
        if not isinstance(settings, Mapping):
            raise HypercolumnsError(
                f"{name}.{entry}={settings} must be a group of settings; set each by "
                f"{name}.{entry}.<setting>=<value>, or leave out the callback by ~{name}.{entry}"
            )


def check_metric_of_val(name: str, value: object) -> None:
    """Check the name of the metric that chooses the best epoch.

    Raises:
        HypercolumnsError: if the value is null or does not begin with `val/`.
    """
    if value is None:
        raise HypercolumnsError(
            f"{name} must not be null; set it to the validation metric that chooses the best epoch, such as "
            f"{name}=val/loss"
        )
    if not str(value).startswith("val/"):
        raise HypercolumnsError(f"{name}={value} must be a validation metric, such as val/loss")


def check_optimizer_number(name: str, value: object) -> None:
    """Check the value of a learning rate, a weight decay or a momentum.

    Raises:
        ArgumentError: if the value is not a number of at least 0 and below `MAX_LR`.
    """
    check_number(name, value, below=MAX_LR)


def check_image_size(name: str, value: object) -> None:
    """Check the value of `resize`, the size to which images are resized for the network.

    Raises:
        HypercolumnsError: if the value is neither null nor a list [height, width] of two integers of at least 1.
    """
    sides = value if isinstance(value, list) else []
    if value is not None and not (len(sides) == 2 and all(is_int(side, 1) for side in sides)):
        raise HypercolumnsError(f"{name}={value} must be [height,width] in pixels, or null")


def check_class_weights(name: str, value: object) -> None:
    """Check the value of `class_weights`, the weights of the classes in the loss.

    Raises:
        HypercolumnsError: if the value is not `none`, `balanced`, `batch` or a number from 0 to 1.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        check_fraction(name, value)
    elif value not in ("none", "balanced", "batch"):
        raise HypercolumnsError(
            f"{name}={value} must be none, balanced, batch, or a number from 0 (the same as none) to 1 (the same as "
            f"balanced)"
        )


def check_pixels(name: str, value: object) -> None:
    """Check the value of `pixels`, which chooses the pixels that stage train trains on.

    Raises:
        HypercolumnsError: if the value is not `all`, `sampler` or an integer of at least 1.
    """
    if value not in ("all", "sampler") and not is_int(value, 1):
        raise HypercolumnsError(f"{name}={value} must be all, sampler, or a number of pixels per image (1 or more)")


def check_number_of_images(name: str, value: object) -> None:
    """Check the value of `val_images`, the number of val images that stage pretrain scores.

    Raises:
        HypercolumnsError: if the value is not `all` or an integer of at least 0.
    """
    if value != "all" and not is_int(value, 0):
        raise HypercolumnsError(f"{name}={value} must be all, or a number of images (0 for none)")
