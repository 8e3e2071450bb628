"""Stage average: the mean of the weights of several models; the features are the colours of the pixels."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.small_runs import RGB, only, run
from safetensors.torch import load_file

from hypercolumns import HypercolumnsError, Segmenter

PRETRAIN = "runs/shapes/rgb/pretrain"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a pretrained model, two models that differ from it in their weights, and others that do not fit."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        run("extract")
        run("pretrain", "trainer.max_epochs=1")
        shutil.copytree(Path(PRETRAIN, "latest").resolve(), "start")
        for seed in (0, 1):
            save(f"seed{seed}", seed, "classifier.first.weight", "classifier.rest.linear1.bias")
        save("elsewhere", 2, "classifier.mean")
    return place


def save(folder, seed, *names):
    """Save the pretrained model with random changes of some of its tensors."""
    torch.manual_seed(seed)
    model = Segmenter.load("start")
    for name in names:
        tensor = model.state_dict()[name]
        tensor += 0.1 * torch.randn_like(tensor)
    Path(folder).mkdir()
    model.save(f"{folder}/model.safetensors")


@pytest.fixture(autouse=True)
def place(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def average(*models, extra=()):
    return run("average", f"models=[{','.join(models)}]", *extra, base=[text for text in RGB if "epochs" not in text])


def test_weights_are_the_mean(place):
    miou = average("seed0", "seed1/model.safetensors")
    folder = only(place, "runs/shapes/rgb/average/*")
    assert (folder.parent / "latest").resolve() == folder
    first, second, mean = (load_file(path / "model.safetensors") for path in (Path("seed0"), Path("seed1"), folder))
    assert not torch.equal(first["classifier.first.weight"], second["classifier.first.weight"])
    assert mean.keys() == first.keys()
    for name, tensor in mean.items():
        expected = (first[name].double() + second[name].double()) / 2
        assert torch.equal(tensor, expected.to(tensor.dtype))
    assert miou == json.loads((folder / "metrics.json").read_text())["miou"]
    assert miou == run("evaluate", f"model={folder}")  # the file holds what was scored


def test_run_is_made_once(place, capsys):
    average("seed0", "seed1")
    folder = only(place, "runs/shapes/rgb/average/*")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    average("seed1", "seed0")  # the order does not matter
    assert only(place, "runs/shapes/rgb/average/*") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    capsys.readouterr()
    run("status")
    assert "average" in capsys.readouterr().out


def test_integers_are_those_of_the_first_model(place):
    average("seed0", "seed1", "start")
    folder = only(place, "runs/shapes/rgb/average/*")
    model, first = Segmenter.load(folder), Segmenter.load("seed0")
    assert model.classes == first.classes
    whole = {name for name, tensor in first.state_dict().items() if not tensor.is_floating_point()}
    assert all(torch.equal(model.state_dict()[name], first.state_dict()[name]) for name in whole)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["seed0"], "models=an average needs at least two models"),
        (["seed0", "seed0/model.safetensors"], "is listed twice"),
        (["seed0", "elsewhere"], "were not trained from the same model"),
        (["seed0", "nowhere"], "nowhere is not a file"),
        (["seed0", "other"], "other/model.safetensors and seed0/model.safetensors differ in classifier"),
    ],
)
def test_models_that_do_not_fit_are_refused(place, models, message):
    if "other" in models:
        run("pretrain", "classifier.hidden=4", "trainer.max_epochs=1")
        Path(PRETRAIN, "latest").resolve().rename(Path("other"))
    with pytest.raises(HypercolumnsError, match=message):
        average(*models)
    assert not Path("runs/shapes/rgb/average").exists()


@pytest.mark.parametrize("value", ["null", "seed0", "[1,2]"])
def test_models_must_be_a_list(value):
    with pytest.raises(HypercolumnsError, match=r"must be a list of models, models=\[RUN,RUN\]"):
        run("average", f"models={value}")


def test_model_of_other_classes_is_refused(place):
    with pytest.raises(HypercolumnsError, match=r"models=seed0/model\.safetensors has the classes"):
        average("seed0", "seed1", extra=["data.void=[1,255]"])
