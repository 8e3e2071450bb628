"""Stage train with a transformer some of whose blocks are trained."""

import pytest
import torch
from helpers.small_runs import RGB, config, run

from hypercolumns import Segmenter
from hypercolumns.settings import data, model
from hypercolumns.stages.train import new_classifier
from hypercolumns.tasks import SegmentationTask

pytestmark = pytest.mark.usefixtures("place")
TRAIN = [
    *["cnn=timm", "cnn.model=test_vit", "cnn.taps=[blocks.0,blocks.2]", "cnn.trainable=1", "pixels=50"],
    *["data.train_images=6", "data.val_images=1", "batch_size=2", "augment.crop=48", "trainer.max_epochs=2"],
    *["optimizer.lr=1e-2", "optimizer.layer_decay=0.5", "optimizer.no_decay_norm_and_bias=true", "ema=0.9"],
]
SCRATCH = ["init_from=scratch", "cnn.weights=null"]
RUNS = "runs/shapes/timm-test_vit/train"


def tensors(path):
    return Segmenter.load(path).state_dict()


def interrupt(monkeypatch, *settings):
    """Run stage train from the beginning until the second step of its second epoch."""
    step = SegmentationTask.training_step

    def fail(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 1):
            raise RuntimeError("power cut")
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", fail)
        with pytest.raises(RuntimeError, match="power cut"):
            run("train", *settings, "overwrite=true")


@pytest.mark.slow(seconds=20)
def test_trained_blocks_resume_and_average(place, monkeypatch):
    """Blocks of the last tap change and no others; a resumed run ends alike; wise_ft_alpha averages with the start."""
    run("train", *TRAIN, *SCRATCH)
    first = (place / RUNS / "latest").resolve()
    whole, start = (first / "model.safetensors").read_bytes(), tensors(first)
    interrupt(monkeypatch, *TRAIN, *SCRATCH)
    run("train", *TRAIN, *SCRATCH)
    assert (first / "model.safetensors").read_bytes() == whole

    run("train", *TRAIN, f"init_from={first}")
    trained = tensors(place / RUNS / "latest")
    changed = {name for name, values in trained.items() if not torch.equal(values, start[name])}
    last = {name for name in start if name.startswith(("backbone.body.blocks.1.", "backbone.body.blocks.2."))}
    assert {name for name in changed if name.startswith("backbone.")} == last
    run("train", *TRAIN, f"init_from={first}", "wise_ft_alpha=0.25")
    for name, values in tensors(place / RUNS / "latest").items():
        assert torch.allclose(values, start[name].lerp(trained[name], 0.25), atol=1e-7)


@pytest.mark.slow(seconds=20)
def test_drop_path_decides_the_run_and_resumes(place, monkeypatch):
    """Drop path makes another run, checkpointing does not; an interrupted run draws the same branches again."""
    few = [*TRAIN, *SCRATCH, "cnn.trainable=all", "cnn.grad_checkpointing=true"]
    run("train", *few)
    run("train", *few, "cnn.drop_path=0.5")
    folder = (place / RUNS / "latest").resolve()
    assert len([path for path in (place / RUNS).iterdir() if not path.is_symlink()]) == 2
    whole = (folder / "model.safetensors").read_bytes()
    interrupt(monkeypatch, *few, "cnn.drop_path=0.5")
    run("train", *few, "cnn.drop_path=0.5", "cnn.grad_checkpointing=false")
    assert (place / RUNS / "latest").resolve() == folder
    resumed = tensors(folder)
    (folder / "model.safetensors").write_bytes(whole)
    for name, values in tensors(folder).items():
        assert torch.allclose(values, resumed[name], atol=1e-4), name


@pytest.mark.slow(seconds=10)
def test_statistics_are_measured_in_evaluation(place):
    """Neither drop path nor batches of one image change the mean and std of hypercolumns."""
    settings = [*TRAIN, *SCRATCH, "cnn.model=test_resnet", "cnn.taps=[bn1,layer1]", "cnn.trainable=all"]
    cfg = config("train", *RGB, "stage=train", *settings)
    batches = data.image_data(cfg, data.image_index(cfg))
    backbone = model.backbone(cfg)
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    first = new_classifier(cfg, backbone, batches)
    assert backbone.training
    assert all(torch.equal(values, before[name]) for name, values in backbone.state_dict().items())
    assert torch.equal(first.mean, new_classifier(cfg, backbone.eval(), batches).mean)
