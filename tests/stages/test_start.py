"""What stage train keeps of the model that `init_from` names, on a tiny data set."""

import json
import re
import shlex

import pytest
import torch
from helpers.small_runs import RGB, TINY, config, only, run

from hypercolumns import HypercolumnsError, Segmenter
from hypercolumns.data import shapes
from hypercolumns.io.decoding import ImageDecoding
from hypercolumns.io.images import read_image
from hypercolumns.models.backbones.widening import widen_filters
from hypercolumns.models.classifiers import MLPClassifier
from hypercolumns.settings import compose, model
from hypercolumns.settings.named_model import named_model
from hypercolumns.settings.start import named_start

pytestmark = pytest.mark.usefixtures("place")
MODEL = "runs/shapes/rgb/pretrain/latest"
# one step that changes nothing, so that the result is the start itself
STILL = ["optimizer.lr=0", "optimizer.weight_decay=0", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]


def trained(cnn="rgb"):
    return Segmenter.load(f"runs/shapes/{cnn}/train/latest")


def an_image():
    pair = shapes("data", train_images=40, val_images=3).splits["val"][0]
    return read_image(pair.image)[None]


def save_with_classes(classes, order=range(6)):
    """Save the pretrained model with other names of its classes, in another order."""
    start, order = Segmenter.load(MODEL), list(order)
    last = start.classifier.rest[-1]
    last.weight.data, last.bias.data = last.weight.data[order], last.bias.data[order]
    start.classes, start.palette = tuple(classes[i] for i in order), tuple(start.palette[i] for i in order)
    Segmenter(start.extractor, start.classifier, start.classes, start.palette).save("renamed.safetensors")


def test_classes_of_same_name_keep_their_logits(pretrained, place, capsys):
    override = "data.map={star: sun, box: null}"
    run("train", f"init_from={MODEL}", override, *STILL)
    printed = capsys.readouterr().out
    assert "kept  background, disc, triangle, ring\n" in printed
    assert "added  sun\n" in printed
    assert "dropped  box, star\n" in printed
    start, end, image = Segmenter.load(MODEL), trained(), an_image()
    assert end.classes == ("background", "disc", "triangle", "sun", "ring")
    with torch.inference_mode():
        old, new = start(image), end(image)
    assert torch.equal(new[:, [0, 1, 2, 4]], old[:, [0, 1, 3, 5]])
    drawn = model.classifier(config("train", *RGB, "stage=train"), 3, 5)  # from the seed
    assert torch.equal(end.classifier.rest[-1].weight[3], drawn.rest[-1].weight[3])
    record = json.loads((only(place, "runs/shapes/rgb/train/*") / "run.json").read_text())["fingerprint"]["start"]
    assert record["kept"] == ["background", "disc", "triangle", "ring"]
    assert (record["added"], record["dropped"], record["classifier"]) == (["sun"], ["box", "star"], "kept")
    with pytest.raises(HypercolumnsError, match=r"wise_ft_alpha=0\.5 averages .*because the model lacks sun; use"):
        run("train", f"init_from={MODEL}", override, *STILL, "wise_ft_alpha=0.5")


def test_order_of_classes_changes_no_figure(pretrained, place):
    run("train", f"init_from={MODEL}", *STILL)
    first = json.loads((only(place, "runs/shapes/rgb/train/*") / "metrics.json").read_text())
    whole = trained().state_dict()
    save_with_classes(shapes("data", train_images=40, val_images=3).classes, order=[5, 1, 0, 3, 2, 4])
    run("train", "init_from=renamed.safetensors", *STILL, "runs=again")
    folder = only(place, "again/shapes/rgb/train/*")
    assert json.loads((folder / "metrics.json").read_text())["per_class_iou"] == first["per_class_iou"]
    end = Segmenter.load(folder)
    for name, value in whole.items():
        assert torch.equal(end.state_dict()[name], value), name


