"""Early stopping."""

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's EarlyStopping; that one goes on if a kill comes between its decision and the end."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Decide as before."""
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience
