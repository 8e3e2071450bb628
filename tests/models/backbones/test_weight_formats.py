"""Weights in the files that people have: checkpoints, prefixes, and the names of the original authors."""

import argparse
import json
import re

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torchvision.models.vision_transformer import VisionTransformer

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.weights import load_weights

RESNET = "timm/test_resnet"


def numbered(model, **settings):
    """Return a state dict of a network of timm in which each tensor has a value of its own, and takes no memory."""
    with torch.device("meta"):
        shapes = timm.create_model(model, **settings).state_dict()
    return {key: torch.full((), float(n)).expand(tensor.shape) for n, (key, tensor) in enumerate(shapes.items())}


def prefixed(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


def load(tmp_path, network, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return load_weights(network, str(path))[0]


def assert_holds(loaded, expected):
    for key, tensor in expected.items():
        assert loaded[key].shape == tensor.shape, key
        assert torch.equal(loaded[key], tensor), key


STATE = numbered("test_resnet")
OTHER = {key: value + 0.5 for key, value in STATE.items()}


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
        {"model": prefixed("module.", STATE), "optimizer": {"state": {}}},
        {"student": prefixed("module.backbone.", OTHER), "teacher": prefixed("backbone.", STATE)},
        {"state_dict_ema": STATE, "state_dict": OTHER},
        {"model": {"state_dict": prefixed("encoder.", STATE)}},
        {"state_dict": {**prefixed("model.net.", STATE), "criterion.weight": torch.ones(3)}, "hyper_parameters": {}},
        {**prefixed("student.backbone.", OTHER), **prefixed("teacher.backbone.", STATE)},
        {**STATE, "projector.0.weight": torch.ones(3), "fc.weight": torch.ones(2, 3)},
        prefixed("_orig_mod.", {key: value.half() for key, value in STATE.items()}),
    ],
    ids=["plain", "state_dict", "ddp", "dino", "ema", "nested", "lightning", "teacher", "projector", "compiled"],
)
def test_forms_of_files(tmp_path, content):
    layers = {key: value for key, value in STATE.items() if not key.startswith("fc.")}
    loaded = load(tmp_path, RESNET, content)
    assert_holds({key: value.float() for key, value in loaded.items()}, layers)
    backbone = Backbone(RESNET, None, str(tmp_path / "weights.pth"), mean=None, std=None)
    assert torch.equal(backbone.body.get_parameter("conv1.0.weight"), STATE["conv1.0.weight"])


def test_choice_of_an_entry_is_printed(tmp_path, capsys):
    load(tmp_path, RESNET, {"student": OTHER, "teacher": STATE})
    assert "cnn: of teacher, student in " in capsys.readouterr().out


def test_two_networks_in_a_file_raise(tmp_path):
    with pytest.raises(HypercolumnsError, match=r"several networks that fit, with the prefixes a\., b\.; save one"):
        load(tmp_path, RESNET, {**prefixed("a.", STATE), **prefixed("b.", OTHER)})
    assert_holds(
        load(tmp_path, RESNET, {**prefixed("a.", STATE), **prefixed("b.", STATE)}), {"bn1.bias": STATE["bn1.bias"]}
    )


