"""How the running stage was asked for: the overrides, the configs that they chose, and the program that started it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.types import RunMode

INSTALLED = ("hypercolumns", "train")  # the words that start a training after pip has installed the package


def shell_program() -> Sequence[str]:
    """Return the words that start a training in a shell, by the program that is running."""
    installed = Path(sys.argv[0]).parent == Path(__file__).parents[1] / "commands"
    return INSTALLED if installed else ("python", "train.py")


@dataclass(frozen=True)
class Invocation:
    """A command, or a call of `hypercolumns.train`.

    Hydra keeps the same in `HydraConfig`, a global. The stages do not read that global: a program with a Hydra of its
    own may call `hypercolumns.train`, and the global is then about that program.

    Attributes:
        hydra: Hydra's own settings, the entry `hydra` of the composed config.
        program: the words that start the same training in a shell.
    """

    hydra: Any
    program: Sequence[str] = field(default_factory=shell_program)

    @property
    def overrides(self) -> list[str]:
        """The overrides that were given, such as `cnn=sqn`, without those of Hydra's own settings."""
        return list(self.hydra.overrides.task)

    @property
    def search_path(self) -> list[str]:
        """The overrides that add folders of configs."""
        of_hydra = self.hydra.overrides.hydra
        return [override for override in of_hydra if override.lstrip("+").startswith("hydra.searchpath=")]

    @property
    def is_sweep_job(self) -> bool:
        """Whether this is a job of a sweep, that is, of a command with -m."""
        return bool(self.hydra.mode == RunMode.MULTIRUN)


_current: ContextVar[Invocation | None] = ContextVar("invocation", default=None)


def current() -> Invocation | None:
    """Return the invocation of the running stage; None if the stage was called with a config alone."""
    return _current.get()


@contextmanager
def invoked(invocation: Invocation) -> Iterator[None]:
    """Make `invocation` the current one inside the `with` block."""
    token = _current.set(invocation)
    try:
        yield
    finally:
        _current.reset(token)
