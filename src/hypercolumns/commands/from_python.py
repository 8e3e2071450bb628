"""Train from Python: the function `hypercolumns.train`."""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import open_dict

from hypercolumns.cli.messages import error_line
from hypercolumns.cli.paths import quote_paths
from hypercolumns.commands.conf import CONF
from hypercolumns.errors import HypercolumnsError
from hypercolumns.overrides import format_value
from hypercolumns.runs.trained_run import TrainedRun
from hypercolumns.settings.invocation import INSTALLED, Invocation, invoked
from hypercolumns.settings.schema import FITTING, STAGES
from hypercolumns.stages import stage_result

PathLike = str | os.PathLike[str]
# The loggers of libraries whose levels a stage changes.
LOGGERS = (
    "PIL",
    "matplotlib",
    "tifffile",
    "hydra.utils",
    "pytorch_lightning",
    "lightning_fabric",
    "onnxscript",
    "onnx_ir",
)


def train(
    images: PathLike | None = None,
    masks: PathLike | None = None,
    classes: PathLike | Sequence[str] | None = None,
    out: PathLike = "runs",
    *,
    config_dir: PathLike | None = None,
    **settings: Any,
) -> TrainedRun:
    """Train a model as the command `hypercolumns train` does, and return the run.

    The same settings give the same model, bit for bit, and the same folder as on the command line. If that folder holds
    a finished run, it is returned at once. If it holds an unfinished one, the training resumes.

    >>> import hypercolumns
    >>> run = hypercolumns.train(
    ...     out="runs",
    ...     data="shapes",  # synthetic images; for your own, give images, masks and classes in place of data
    ...     data__train_images=4, data__val_images=2, cnn="rgb", last_stage="pretrain", trainer={"max_epochs": 2},
    ... )  # doctest: +ELLIPSIS
    draw train images: 4 done...
    >>> run.folder.parent.as_posix(), len(run.history)
    ('runs/shapes/rgb/pretrain', 2)
    >>> run.model.predict("data/shapes-v1-seed0-4+2/VOCdevkit/VOC2012/JPEGImages/val_00000.jpg").classes[:2]
    ('background', 'disc')

    Args:
        images: the folder of the images.
        masks: the folder of the masks. `images` without `data` chooses `data=folder`.
        classes: the names of the classes by class index, or the file that lists them.
        out: the folder for all that is written, the setting `runs`.
        config_dir: a folder with config files of your own; None: only the project's.
        settings: further settings, by their names on the command line. Two underscores stand for a dot:
            `cnn="vgg", optimizer__lr=1e-3`. The entries of a group can also be given as a dictionary:
            `trainer={"max_epochs": 20}`. The run of an earlier call can be given as a path: `init_from=run`. `stage` is
            "all" (the default), "pretrain" or "train".

    Returns:
        The run of the last stage.

    Raises:
        HypercolumnsError: if a setting or a file must be fixed. The message says how.
    """
    named = {"data.images": images, "data.masks": masks, "data.classes": classes, "runs": out}
    given = _by_dotted_name(settings)
    for name, value in named.items():
        if value is not None and name in given:
            argument = "out" if name == "runs" else name.removeprefix("data.")
            raise HypercolumnsError(f"{name} is given twice; give it by the argument {argument} alone")
        given |= {} if value is None else {name: value}
    if images is not None:
        given.setdefault("data", "folder")
    stage = given.get("stage", "all")
    if stage not in ("all", *FITTING):
        other = f"; run other stages by the command hypercolumns train stage={stage}" if stage in STAGES else ""
        raise HypercolumnsError(f"stage={stage} must be all, pretrain or train, which give a model{other}")
    overrides = quote_paths([_override(name, value) for name, value in given.items()])
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise HypercolumnsError(f"config_dir={config_dir} is not a folder; give the folder of your config files")
        overrides.insert(0, _override("hydra.searchpath", [f"file://{Path(config_dir).absolute()}"]))
    with _restored_globals(), _hydra():
        try:
            cfg = compose("train", overrides=overrides, return_hydra_config=True)
            hydra = cfg.hydra
            with open_dict(cfg):
                del cfg.hydra
            with invoked(Invocation(hydra, INSTALLED)):
                run = stage_result(cfg)
        except HypercolumnsError as error:
            raise error from None  # Hydra's errors that led to this one say nothing more
        except Exception as error:
            if (line := error_line(error, overrides)) is not None:
                raise HypercolumnsError(line) from None
            raise
    return TrainedRun(run.folder)


def _by_dotted_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of each setting by its name for Hydra; the entries of a group are settings of their own.

    An entry with a `_target_`, such as one more callback, is added to its group.
    """
    dotted: dict[str, Any] = {}
    for name, value in settings.items():
        group = name.replace("__", ".")
        one_by_one = isinstance(value, Mapping) and "." not in group
        for entry, content in value.items() if one_by_one else [(None, value)]:
            setting = group if entry is None else f"{group}.{entry}"
            if setting in dotted:
                raise HypercolumnsError(f"{setting} is given twice; leave out one of the two values")
            dotted[setting] = content
    return {f"++{name}" if _is_part(name, value) else name: value for name, value in dotted.items()}


def _is_part(name: str, value: Any) -> bool:
    return name.startswith(("callbacks.", "logger.")) and isinstance(value, Mapping) and "_target_" in value


def _override(name: str, value: Any) -> str:
    """Write a setting as an override of Hydra."""
    try:
        return f"{name}={format_value(value)}"
    except (TypeError, ValueError) as error:
        raise HypercolumnsError(
            f"{name}={value!r}: {error}; in callbacks={{...}} and logger={{...}}, give a class by its import path and "
            f'its arguments, as in {{"mine": {{"_target_": "package.Class", "argument": 1}}}}'
        ) from error


@contextmanager
def _restored_globals() -> Iterator[None]:
    """Restore the filters of warnings and the levels of loggers, which a stage changes, after the `with` block."""
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def _hydra() -> Iterator[None]:
    """Let Hydra compose the project's configs in the `with` block, also inside a program that uses Hydra itself."""
    instance = GlobalHydra.instance()
    theirs = instance.hydra
    instance.clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = theirs
