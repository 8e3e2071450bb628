import pytest
import torch
from helpers.small_runs import RGB, only, run

from hypercolumns import Segmenter
from hypercolumns.callbacks import EMAWeightAveraging
from hypercolumns.errors import ArgumentError
from hypercolumns.tasks import PixelClassificationTask

DECAY = 0.3


def weights(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def test_average_is_validated_and_saved(tmp_path, monkeypatch):
    """The best checkpoint and the final model hold the average; the checkpoint also holds the current weights."""
    monkeypatch.chdir(tmp_path)
    after_step, scored = [], []
    validation = PixelClassificationTask.validation_step

    def remember(self, batch, batch_idx):
        scored.append(weights(self))
        return validation(self, batch, batch_idx)

    monkeypatch.setattr(
        PixelClassificationTask, "on_train_batch_end", lambda self, *_: after_step.append(weights(self)), raising=False
    )
    monkeypatch.setattr(PixelClassificationTask, "validation_step", remember)
    small = ["data.train_images=12", "val_images=0", "trainer.max_epochs=1"]
    run("extract", base=[*RGB, *small])
    run("pretrain", *small, f"ema={DECAY}", "batch_size=64")
    assert len(after_step) > 5
    average = after_step[0]
    for step, now in enumerate(after_step[1:], 1):
        decay = min(DECAY, (1 + step) / (10 + step))
        average = {name: decay * average[name] + (1 - decay) * now[name] for name in now}
    folder = only(tmp_path, "runs/shapes/rgb/pretrain/*")
    saved = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    for name, tensor in average.items():
        assert torch.allclose(saved["state_dict"][name], tensor, atol=1e-6)
        assert torch.equal(saved["state_dict"][name], scored[-1][name])
        assert torch.equal(saved["current_model_state"][name], after_step[-1][name])
    assert not torch.allclose(average["classifier.first.weight"], after_step[-1]["classifier.first.weight"])
    model, checkpoint = Segmenter.load(folder), Segmenter.load(folder / "checkpoints/best.ckpt")
    for loaded in (model, checkpoint):
        assert all(
            torch.equal(tensor, scored[-1][f"classifier.{name}"]) for name, tensor in weights(loaded.classifier).items()
        )


def test_frozen_weights_stay_and_counters_copy():
    frozen, counter = torch.randn(1000), torch.tensor([3])
    before, average = frozen.clone(), EMAWeightAveraging(0.999)
    for steps in range(1, 20):
        average.update_averages([frozen], [before], torch.tensor(steps))
        average.update_averages([counter], [torch.tensor([3 + steps])], torch.tensor(steps))
    assert torch.equal(frozen, before)
    assert counter == 22


@pytest.mark.parametrize("decay", [1, -0.1, "slow", True])
def test_invalid_decay_raises(decay):
    with pytest.raises(ArgumentError, match=rf"^decay={decay} must be a number of at least 0 and below 1"):
        EMAWeightAveraging(decay)