def test_message_names_the_setting_that_renames(pretrained, capsys):
    names = shapes("data", train_images=40, val_images=3).classes
    save_with_classes([name.capitalize() for name in names])
    run("train", "init_from=renamed.safetensors", *STILL)
    printed = capsys.readouterr().out
    assert "all of its outputs are new, because no class has a name that the model has" in printed
    assert "rename?  background and Background, disc and Disc, " in printed
    (setting,) = shlex.split(re.search(r"set (.*data\.map=.*), to keep", printed)[1])
    run("train", "init_from=renamed.safetensors", *STILL, setting)
    assert "kept, with the outputs of all 6 classes" in capsys.readouterr().out
    end, start = trained(), Segmenter.load(MODEL)
    assert end.classes == tuple(name.capitalize() for name in names)
    assert torch.equal(end.classifier.rest[-1].weight, start.classifier.rest[-1].weight)


@pytest.mark.parametrize(
    ("override", "why", "remedy"),
    [
        ("classifier.hidden=9", r"classifier.hidden is [8], this command has [9]", "classifier.hidden=[8]"),
        (
            "classifier=grid",
            'classifier.kind is "mlp", this command has "grid"; classifier.size is null, ',
            "classifier=mlp classifier.hidden=[8]",
        ),
        ("alignment=corners", 'alignment is "exact", this command has "corners"', "alignment=exact"),
        (
            "resize=[32,48] augment.crop=null augment.scale=null batch_size=1",
            "resize is null, this command has [32, 48]",
            "resize=null",
        ),
        ("cnn.context=[coordinates]", "only this command has the taps [coordinates]", "cnn.context=[]"),
    ],
)
def test_other_head_keeps_the_backbone_alone(pretrained, capsys, override, why, remedy):
    overrides = ["classifier.hidden=8", *override.split()]
    run("train", f"init_from={MODEL}", *overrides, *STILL)
    printed = capsys.readouterr().out
    assert "backbone  kept, with its mean and std" in printed
    assert f"classifier  new, because {why}" in printed
    (given,) = re.findall(r"to keep it, add (.*); to pretrain a new one", printed)
    assert shlex.split(given) == remedy.split()
    end = trained()
    run("train", "init_from=scratch", *overrides, *STILL, "overwrite=true")
    for name, value in trained().state_dict().items():  # the backbone of colours is that of the model
        assert torch.equal(end.state_dict()[name], value), name
    run("train", f"init_from={MODEL}", *overrides, *shlex.split(given), *STILL)
    assert "classifier  kept, with the outputs of all 6 classes" in capsys.readouterr().out


def test_other_head_names_renamed_classes_too(pretrained, capsys):
    run("train", f"init_from={MODEL}", "classifier.hidden=9", "data.map={star: Stars}", *STILL)
    printed = capsys.readouterr().out
    assert "classifier  new, because" in printed
    assert "Stars and star; if they mean the same, set " in printed


@pytest.fixture
def start(segmenter, place):
    """The file of a model of SqueezeNet with two taps and the classes of the data set."""
    images = shapes("data", train_images=40, val_images=3)
    head = MLPClassifier(224, 6, 8)
    segmenter.backbone.get_buffer("mean")[:] = 0.25
    Segmenter(segmenter.extractor, head, images.classes, images.palette).save(place / "start.safetensors")
    return Segmenter.load(place / "start.safetensors")


def first_filters(segmenter):
    return segmenter.backbone.body.state_dict()["features.0.weight"]


TAPS = "cnn.taps=[features.0,[features.3.expand1x1,features.3.expand3x3]]"


def test_other_taps_keep_the_weights(start, capsys):
    few = ["data.train_images=6", "data.val_images=1", "augment.crop=32"]
    settings = ["cnn=sqn", "cnn.taps=[features.0]", "cnn.context=[local_mean:3]", *few, *STILL]
    run("train", "init_from=start.safetensors", *settings, base=TINY)
    printed = capsys.readouterr().out
    assert "new, because only the model has the taps [features.3.expand1x1" in printed
    assert ', only this command has the taps [local_mean:3]; to keep it, add "cnn.taps=[features.0,[' in printed
    assert TAPS in printed.partition("to keep it")[2]
    end = trained("sqn")
    assert torch.equal(
        end.backbone.body.get_parameter("features.0.weight"), start.backbone.body.get_parameter("features.0.weight")
    )
    assert end.backbone.get_buffer("mean").flatten().tolist() == [0.25] * 3
    with pytest.raises(HypercolumnsError, match=r"holds only the layers up to its last tap, .* lacks features\.4"):
        run("train", "init_from=start.safetensors", "cnn=sqn", "cnn.taps=[features.4]", *STILL, base=TINY)


