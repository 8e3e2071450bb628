"""An MLflow logger that writes to a folder by default, and that takes any name of a class."""

import os
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import MLFlowLogger

# What MLflow allows in the name of a metric.
FORBIDDEN = re.compile(r"[^a-zA-Z0-9_/. -]")


class RunMLFlowLogger(MLFlowLogger):
    """Lightning's MLFlowLogger, for a run whose folder decides where MLflow writes.

    Lightning removes the characters from the names of metrics that MLflow does not allow, so that names without a
    letter of the English alphabet all become the same. This logger replaces each of them by its number in Unicode.

    Args:
        save_dir: the folder of the database `mlflow.db` and of the pictures, unless `tracking_uri` names another place.
        tracking_uri: where MLflow keeps its runs: the URL of a server, or `sqlite:///<file>`; None: the environment
            variable MLFLOW_TRACKING_URI or, if it is not set, the database in `save_dir`.
        artifact_location: the folder of the pictures of a new experiment; None: beside the database, or where the
            server keeps them.
        experiment_name: the name of the experiment that holds the runs.
        settings: more arguments of Lightning's MLFlowLogger, such as `run_id`.
    """

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        artifact_location: str | None = None,
        experiment_name: str = "hypercolumns",
        **settings: Any,
    ) -> None:
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path(save_dir).resolve()}/mlflow.db"
        if uri.startswith("sqlite:///"):
            database = Path(uri.removeprefix("sqlite:///")).resolve()
            database.parent.mkdir(parents=True, exist_ok=True)
            # MLflow's default is a folder in the working directory.
            artifact_location = artifact_location or str(database.with_name("mlflow_artifacts"))
        super().__init__(experiment_name, tracking_uri=uri, artifact_location=artifact_location, **settings)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics under names that MLflow allows."""
        super().log_metrics({allowed_name(name): value for name, value in metrics.items()}, step)

    def log_hyperparams(self, params: Any) -> None:
        """Log the hyperparameters that the run does not have yet, because MLflow refuses a second value."""
        known = self.experiment.get_run(self.run_id).data.params
        super().log_hyperparams({name: value for name, value in dict(params).items() if name not in known})


def allowed_name(name: str) -> str:
    """Return a name that MLflow allows for a metric; different names stay different.

    Each character that MLflow does not allow becomes `_x<its number in Unicode, in hexadecimal digits>_`. If the name
    is not a plain path, such as `val_iou/a//b`, this also happens to the slashes and dots after its first slash.
    """
    group, slash, rest = name.partition("/")
    if posixpath.normpath(name) != name:
        rest = re.sub(r"[/.]", _number, rest)
    return FORBIDDEN.sub(_number, f"{group}{slash}{rest}")


def _number(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):x}_"
