"""Weights in folders of the Hugging Face Hub: of timm, of transformers, and of OpenCLIP."""

import json

import pytest
import safetensors.torch
import timm
import torch

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import Backbone
from hypercolumns.models.backbones.weights import load_weights
from hypercolumns.models.model_file import is_model

RESNET, VIT = "timm/test_resnet.r160_in1k", "timm/test_vit"
TIMM = {"architecture": "test_resnet", "pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}}
HEADS = {"model_type": "vit", "num_attention_heads": 2, "hidden_act": "gelu"}


@pytest.fixture(scope="module")
def state():
    return timm.create_model("test_resnet").state_dict()


def write(folder, name, value):
    (folder / name).write_text(json.dumps(value))


def transformers_vit():
    """Return weights of timm's test_vit, and the same weights by the names of transformers' ViTModel."""
    state = timm.create_model("test_vit").state_dict()
    theirs = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.position_embeddings": state["pos_embed"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
        "pooler.dense.weight": torch.ones(64, 64),
    }
    layers = {
        "attention.output.dense": "attn.proj",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
    }
    for kind in ("weight", "bias"):
        theirs[f"embeddings.patch_embeddings.projection.{kind}"] = state[f"patch_embed.proj.{kind}"]
        for n in range(6):
            for name, own in layers.items():
                theirs[f"encoder.layer.{n}.{name}.{kind}"] = state[f"blocks.{n}.{own}.{kind}"]
            parts = state[f"blocks.{n}.attn.qkv.{kind}"].split(64)
            for name, part in zip(("query", "key", "value"), parts, strict=True):
                theirs[f"encoder.layer.{n}.attention.attention.{name}.{kind}"] = part.clone()
    return state, theirs


class TestTimm:
    @pytest.mark.parametrize("form", ["folder", "file", "pytorch_model.bin", "shards"])
    def test_folder_brings_mean_and_std(self, tmp_path, state, form, capsys):
        write(tmp_path, "config.json", TIMM)
        path = tmp_path
        if form == "pytorch_model.bin":
            torch.save(state, tmp_path / form)
        elif form == "shards":
            names = {key: f"model-{n % 2}.safetensors" for n, key in enumerate(state)}
            for shard in set(names.values()):
                part = {key: value for key, value in state.items() if names[key] == shard}
                safetensors.torch.save_file(part, tmp_path / shard)
            write(tmp_path, "model.safetensors.index.json", {"weight_map": names})
        else:
            safetensors.torch.save_file(state, tmp_path / "model.safetensors")
            path = tmp_path / "model.safetensors" if form == "file" else tmp_path
        backbone = Backbone(RESNET, None, str(path), mean=(0, 0, 0))
        assert backbone.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
        assert backbone.std.flatten().tolist() == [1, 2, 3]
        own = backbone.body.state_dict()
        assert all(torch.equal(own[key], state[key]) for key in own)
        assert "std [1, 2, 3] of the images are taken from" in capsys.readouterr().out
        assert not is_model(path)

    def test_second_file_brings_the_config(self, tmp_path, state):
        write(tmp_path, "config.json", TIMM)
        safetensors.torch.save_file(state, tmp_path / "model.safetensors")
        torch.save({key: torch.zeros_like(value) for key, value in state.items()}, tmp_path / "pytorch_model.bin")
        loaded, normalisation = load_weights(RESNET, str(tmp_path / "pytorch_model.bin"))
        assert normalisation == ((0.1, 0.2, 0.3), (1, 2, 3))
        assert not loaded["conv1.0.weight"].any()
        with pytest.raises(HypercolumnsError, match=r"holds weights of timm/test_resnet"):
            load_weights("timm/resnet18", str(tmp_path / "pytorch_model.bin"))

    @pytest.mark.parametrize(
        ("network", "config", "message"),
        [
            ("timm/resnet18", TIMM, r"holds weights of timm/test_resnet .* cnn=timm cnn\.model=test_resnet"),
            ("resnet18", TIMM, r"holds weights of timm/test_resnet .*, but the network is resnet18"),
            (RESNET, {**TIMM, "model_args": {"act_layer": "silu"}}, r"changes the architecture by model_args \(act_la"),
            (RESNET, {"model_type": "resnet"}, r"model_type=resnet .* can't be converted .* folder that timm has"),
            (RESNET, [], "does not contain a JSON object"),
        ],
        ids=["network", "torchvision", "model_args", "transformers", "list"],
    )
    def test_other_folders_raise(self, tmp_path, state, network, config, message):
        safetensors.torch.save_file(state, tmp_path / "model.safetensors")
        write(tmp_path, "config.json", config)
        with pytest.raises(HypercolumnsError, match=message):
            load_weights(network, str(tmp_path))

    def test_incomplete_folders_raise(self, tmp_path, state):
        with pytest.raises(HypercolumnsError, match=r"is a folder without a config; expected config\.json with one of"):
            load_weights(RESNET, str(tmp_path))
        write(tmp_path, "config.json", TIMM)
        with pytest.raises(HypercolumnsError, match="is a folder without weights; expected"):
            load_weights(RESNET, str(tmp_path))
        write(tmp_path, "pytorch_model.bin.index.json", {"weight_map": {"a": "one.bin"}})
        with pytest.raises(HypercolumnsError, match=r"lists one\.bin, but its folder lacks them"):
            load_weights(RESNET, str(tmp_path))
        write(tmp_path, "pytorch_model.bin.index.json", {"weight_map": {"a": "../one.bin"}})
        with pytest.raises(HypercolumnsError, match="expected the names of files in its own folder"):
            load_weights(RESNET, str(tmp_path))


