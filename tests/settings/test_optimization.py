"""The kernel of the optimizer that a config describes."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from helpers.small_runs import config

from hypercolumns.settings.training import optimization
from hypercolumns.tasks.optimization import optimizer_with_schedule
from hypercolumns.tasks.param_groups import ParamGroup


def optimizer(*settings, parameters=None, device="cpu"):
    parameters = parameters or [torch.nn.Parameter(torch.zeros(3, device=device))]
    makers = optimization(config("train", "stage=pretrain", *settings))
    groups = [ParamGroup({"params": parameters})]
    return optimizer_with_schedule(groups, makers["optimizer"], makers["scheduler"], 10)["optimizer"]


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_optimizers_are_fused_on_a_cpu_only(kind):
    assert optimizer(f"optimizer={kind}").param_groups[0]["fused"] is True
    assert optimizer(f"optimizer={kind}", device="meta").param_groups[0]["fused"] is None


@pytest.mark.parametrize("setting", ["fused=false", "foreach=true", "foreach=false", "differentiable=true"])
def test_settings_of_the_kernel_are_kept(setting):
    name, value = setting.split("=")
    (group,) = optimizer(f"+optimizer.{setting}").param_groups
    assert group[name] is (value == "true")
    assert not group["fused"]


def test_other_optimizers_are_built():
    assert isinstance(optimizer("optimizer._target_=torch.optim.RAdam"), torch.optim.RAdam)


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
def test_fused_steps_equal_plain_steps(kind):
    """The layers have the memory format of a backbone, and the second step starts from a saved state."""
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 1)
    )
    layers, images = layers.to(memory_format=torch.channels_last), torch.randn(2, 3, 9, 9)
    results = []
    for settings in ([], ["+optimizer.fused=false"]):
        model = copy.deepcopy(layers)
        state = None
        for _ in range(2):
            chosen = optimizer(f"optimizer={kind}", *settings, parameters=[*model.parameters()])
            if state is not None:
                chosen.load_state_dict(state)
            chosen.zero_grad()
            model(images).square().mean().backward()
            chosen.step()
            state = copy.deepcopy(chosen.state_dict())
        results.append(model.state_dict())
    torch.testing.assert_close(*results)
    assert not torch.equal(results[0]["0.weight"], layers.state_dict()["0.weight"])


class Task(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()

    def configure_optimizers(self):
        return optimizer("optimizer=adamw", parameters=[*self.parameters()])


@pytest.mark.filterwarnings("ignore:.*LeafSpec")  # of Lightning
def test_gradients_are_clipped_with_bf16():
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=1,
        precision="bf16-mixed",
        gradient_clip_val=1.0,
        enable_model_summary=False,
        **quiet,
    )
    trainer.fit(Task(), torch.utils.data.DataLoader(torch.ones(2, 2)))
    assert trainer.global_step == 1
