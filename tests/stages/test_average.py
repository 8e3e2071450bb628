"""Stage average: the mean of the weights of several models; the features are the colours of the pixels."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.small_runs import RGB, only, run
from safetensors.torch import load_file

from hypercolumns import Backbone, HypercolumnExtractor, HypercolumnsError, MLPClassifier, Segmenter
from hypercolumns.models.weight_average import average_models

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
        run("pretrain", "trainer.max_epochs=1", "seed=1", "samples=" + str(only(place, "runs/shapes/rgb/samples/*")))
        shutil.copytree(Path(PRETRAIN, "latest").resolve(), "elsewhere")
        save("broken", 2, "classifier.first.bias", change=float("nan"))
    return place


def save(folder, seed, *names, change=0.05):
    """Save the pretrained model with random changes of some of its tensors."""
    torch.manual_seed(seed)
    model = Segmenter.load("start")
    for name in names:
        tensor = model.state_dict()[name]
        tensor += change * torch.randn_like(tensor)
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


def test_boundary_width_averages_nothing_again(place):
    miou = average("seed0", "seed1")
    folder = only(place, "runs/shapes/rgb/average/*")
    narrow = json.loads((folder / "metrics.json").read_text())
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert average("seed0", "seed1", extra=["boundary_width=7"]) == miou
    assert only(place, "runs/shapes/rgb/average/*") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    wide = json.loads((folder / "metrics.json").read_text())
    assert (narrow["boundary_width"], wide["boundary_width"]) == (3, 7)
    assert wide["boundary_miou"] != narrow["boundary_miou"]


def test_interrupted_scoring_is_done_again(place):
    average("seed0", "seed1")
    metrics = only(place, "runs/shapes/rgb/average/*") / "metrics.json"
    narrow = metrics.read_text()
    average("seed0", "seed1", extra=["boundary_width=7"])
    metrics.write_text(narrow)  # as if the command had ended after it wrote the confusion matrices
    average("seed0", "seed1")
    assert json.loads(metrics.read_text())["boundary_miou"] == json.loads(narrow)["boundary_miou"]


def test_batch_norm_of_three_models(tmp_path):
    paths = []
    torch.manual_seed(0)
    start = Backbone("resnet18", ["bn1"], weights=None)
    head = MLPClassifier(start.channels, 2, hidden=4)
    for number in range(3):
        backbone, classifier = copy.deepcopy(start), copy.deepcopy(head)
        state = backbone.state_dict()
        state["body.bn1.running_mean"] += number
        next(tensor for name, tensor in state.items() if "num_batches" in name).fill_(7 + number)
        classifier.first.weight.data += 1e-3 * torch.randn_like(classifier.first.weight)
        paths.append(tmp_path / f"{number}.safetensors")
        Segmenter(HypercolumnExtractor(backbone), classifier, ["a", "b"]).save(paths[-1])
    states = [load_file(path) for path in paths]
    mean = average_models(paths).state_dict()
    whole = [name for name, tensor in states[0].items() if not tensor.is_floating_point()]
    assert whole
    assert all(torch.equal(mean[name], states[0][name]) for name in whole)
    for name in ("backbone.body.bn1.running_mean", "classifier.first.weight"):
        assert torch.allclose(mean[name], sum(state[name] for state in states) / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["seed0"], r"models=\['seed0'\] must be a list of at least two models"),
        (["seed0", "seed1", "copy"], "are the same model"),
        (["seed0", "seed0/model.safetensors"], "are the same model"),
        (["seed0", "broken"], "broken/model.safetensors can't be loaded"),
        (["seed0", "elsewhere"], "were not trained from the same model"),
        (["seed0", "nowhere"], "nowhere is not a file"),
        (["seed0", "other"], "differ in classifier"),
    ],
)
def test_models_that_do_not_fit_are_refused(place, models, message):
    if "copy" in models:
        shutil.copytree("seed0", "copy")
    if "other" in models:
        run("pretrain", "classifier.hidden=4", "trainer.max_epochs=1")
        Path(PRETRAIN, "latest").resolve().rename(Path("other"))
    with pytest.raises(HypercolumnsError, match=message):
        average(*models)
    assert not Path("runs/shapes/rgb/average").exists()


@pytest.mark.parametrize("value", ["null", "seed0", "[1,2]"])
def test_models_must_be_a_list(value):
    with pytest.raises(HypercolumnsError, match=r"must be a list of at least two models, models=\[RUN,RUN\]"):
        run("average", f"models={value}")


def test_model_of_other_classes_is_refused(place):
    with pytest.raises(HypercolumnsError, match=r"models=seed\d/model\.safetensors has the classes"):
        average("seed0", "seed1", extra=["data.void=[1,255]"])


def test_deleted_model_is_written_again(place):
    average("seed0", "seed1")
    file = only(place, "runs/shapes/rgb/average/*") / "model.safetensors"
    before = load_file(file)
    file.unlink()
    average("seed0", "seed1")
    assert all(torch.equal(tensor, before[name]) for name, tensor in load_file(file).items())


def test_other_rules_for_images_are_refused(place):
    with pytest.raises(HypercolumnsError, match="was trained on images that are read by no rules"):
        average("seed0", "seed1", extra=["data.range=[2%,98%]"])


def test_left_out_group_is_named(place, capsys):
    average("seed0", "seed1", extra=["data.group_pattern='(\\d)$'", "data.val_group='0'"])
    assert "average of 2 models: 4 left-out (0) images" in " ".join(capsys.readouterr().out.split())
    metrics = json.loads((only(place, "runs/shapes/rgb/average/*") / "metrics.json").read_text())
    assert metrics["evaluated"]["val_group"] == "0"
    assert sorted(metrics["evaluated"]["models"]) == ["seed0/model.safetensors", "seed1/model.safetensors"]
