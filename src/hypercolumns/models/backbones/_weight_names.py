"""Names of tensors in files, without the prefixes that other programs add, and by the names of the original authors."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from hypercolumns.models.backbones._weight_files import State

# Parts that other programs put before the names of a network's tensors.
WRAPPERS = "_orig_mod backbone ema encoder model module net network student teacher trunk vision_encoder visual".split()
# Names of transformers' ViT, DINOv2, DINOv3 and SigLIP, and the authors' names for them, which timm's filters take.
RENAMES = [
    (r"^embeddings\.(cls_token|mask_token|register_tokens)$", r"\1"),
    (r"^embeddings\.position_embeddings?(\.weight)?$", "pos_embed"),
    (r"^embeddings\.patch_embeddings?\.(projection\.)?", "patch_embed.proj."),
    (r"^(encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.attention\.(q|k|v)(uery|ey|alue)\.", r".attn.\1."),
    (r"\.(attention|self_attn)\.([qkv])_proj\.", r".attn.\2."),
    (r"\.(attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.", ".attn.proj."),
    (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
    (r"^(layernorm|post_layernorm)\.", "norm."),
]
DINOV3_MLP = {"up_proj": "fc1", "down_proj": "fc2"}
DINOV3_GATED_MLP = {"gate_proj": "w1", "up_proj": "w2", "down_proj": "w3"}


def without_prefixes(state: State, wanted: State) -> Iterator[tuple[str, State]]:
    """Yield the parts of a state dict that have a network's names after a prefix.

    Args:
        state: the state dict.
        wanted: the state dict of the network.

    Yields:
        Each prefix and the part by the names without it; first the state dict itself with an empty prefix.
    """
    yield "", state
    anchor = next((key for key in wanted if key.endswith("weight")), None)
    for prefix in [key.removesuffix(str(anchor)) for key in state if key.endswith(f".{anchor}")]:
        yield prefix, _part(state, prefix)


def without_wrappers(state: State) -> Iterator[tuple[str, State]]:
    """Yield a state dict with an empty prefix, and its parts after each prefix that consists of `WRAPPERS`."""
    prefixes = {"": None}
    for key in state:
        parts = key.split(".")
        for number, part in enumerate(parts[:-1], start=1):
            if part not in WRAPPERS:
                break
            prefixes[".".join(parts[:number]) + "."] = None
    for prefix in prefixes:
        yield prefix, _part(state, prefix)


def compare_depths(state: State, wanted: State) -> list[tuple[str, int, int]]:
    """Compare how many numbered modules, such as blocks.0 and blocks.1, two state dicts have at the same paths.

    Returns:
        For each path with different numbers (such as blocks): the path and both numbers, in the order of `wanted`.
    """
    given, expected = _depths(state), _depths(wanted)
    return [
        (path, len(given[path]), len(numbers))
        for path, numbers in expected.items()
        if path in given and len(given[path]) != len(numbers)
    ]


def _depths(state: State) -> dict[str, set[str]]:
    """Return the numbered modules at each path; those of torchvision's transformers are called encoder_layer_0."""
    modules: dict[str, set[str]] = {}
    for key in state:
        parts = key.split(".")[:-1]
        for position, part in enumerate(parts[1:], start=1):
            if re.fullmatch(r"(encoder_layer_)?\d+", part):
                modules.setdefault(".".join(parts[:position]), set()).add(part)
    return modules


def _part(state: State, prefix: str) -> dict[str, Tensor]:
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def authors_names(state: State) -> dict[str, Tensor]:
    """Return tensors that have the names of transformers by the names of the authors, and others unchanged."""
    patches = next((key for key in state if re.search(r"(^|\.)embeddings\.patch_embeddings?\.", key)), None)
    if patches is None:
        return dict(state)
    state = _part(state, patches[: patches.index("embeddings.")])
    is_dinov3 = any(re.search(r"^(model\.)?layer\.0\.attention\.k_proj\.weight$", key) for key in state)
    mlp = DINOV3_GATED_MLP if any(key.endswith(".mlp.gate_proj.weight") for key in state) else DINOV3_MLP
    named: dict[str, Tensor] = {}
    for key, value in state.items():
        for pattern, replacement in RENAMES:
            key = re.sub(pattern, replacement, key)
        for theirs, own in mlp.items():
            key = key.replace(f".mlp.{theirs}.", f".mlp.{own}.")
        named["storage_tokens" if is_dinov3 and key == "register_tokens" else key] = value
    if "pos_embed" in named and named["pos_embed"].ndim == 2:
        named["pos_embed"] = named["pos_embed"][None]
    return _join_qkv(named)


def _join_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join the layers of queries, keys and values of each block. A bias that is missing is 0."""
    for block in [key.removesuffix("q.weight") for key in state if key.endswith(".attn.q.weight")]:
        for kind in ("weight", "bias"):
            parts = [state.pop(f"{block}{name}.{kind}", None) for name in "qkv"]
            given = next((part for part in parts if part is not None), None)
            if given is not None:
                zeros = torch.zeros_like(given)
                state[f"{block}qkv.{kind}"] = torch.cat([zeros if part is None else part for part in parts])
    return state