def test_cnn_weights_beside_a_model_are_refused(monkeypatch):
    """Both are typed; a recipe's weights, or those of conf/cnn, are no reason to stop."""
    cfg = config("train", *RGB, "stage=train", f"init_from={MODEL}", "cnn.weights=other.pt")
    message = r"^cnn\.weights has no effect with init_from=.*latest, because the model brings its own backbone; leave"
    monkeypatch.setattr(compose, "overrides", lambda: ["cnn.weights=other.pt", f"init_from={MODEL}"])
    with pytest.raises(HypercolumnsError, match=message):
        named_start(cfg)
    cfg.init_from = "scratch"
    assert named_start(cfg) is None
    monkeypatch.setattr(compose, "overrides", lambda: [f"init_from={MODEL}"])
    cfg.init_from = "nowhere"
    with pytest.raises(HypercolumnsError, match=r"^init_from=nowhere"):
        named_start(cfg)


def test_model_of_rgb_is_adapted_to_more_channels(start):
    cfg = config("train", *TINY, "stage=train", "cnn=sqn", TAPS)
    named = named_model(cfg, "init_from", "start.safetensors")
    wide = model.backbone(cfg, named, ImageDecoding(channels=[0, 1, 2, 3, 4]))
    assert torch.equal(wide.body.state_dict()["features.0.weight"], widen_filters(first_filters(start), 5))
    with pytest.raises(HypercolumnsError, match=r"the model is squeezenet1_0, but this command has cnn\.network=rgb"):
        named_model(config("train", *RGB, "stage=train"), "init_from", "start.safetensors")


def test_cnn_weights_takes_a_models_backbone(start, place, capsys):
    few = ["cnn=sqn", TAPS, "data.train_images=6", "data.val_images=2", "sampler.n=3", "trainer.max_epochs=1"]
    run("extract", *few[:-1], "cnn.weights=start.safetensors", base=TINY)
    store = only(place, "runs/shapes/sqn/samples/*/index.json").parent
    assert "cnn: the backbone of the model start.safetensors, with its mean and std" in capsys.readouterr().out
    (place / "folder").mkdir()
    (place / "start.safetensors").rename(place / "folder/model.safetensors")
    weights = ["cnn.weights=folder"]
    run("pretrain", *few, *weights, base=TINY)
    printed = capsys.readouterr().out
    assert f"train on the samples in {store.relative_to(place)}" in printed
    assert "backbone of the model" not in printed  # stage extract has said it
    pretrained = Segmenter.load("runs/shapes/sqn/pretrain/latest").backbone
    assert pretrained.fingerprint() == start.backbone.fingerprint()
    torch.save(start.backbone.body.state_dict(), "plain.ckpt")  # weights alone know no mean
    run("extract", *few[:-1], "cnn.weights=plain.ckpt", "cnn.mean=[0.25,0.25,0.25]", base=TINY)
    assert f"extract: already done, the store is {store.relative_to(place)}" in capsys.readouterr().out
    run("train", *few, *weights, "init_from=scratch", "trainer.limit_train_batches=1", base=TINY)
    printed = capsys.readouterr().out
    assert "train: start from scratch\ncnn: the backbone of the model folder/model.safetensors, with its " in printed
    longer = [
        *few[:-1],
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=1",
        "resume_from=runs/shapes/sqn/train/latest",
    ]
    run("train", *longer, *weights, "init_from=scratch", base=TINY)
    printed = capsys.readouterr().out
    assert "train: goes on from " in printed
    assert "start from" not in printed
    with pytest.raises(HypercolumnsError, match=r"^cnn\.weights=folder/model\.safetensors does not fit this command: "):
        run("extract", "cnn=squeezenet1_1", *weights, base=TINY)
    with pytest.raises(HypercolumnsError, match=r"^cnn\.weights=data is a folder without a model\.safetensors; pass"):
        run("extract", "cnn=sqn", "cnn.weights=data", base=TINY)
