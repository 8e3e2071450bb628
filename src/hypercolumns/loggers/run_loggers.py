"""The loggers of a run, from before its first step to its final metrics."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from hypercolumns.errors import HypercolumnsError, summarize_error
from hypercolumns.io.files import read_json, write_json
from hypercolumns.loggers import write
from hypercolumns.loggers.silent import SilentLogger
from hypercolumns.runtime import distributed

# Builds a logger that continues the run of this id; None: it begins a new run.
MakeLogger = Callable[[str | None], Logger]
IDS = "loggers.json"  # the file in a run's folder with the ids of the run in the services of its loggers, by logger


class RunLoggers:
    """The loggers of a run: built when they are first needed, all closed at the end of the `with` block.

    Every command that works on the run continues the same run of Weights & Biases and MLflow: its id is kept in the
    run's folder. Only rank zero logs.

    Args:
        makers: builds each logger, by the name of the logger in the settings.
        folder: the run's folder.
        columns: the hyperparameters of the run, by their names.
    """

    def __init__(self, makers: Mapping[str, MakeLogger], folder: Path, columns: Mapping[str, Any]) -> None:
        self._makers, self._ids, self._columns = makers, folder / IDS, columns
        self._opened: dict[str, Logger] = {}

    def open(self) -> list[Logger]:
        """Build the loggers, and log the hyperparameters: what can't be logged is found before the first step.

        Returns:
            The loggers. If there are none, and on all ranks but rank zero: a logger that logs nothing.

        Raises:
            HypercolumnsError: if a logger can't be built, or refuses the hyperparameters. The message names it.
        """
        if distributed.is_rank_zero():
            for name, make in self._makers.items():
                if name not in self._opened:
                    with _errors_of(name):
                        self._open(name, make)
        return [*self._opened.values()] or [SilentLogger()]

    def _open(self, name: str, make: MakeLogger) -> None:
        ids = read_json(self._ids) if self._ids.is_file() else {}
        logger: Any = make(ids.get(name))
        _ = getattr(logger, "experiment", None)  # begins the run
        self._opened[name] = logger
        write.log_hyperparameters(logger, self._columns)
        if isinstance(logger, WandbLogger | MLFlowLogger) and ids.get(name) != logger.version:
            write_json(self._ids, ids | {name: logger.version})

    def log_final(self, values: Mapping[str, float], pictures: Mapping[str, bytes]) -> None:
        """Log the final metrics and the final pictures of the run.

        Args:
            values: the final metrics, by their names.
            pictures: the contents of PNG files, by the names of the pictures.

        Raises:
            HypercolumnsError: if a logger fails. The message names it.
        """
        self.open()
        for name, logger in self._opened.items():
            with _errors_of(name):
                write.log_final(logger, self._columns, values)
                for picture, content in pictures.items():
                    write.log_picture(logger, picture, content)

    def __enter__(self) -> Self:
        """Return the loggers."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the loggers that were built. An error that ends the `with` block is not replaced by another."""
        while self._opened:
            name, logger = self._opened.popitem()
            with _errors_of(name) if error is None else suppress(Exception):
                write.close(logger, succeeded=error is None)


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Raise an error of a logger's library as a HypercolumnsError that names the logger."""
    try:
        yield
    except HypercolumnsError:
        raise
    except Exception as error:  # each library has errors of its own
        if isinstance(error, OSError) and error.errno is not None:  # such as a full disk
            raise
        reason = summarize_error(error).rstrip(".")
        raise HypercolumnsError(
            f"logger.{name}: {reason}; change the settings logger.{name}, or leave out this logger (logger=null: no "
            f"logger)"
        ) from error
