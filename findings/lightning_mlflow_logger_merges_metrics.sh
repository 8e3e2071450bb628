#!/usr/bin/env bash
# pytorch-lightning 2.6.6: MLFlowLogger writes metrics of different classes into one, although MLflow 3.17.2 keeps them.
#
# The logger removes all letters but those of the English alphabet from the names of metrics. The IoU of the classes 道路
# (road) and 建物 (building), 0.9 and 0.1, become two values of one metric `iou_` at the same step. No value tells its class
# any more. A warning says that a name is replaced, and not that two became one. MLflow's own client takes the names as
# they are.
#
# Output seen:
#   MLFlowLogger:  {'iou_': 0.9}, with the values [0.1, 0.9] at step 0
#   MlflowClient:  {'iou_建物': 0.1, 'iou_道路': 0.9}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    pytorch-lightning==2.6.6 torch==2.15.0 numpy==2.4.6 mlflow==3.17.2

cat > "$work/metrics.py" <<'PY'
import sys

from pytorch_lightning.loggers import MLFlowLogger

scores = {"iou_道路": 0.9, "iou_建物": 0.1}
logger = MLFlowLogger("classes", tracking_uri="sqlite:///mlflow.db", artifact_location="artifacts")
client = logger.experiment

logger.log_metrics(scores, step=0)
logged = client.get_run(logger.run_id).data.metrics
history = sorted((value.step, value.value) for value in client.get_metric_history(logger.run_id, "iou_"))
print(f"MLFlowLogger:  {logged}, with the values {[value for _, value in history]} at step {history[0][0]}")

own = client.create_run(logger.experiment_id).info.run_id
for name, score in scores.items():
    client.log_metric(own, name, score, step=0)
kept = dict(sorted(client.get_run(own).data.metrics.items()))
print(f"MlflowClient:  {kept}")
if logged != {"iou_": 0.9} or history != [(0, 0.1), (0, 0.9)] or kept != scores:
    sys.exit("this has changed")
PY
cd "$work"
venv/bin/python -W ignore metrics.py 2> log || { cat log >&2; exit 1; }
