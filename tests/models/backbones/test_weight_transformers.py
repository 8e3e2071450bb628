"""Weights of transformers in networks of timm: the hidden states of both are equal.

transformers is not among the project's dependencies. Without it, these tests are skipped.
"""

import pytest
import timm
import torch

from hypercolumns.models.backbones.weights import load_weights

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
MODELS = {
    "vit_small_patch16_224": ("ViT", {**SMALL, "intermediate_size": 1536, "layer_norm_eps": 1e-6}),
    "vit_small_patch14_dinov2": ("Dinov2", {**SMALL, "image_size": 518, "patch_size": 14}),
    "vit_small_patch14_reg4_dinov2": ("Dinov2WithRegisters", {**SMALL, "image_size": 518, "patch_size": 14}),
    "vit_small_patch16_dinov3_qkvb": ("DINOv3ViT", {**SMALL, "intermediate_size": 1536, "num_register_tokens": 4}),
    "vit_small_plus_patch16_dinov3_qkvb": (
        "DINOv3ViT",
        {**SMALL, "intermediate_size": 1536, "num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"},
    ),
    "vit_base_patch16_siglip_gap_224": ("SiglipVision", {**BASE, "hidden_act": "gelu"}),
}


def draw(model):
    """Draw weights that let every tensor change the hidden states."""
    for name, tensor in model.state_dict().items():
        if "lambda" in name:
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim == 1 or "embedding." in name or "token" in name:
            tensor.add_(torch.randn(tensor.shape), alpha=0.1)
        else:
            tensor.normal_(0, tensor[0].numel() ** -0.5)


@pytest.mark.parametrize("name", MODELS)
def test_hidden_states_are_equal(tmp_path, name):
    kind, settings = MODELS[name]
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings)).eval()
    torch.manual_seed(0)
    draw(model)
    model.save_pretrained(tmp_path)
    network = timm.create_model(name).eval()
    state, _ = load_weights(f"timm/{name}", str(tmp_path))
    missing = network.load_state_dict(dict(state), strict=False).missing_keys
    assert [key for key in missing if not key.startswith("head.")] == []
    images = torch.randn(1, 3, *network.patch_embed.img_size)
    with torch.no_grad():
        theirs = model(images, output_hidden_states=True).hidden_states[1:]
        ours = network.forward_intermediates(images, intermediates_only=True, output_fmt="NLC")
    for expected, values in zip(theirs, ours, strict=True):
        tokens = values.shape[1]
        assert (expected[:, -tokens:] - values).abs().max() < 1e-5 * values.abs().max()
