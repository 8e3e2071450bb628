#!/usr/bin/env bash
# pytorch-lightning 2.6.6: CSVLogger deletes the rows of a training that is resumed in the folder of its first part.
#
# A training of 4 epochs stops after 2, as at the end of a job's time. A second process resumes it from its checkpoint, with
# the same save_dir, name and version. The logger removes metrics.csv of the first process as soon as it is used, so that
# the file holds the later epochs alone. trainer.validate() with this logger removes the rows of a finished training in
# the same way. A warning announces it. TensorBoardLogger in the same folder continues the curves of the first process.
#
# Output seen:
#   epochs in metrics.csv after 2 of 4 epochs: [0, 1]
#   epochs in metrics.csv after all 4 epochs:  [2, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pytorch-lightning==2.6.6 torch==2.15.0 numpy==2.4.6

cat > "$work/fit.py" <<'PY'
import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        loss = self.line(batch).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


epochs, resume = int(sys.argv[1]), sys.argv[2] == "resume"
trainer = pl.Trainer(
    max_epochs=epochs,
    accelerator="cpu",
    logger=CSVLogger("logs", name="line", version="one"),
    enable_checkpointing=False,
    enable_progress_bar=False,
)
batches = torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2)
trainer.fit(Line(), batches, ckpt_path="last.ckpt" if resume else None)
trainer.save_checkpoint("last.ckpt")
PY

cat > "$work/epochs.py" <<'PY'
import csv

with open("logs/line/one/metrics.csv", newline="") as file:
    print([int(row["epoch"]) for row in csv.DictReader(file)])
PY

cd "$work"
fit() { venv/bin/python -W ignore fit.py "$@" > log 2>&1 || { cat log >&2; exit 1; }; }
fit 2 start
first=$(venv/bin/python epochs.py)
fit 4 resume
second=$(venv/bin/python epochs.py)
echo "epochs in metrics.csv after 2 of 4 epochs: $first"
echo "epochs in metrics.csv after all 4 epochs:  $second"
test "$first" = "[0, 1]"
test "$second" = "[2, 3]"