class TestOtherNetworks:
    def test_deeper_network_raises(self, tmp_path):
        """All tensors of a ResNet-50 are in the weights of a ResNet-101, but they are not a ResNet-50."""
        torch.save(numbered("resnet101"), tmp_path / "deep.pth")
        message = (
            r"deep\.pth has 255 tensors that resnet50 lacks, such as layer3\.6\.conv1.*; the weights have "
            r"23 modules in layer3, the network 6; they fit the network resnet101; choose it by cnn\.network=resnet101$"
        )
        with pytest.raises(HypercolumnsError, match=message):
            load_weights("resnet50", str(tmp_path / "deep.pth"))

    def test_deeper_torchvision_transformer_raises(self, tmp_path):
        with torch.device("meta"):
            shapes = torchvision.models.vit_b_16().state_dict()
        state = {key: torch.ones(()).expand(tensor.shape) for key, tensor in shapes.items()}
        assert len(load(tmp_path, "vit_b_16", state)) == len(state)
        block = prefixed("encoder.layers.encoder_layer_12.", {"ln_1.weight": torch.ones(768)})
        with pytest.raises(
            HypercolumnsError, match=r"1 tensor that vit_b_16 lacks, .* 13 modules in .*layers, the network 12;"
        ):
            load(tmp_path, "vit_b_16", {**state, **block})

    def test_distilled_networks_have_two_classifiers(self, tmp_path):
        """Without the classifiers, each of two networks in a file is complete, and one must be chosen."""
        name = "deit_tiny_distilled_patch16_224"
        state = {key: value for key, value in numbered(name).items() if not key.startswith("head")}
        other = {key: value + 0.5 for key, value in state.items()}
        with pytest.raises(HypercolumnsError, match="several networks that fit"):
            load(tmp_path, f"timm/{name}", {**prefixed("a.", state), **prefixed("b.", other)})

    def test_bias_that_the_network_lacks_raises(self, tmp_path):
        with pytest.raises(
            HypercolumnsError,
            match=r"has 1 tensor that .*test_resnet.* lacks, such as layer1\.0\.conv1\.bias; pass weights",
        ):
            load(tmp_path, RESNET, {**STATE, "layer1.0.conv1.bias": torch.ones(32)})

    def test_error_names_the_network_of_the_weights(self, tmp_path):
        torch.save(numbered("convnext_femto"), tmp_path / "femto.pth")
        message = (
            r"stem\.0\.weight is \(48, 3, 4, 4\), expected \(64, 3, 4, 4\).*; they fit the network "
            r"timm/convnext_femto; choose it by cnn\.model=convnext_femto$"
        )
        with pytest.raises(HypercolumnsError, match=message):
            Backbone("timm/convnext_pico", None, str(tmp_path / "femto.pth"), mean=None, std=None)

    def test_shallower_network_raises(self, tmp_path):
        """The last norm and the classifier, which usual files have and the backbone lacks, are no hint."""
        torch.save(numbered("test_vit", depth=3), tmp_path / "shallow.pth")
        message = (
            r": 36 of 76 tensors are missing, such as blocks\.3\.[^;]*; the weights have 3 blocks, the network 6; pass"
        )
        with pytest.raises(HypercolumnsError, match=message):
            Backbone("timm/test_vit", None, str(tmp_path / "shallow.pth"), mean=None, std=None)

    def test_patches_of_another_size_raise(self, tmp_path):
        state = numbered("test_vit", patch_size=8)
        with pytest.raises(
            HypercolumnsError, match=r"patches of another size than timm/test_vit, whose .*64, 3, 16, 16"
        ):
            load(tmp_path, "timm/test_vit", state)

    @pytest.mark.parametrize("prefix", ["", "visual.trunk."])
    def test_size_of_patches_is_compared_by_name(self, tmp_path, prefix):
        """In a ViT-B/16, the filters of the patches have as many values as attn.proj.weight: 3 * 16**2 = 768."""
        state = prefixed(prefix, numbered("vit_base_patch32_224"))
        with pytest.raises(HypercolumnsError, match=r"patches of another size than .*, whose .*768, 3, 16, 16"):
            load(tmp_path, "timm/vit_base_patch16_224", state)


