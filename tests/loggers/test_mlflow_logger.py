"""The names of metrics in MLflow, and where it writes."""

import posixpath
import re

import pytest

from hypercolumns.loggers import RunMLFlowLogger
from hypercolumns.loggers.mlflow_logger import allowed_name


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("train/learning_rate/backbone_3", "train/learning_rate/backbone_3"),
        ("val_iou/traffic light", "val_iou/traffic light"),
        ("val_iou/car (parked)", "val_iou/car _x28_parked_x29_"),
        ("val_iou/家", "val_iou/_x5bb6_"),
        ("val_iou/a//b", "val_iou/a_x2f__x2f_b"),
        ("val_iou/..", "val_iou/_x2e__x2e_"),
    ],
)
def test_name_is_one_that_mlflow_allows(name, allowed):
    assert allowed_name(name) == allowed
    assert re.fullmatch(r"[\w. /-]+", allowed, re.ASCII)
    assert posixpath.normpath(allowed) == allowed


def test_database_and_pictures_lie_in_the_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logger = RunMLFlowLogger(str(tmp_path / "events"), run_name="run")
    logger.log_hyperparams({"seed": 1})
    again = RunMLFlowLogger(str(tmp_path / "events"), run_id=logger.run_id)
    again.log_hyperparams({"seed": 2, "lr": 0.1})  # MLflow would refuse the second seed
    again.log_metrics({"val_iou/家": 0.5}, 3)
    again.finalize("success")
    run = mlflow.MlflowClient(f"sqlite:///{tmp_path}/events/mlflow.db").get_run(logger.run_id)
    assert run.data.params == {"seed": "1", "lr": "0.1"}
    assert run.data.metrics == {"val_iou/_x5bb6_": 0.5}
    assert run.info.artifact_uri.startswith(str(tmp_path / "events"))
