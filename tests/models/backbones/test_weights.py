"""Weights of a backbone: random, from a file, and by name."""

import math

import pytest
import safetensors.torch
import torch
import torchvision
from helpers.networks import SQN

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import IMAGENET_MEAN, Backbone
from hypercolumns.models.backbones.weights import damaged_tensors


def test_same_seed_gives_same_random_weights():
    first, same, other = (Backbone(**SQN, seed=seed).fingerprint()["weights"] for seed in (1, 1, 2))
    assert first == same != other


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("form", ["full", "features"])
def test_file_holds_full_network_or_features(tmp_path, suffix, form):
    network = torchvision.models.squeezenet1_0()
    state = network.state_dict() if form == "full" else network.features.state_dict()
    path = tmp_path / f"weights{suffix}"
    torch.save(state, path) if suffix == ".pth" else safetensors.torch.save_file(state, path)
    backbone = Backbone(**SQN, weights=str(path))
    assert torch.equal(backbone.body.get_parameter("features.0.weight"), network.features[0].weight)
    assert torch.equal(backbone.body.get_parameter("features.12.expand3x3.bias"), network.features[12].expand3x3.bias)
    images = torch.rand(1, 3, 40, 40)
    assert all(cells.isfinite().all() for cells in backbone(images))


def test_weights_of_another_network_raise(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision.models.squeezenet1_1().state_dict(), path)
    message = r"12 tensors that squeezenet1_0 lacks, .* they fit .*1_1; choose it by cnn\.network=squeezenet1_1$"
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(**SQN, weights=str(path))
    torch.save({**torchvision.models.squeezenet1_0().state_dict(), "features.0.weight": torch.zeros(64, 3)}, path)
    with pytest.raises(HypercolumnsError, match=r"features\.0\.weight is \(64, 3\), expected \(96, 3, 7, 7\)"):
        Backbone(**SQN, weights=str(path))
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    message = r"50 of 50 tensors are missing, such as features\.0\.weight.* the weights have conv1\.weight instead"
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(**SQN, weights=str(path))


@pytest.mark.parametrize(
    ("network", "tap"), [("timm/test_vit", "blocks.1"), ("vit_b_32", "encoder.layers.encoder_layer_0")]
)
def test_weights_without_last_norm_raise(network, tap):
    settings = {"mean": IMAGENET_MEAN, "std": (0.2, 0.2, 0.2)}
    state = Backbone(network, [tap], **settings, norm=False).body.state_dict()
    with pytest.raises(HypercolumnsError, match=r"lacks .* last normalisation layer .*; set cnn\.norm=false, as in"):
        Backbone(network, [tap], state, **settings, norm=True)
    some = {key: value for key, value in state.items() if not key.endswith("pos_embedding") and key != "pos_embed"}
    with pytest.raises(HypercolumnsError, match=r"3 of .* tensors are missing, .*; pass weights of the same network"):
        Backbone(network, [tap], some, **settings, norm=True)


def test_file_without_state_dict_raises(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_text("<html>not found</html>")
    with pytest.raises(HypercolumnsError, match=r"can't be read .* expected a state dict"):
        Backbone(**SQN, weights=str(path))
    torch.save([1, 2], path)
    with pytest.raises(HypercolumnsError, match="holds a list; expected a state dict"):
        Backbone(**SQN, weights=str(path))
    torch.save({"epoch": 3, "model": {}}, path)
    with pytest.raises(
        HypercolumnsError, match="holds entries that are not named dense tensors, such as epoch, model; expected"
    ):
        Backbone(**SQN, weights=str(path))


def test_only_single_numbers_may_be_infinite():
    bound, bias = torch.tensor(-math.inf), torch.tensor([1, math.inf])
    tensors = {"bound": bound, "bias": bias, "count": torch.tensor(3), "scale": torch.tensor(math.nan)}
    assert damaged_tensors(tensors) == ["bias", "scale"]


def test_damaged_file_raises(tmp_path):
    """A flipped bit, which torch does not notice, and a NaN."""
    path, state = tmp_path / "weights.pth", torchvision.models.squeezenet1_0().features.state_dict()
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(HypercolumnsError, match=r"can't be read \(the contents of weights/data/\d+ do not match"):
        Backbone(**SQN, weights=str(path))
    state["0.bias"][3] = math.nan
    torch.save(state, path)
    with pytest.raises(HypercolumnsError, match=r"values that are not finite, in features\.0\.bias; pass other"):
        Backbone(**SQN, weights=str(path))


@pytest.mark.parametrize(
    "state",
    [
        {3: torch.ones(2)},
        {"a": torch.ones(2).to_sparse()},
        {"a": torch.ones(2, device="meta")},
        {"a": torch.ones(2) * 1j},
    ],
    ids=["numbered", "sparse", "meta", "complex"],
)
def test_unusual_tensors_raise(tmp_path, state):
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(HypercolumnsError, match=r"odd\.pth holds entries that are not named dense tensors"):
        Backbone("squeezenet1_0", taps=["features.0"], weights=str(tmp_path / "odd.pth"))


def test_pickle_with_code_raises_and_does_not_run(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (tmp_path.joinpath("touched").touch, ())

    path = tmp_path / "weights.pth"
    torch.save({"a": Hostile()}, path)
    message = r"can't be read .*or the file holds Python objects, which are not loaded"
    with pytest.raises(HypercolumnsError, match=message):
        Backbone(**SQN, weights=str(path))
    assert not (tmp_path / "touched").exists()


def test_unknown_name_raises():
    with pytest.raises(
        HypercolumnsError,
        match=r"IMAGENET is neither a file .* for squeezenet1_0; .* folder, IMAGENET1K_V1, DEFAULT, or null",
    ):
        Backbone(**SQN, weights="IMAGENET")


def test_failed_download_raises(monkeypatch, tmp_path):
    """The backbone does not fall back to random weights."""

    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # an empty cache
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(
        HypercolumnsError,
        match=r"\(no route to host\); bring https://.*/squeezenet1_0-b66bff10\.pth from .* in place of IMAGENET1K_V1",
    ):
        Backbone(**SQN, weights="IMAGENET1K_V1")


def test_named_weights_replace_mean_and_std(monkeypatch):
    state = torchvision.models.squeezenet1_0().state_dict()
    monkeypatch.setattr(torchvision.models.SqueezeNet1_0_Weights, "get_state_dict", lambda *args, **kwargs: state)
    backbone = Backbone(**SQN, weights="IMAGENET1K_V1", mean=(0, 0, 0), std=(1, 1, 1))
    assert backbone.mean.flatten().tolist() == pytest.approx(IMAGENET_MEAN)
