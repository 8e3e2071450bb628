#!/usr/bin/env bash
# pytorch-lightning 2.6.6: a training with the callback SpikeDetection writes checkpoints from which it can't resume.
#
# The callback keeps its state in each checkpoint. Its load_state_dict asks for an attribute `running` that no object of the
# class has; the name is `running_mean`. Nothing tells so before the first interruption: the training and its checkpoints
# look right. A trainer without the callback loads the same checkpoint.
#
# Output seen:
#   resume without the callback: 2 epochs
#   resume with the callback:    AttributeError: 'SpikeDetection' object has no attribute 'running'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pytorch-lightning==2.6.6 torch==2.15.0 numpy==2.4.6

cat > "$work/resume.py" <<'PY'
import sys

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import SpikeDetection


class Line(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def training_step(self, batch, _):
        return self.line(batch).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(epochs, callbacks, checkpoint=None):
    """Train, and return the trainer."""
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(Line(), torch.utils.data.DataLoader(torch.ones(4, 2), batch_size=2), ckpt_path=checkpoint)
    return trainer


fit(1, [SpikeDetection()]).save_checkpoint("last.ckpt")
without = fit(2, [], "last.ckpt").current_epoch
print(f"resume without the callback: {without} epochs")
try:
    error = f"{fit(2, [SpikeDetection()], 'last.ckpt').current_epoch} epochs"
except AttributeError as raised:
    error = f"{type(raised).__name__}: {raised}"
print(f"resume with the callback:    {error}")
if without != 2 or error != "AttributeError: 'SpikeDetection' object has no attribute 'running'":
    sys.exit("this has changed")
PY
cd "$work"
venv/bin/python -W ignore resume.py 2> log | grep "^resume" || { cat log >&2; exit 1; }