class TestTransformers:
    @pytest.mark.parametrize("prefix", ["", "vit."])
    def test_vit_equals_timm(self, tmp_path, prefix):
        state, theirs = transformers_vit()
        safetensors.torch.save_file({prefix + k: v for k, v in theirs.items()}, tmp_path / "model.safetensors")
        write(tmp_path, "config.json", HEADS)
        loaded, normalisation = load_weights(VIT, str(tmp_path))
        assert normalisation is None
        assert all(torch.equal(loaded[key], state[key]) for key in state if not key.startswith("head."))

    @pytest.mark.parametrize(
        ("processor", "mean", "std"),
        [
            ({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2]}, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)),
            ({"image_mean": [9.0] * 3, "image_std": [9.0] * 3, "do_normalize": False}, (0.0,) * 3, (1.0,) * 3),
            ({"image_mean": [51.0] * 3, "image_std": [25.5] * 3, "do_rescale": False}, (0.2,) * 3, (0.1,) * 3),
            ({"image_mean": [1.0] * 3, "image_std": [1.0] * 3, "rescale_factor": 2 / 255}, (0.5,) * 3, (0.5,) * 3),
        ],
        ids=["usual", "not_normalised", "not_rescaled", "factor"],
    )
    def test_processor_states_mean_and_std(self, tmp_path, processor, mean, std):
        safetensors.torch.save_file(transformers_vit()[1], tmp_path / "model.safetensors")
        write(tmp_path, "config.json", HEADS)
        write(tmp_path, "preprocessor_config.json", processor)
        normalisation = load_weights(VIT, str(tmp_path))[1]
        assert normalisation[0] == pytest.approx(mean)
        assert normalisation[1] == pytest.approx(std)

    def test_config_of_another_network_raises(self, tmp_path, capsys):
        """The weights do not show the number of heads, nor the activation."""
        safetensors.torch.save_file(transformers_vit()[1], tmp_path / "model.safetensors")
        write(tmp_path, "config.json", {**HEADS, "num_attention_heads": 4})
        with pytest.raises(HypercolumnsError, match=r"num_attention_heads=4 .* but timm/test_vit has 2"):
            load_weights(VIT, str(tmp_path))
        write(tmp_path, "config.json", {**HEADS, "hidden_act": "quick_gelu"})
        with pytest.raises(HypercolumnsError, match=r"hidden_act=quick_gelu .* differs from it by 0\.02; pass"):
            load_weights(VIT, str(tmp_path))
        write(tmp_path, "config.json", {**HEADS, "hidden_act": "gelu_pytorch_tanh"})
        load_weights(VIT, str(tmp_path))
        assert "differs from it by 0.00047; the maps differ slightly" in capsys.readouterr().out


def test_folder_of_openclip(tmp_path):
    state = timm.create_model("test_vit").state_dict()
    content = {**{f"visual.trunk.{key}": value for key, value in state.items()}, "logit_scale": torch.ones(1)}
    safetensors.torch.save_file(content, tmp_path / "open_clip_model.safetensors")
    write(tmp_path, "open_clip_config.json", {"preprocess_cfg": {"mean": [0, 0, 0], "std": [0.5, 0.5, 0.5]}})
    loaded, normalisation = load_weights(VIT, str(tmp_path))
    assert normalisation == ((0, 0, 0), (0.5, 0.5, 0.5))
    assert torch.equal(loaded["blocks.3.attn.qkv.weight"], state["blocks.3.attn.qkv.weight"])


@pytest.mark.parametrize(
    ("network", "model", "message"),
    [
        (
            "vit_base_patch16_clip_224",
            {"quick_gelu": True},
            r"=true .*network timm/.*_clip_quickgelu_224, or",
        ),
        ("vit_base_patch16_clip_quickgelu_224", {"embed_dim": 512}, "quick_gelu=false .*network timm/.*_clip_224, or"),
        ("test_vit", {"quick_gelu": True}, r"quick_gelu=true \(open_clip_config.json\).* by 0\.02; pass weights"),
        ("test_vit", {"quick_gelu": True, "vision_cfg": {"timm_model_name": "test_vit"}}, None),
        ("resnet50_clip", {"quick_gelu": True, "vision_cfg": {"layers": [3, 4, 6, 3]}}, None),
        ("vit_base_patch16_clip_quickgelu_224", {"quick_gelu": True, "vision_cfg": {"layers": 12}}, None),
    ],
)
def test_openclip_states_the_activation(tmp_path, network, model, message):
    with torch.device("meta"):
        shapes = timm.create_model(network).state_dict()
    state = {key: torch.ones(()).expand(tensor.shape) for key, tensor in shapes.items()}
    torch.save({f"visual.trunk.{key}": value for key, value in state.items()}, tmp_path / "open_clip_pytorch_model.bin")
    write(tmp_path, "open_clip_config.json", {"model_cfg": model})
    if message is None:
        assert load_weights(f"timm/{network}", str(tmp_path))[0].keys() >= state.keys()
        return
    with pytest.raises(HypercolumnsError, match=message):
        load_weights(f"timm/{network}", str(tmp_path))