class TestNamesOfAuthors:
    def test_convnext(self, tmp_path):
        """The names of Facebook's ConvNeXt, made from timm's by hand."""
        state, theirs = numbered("convnext_atto", conv_mlp=False), {}
        for key, value in state.items():
            name = re.sub(r"^stem\.", "downsample_layers.0.", key)
            name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
            name = name.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
            name = name.replace("head.norm.", "norm.").replace("head.fc.", "head.")
            theirs[name] = value
        assert "stages.2.3.pwconv1.weight" in theirs
        wanted = numbered("convnext_atto")
        loaded = load(tmp_path, "timm/convnext_atto", {"model": theirs})
        assert_holds(loaded, {key: state[key].reshape(-1)[:1].expand(wanted[key].shape) for key in wanted})

    def test_dinov2_with_mask_token_and_prefix(self, tmp_path):
        state = numbered("vit_small_patch14_dinov2")
        theirs = {
            **prefixed("backbone.", state),
            "backbone.mask_token": torch.zeros(1, 384),
            "dino_head.w": torch.ones(2),
        }
        assert_holds(load(tmp_path, "timm/vit_small_patch14_dinov2", {"teacher": theirs}), state)

    @pytest.mark.parametrize("bias", [0.0, 1.0])
    def test_dinov3(self, tmp_path, bias):
        """timm has the network without and with biases of queries and values; other biases must not get lost."""
        state, name = numbered("vit_small_patch16_dinov3"), "timm/vit_small_patch16_dinov3"
        theirs = {"mask_token": torch.zeros(1, 384), "rope_embed.periods": torch.ones(16)}
        for key, value in state.items():
            key = key.replace("reg_token", "storage_tokens").replace("gamma_", "ls")
            theirs[f"{key}.gamma" if key[-3:] in ("ls1", "ls2") else key] = value
        for n in range(12):
            theirs[f"blocks.{n}.attn.qkv.bias"] = torch.full((1152,), bias)
            theirs[f"blocks.{n}.attn.qkv.bias_mask"] = torch.ones(1152)
        if not bias:
            assert_holds(load(tmp_path, name, theirs), state)
            return
        with pytest.raises(HypercolumnsError, match=r"biases of queries and values, which .*dinov3 lacks; .* _qkvb"):
            load(tmp_path, name, theirs)
        loaded = load(tmp_path, f"{name}_qkvb", theirs)
        assert torch.equal(loaded["blocks.7.attn.v_bias"], torch.ones(384))

    def test_swin_with_other_windows(self, tmp_path, capsys):
        """Swin's authors count downsampling with the stage before it. Tables are resized, and a line says so."""
        name, theirs = "swin_tiny_patch4_window7_224", {}
        state = numbered(name, window_size=8, img_size=256)
        for key, value in state.items():
            theirs[
                re.sub(r"layers\.(\d)\.downsample", lambda x: f"layers.{int(x[1]) - 1}.downsample", key).replace(
                    "head.fc", "head"
                )
            ] = value
        theirs["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 64, 64)
        loaded = load(tmp_path, f"timm/{name}", {"model": theirs})
        tables = [key for key in state if key.endswith("bias_table")]
        assert_holds(loaded, {key: value for key, value in state.items() if key not in tables})
        assert loaded[tables[0]].shape == (169, 3)
        assert "Resized layers.0.blocks.0.attn.relative_position_bias_table" in capsys.readouterr().out

    @pytest.mark.parametrize("prefix", ["visual.trunk.", "module.visual.trunk."])
    def test_tower_of_openclip(self, tmp_path, prefix):
        state = numbered("vit_base_patch16_siglip_224")
        content = {
            **prefixed(prefix, state),
            "text.token_embedding.weight": torch.ones(2, 2),
            "logit_scale": torch.ones(1),
        }
        assert_holds(load(tmp_path, "timm/vit_base_patch16_siglip_224", content), state)

    def test_positions_are_resized_and_printed(self, tmp_path, capsys):
        state = numbered("test_vit", img_size=224)
        loaded = load(tmp_path, "timm/test_vit", state)
        assert loaded["pos_embed"].shape == (1, 101, 64)
        assert torch.allclose(loaded["pos_embed"], state["pos_embed"][:, :101])
        printed = capsys.readouterr().out
        assert printed.count("\n") == 1
        assert "timm adapted weights=" in printed
        assert "Resized position embedding: (14, 14) to (10, 10)" in printed


def test_torchvision_keeps_the_grid_of_weights(tmp_path, monkeypatch, capsys):
    """Weights for images of 48 pixels in a network for 32: as the network for 48 computes, also from a model's file."""

    def make(side):
        return VisionTransformer(side, 16, 2, 2, 16, 32, num_classes=2)

    monkeypatch.setattr(torchvision.models, "get_model_builder", lambda name: lambda: make(32))
    state, taps = make(48).state_dict(), ["encoder.layers.encoder_layer_1"]
    torch.save(prefixed("model.", state), tmp_path / "weights.pth")
    backbone = Backbone("vit_for_32", taps, str(tmp_path / "weights.pth"), norm=True)
    assert "weights.pth has position embeddings for 3x3 patches; they are" in capsys.readouterr().out
    again = Backbone("vit_for_32", taps, backbone.body.state_dict(), norm=True)
    assert capsys.readouterr().out == ""
    assert torch.equal(again.body.encoder.pos_embedding, state["encoder.pos_embedding"])
    monkeypatch.setattr(torchvision.models, "get_model_builder", lambda name: lambda: make(48))
    usual, network, tokens = Backbone("vit_for_48", taps, state, norm=True), make(48).eval(), []
    images = torch.rand(1, 3, 64, 32)
    assert torch.equal(backbone(images)[0], usual(images)[0])
    network.load_state_dict(state)
    network.encoder.ln.register_forward_hook(lambda layer, args, output: tokens.append(output))
    images = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        network((images - backbone.mean) / backbone.std)
    expected = tokens[0][:, 1:].transpose(1, 2).unflatten(2, (3, 3))
    assert torch.allclose(backbone(images)[0], expected, atol=1e-5)
    monkeypatch.setattr(torchvision.models, "get_model_builder", lambda name: lambda: make(32))
    wrong = state | {"encoder.pos_embedding": torch.rand(1, 9, 16)}
    with pytest.raises(HypercolumnsError, match=r"encoder.pos_embedding is \(1, 9, 16\), expected \(1, 5, 16\)"):
        Backbone("vit_for_32", taps, wrong)


class TestMetadata:
    def test_mean_and_std_of_safetensors(self, tmp_path, capsys):
        path = tmp_path / "weights.safetensors"
        state = torchvision.models.squeezenet1_0().state_dict()
        metadata = {"mean": json.dumps([0.1, 0.2, 0.3]), "std": json.dumps([1, 2, 3])}
        safetensors.torch.save_file(state, path, metadata)
        backbone = Backbone("squeezenet1_0", ["features.3"], str(path))
        assert backbone.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert backbone.std.flatten().tolist() == [1, 2, 3]
        assert "mean [0.1, 0.2, 0.3] and std [1, 2, 3] of the images are taken from " in capsys.readouterr().out

    @pytest.mark.parametrize("std", ["[1, 2]", "[1, 0, 1]", "one", None])
    def test_unusable_values_raise(self, tmp_path, std):
        path = tmp_path / "weights.safetensors"
        metadata = {"mean": "[0, 0, 0]"} | ({} if std is None else {"std": std})
        safetensors.torch.save_file({"a": torch.ones(1)}, path, metadata)
        with pytest.raises(
            HypercolumnsError, match=r"states mean=\[0, 0, 0\] and std=.* expected three finite numbers"
        ):
            load_weights("squeezenet1_0", str(path))
