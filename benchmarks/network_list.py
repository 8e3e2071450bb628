"""Choose the networks of timm that `networks.py` judges by default.

python benchmarks/network_list.py > benchmarks/networks_150.txt

The rule, which gives the same list for the same version of timm:

- Networks with more than 300 million parameters are left out.
- There are three kinds: 36 transformers, plain or hierarchical, 28 hybrids of attention and convolutions, and 86
  others, which are convolutional. `TRANSFORMERS` and `HYBRIDS` list the modules of timm that define the first two.
- Two networks are alike if their names are equal without digits and words of size. Of networks that are alike, the one
  with the fewest parameters is a candidate.
- `ALWAYS` is taken first: networks that an earlier version judged wrongly, and those that many people use.
- Then each module of timm without a network so far gets its smallest candidate.
- The places that are left go to the modules in proportion to the number of their networks (by D'Hondt's method), and in
  each module to the candidates with the fewest parameters.
"""

import re
from collections import defaultdict

import timm
import torch

MAX_PARAMETERS = 300_000_000
QUOTAS = {"transformer": 36, "hybrid": 28, "convolutional": 86}
TRANSFORMERS = set(
    "beit cait crossvit davit deepseek_vit deit eva gcvit gemma4_vit hiera hieradet_sam2 mlp_mixer mvitv2 naflexvit "
    "nest pit pvt_v2 qwen3_vit swin_transformer swin_transformer_v2 swin_transformer_v2_cr tnt twins "
    "vision_transformer vision_transformer_relpos vision_transformer_sam volo xcit".split()
)
HYBRIDS = set(
    "byoanet coat convit cpubone csatv2 edgenext efficientformer efficientformer_v2 efficientvim efficientvit_mit "
    "efficientvit_msra fastvit iformer levit lowformer maxxvit mobilenetv5 mobilevit nextvit sequencer shvit "
    "swiftformer tiny_vit visformer vision_transformer_hybrid vitamin".split()
)
ALWAYS = (
    "resnet50_gn poolformer_s12 poolformerv2_s12 ghostnetv2_100 ghostnetv3_100 caformer_s18 vit_small_patch14_dinov2 "
    "vit_small_patch16_dinov3 vit_base_patch16_siglip_224 eva02_tiny_patch14_224 vit_base_patch16_224"
).split()
SIZES = "nano|pico|femto|atto|zepto|xxtiny|xtiny|tiny|mini|small|medium|base|large|huge|giant|gigantic|pwee|wee|little"


def kind(name: str, module: str) -> str:
    """Return the kind of a network: a key of `QUOTAS`."""
    if module in HYBRIDS or name.startswith("caformer"):
        return "hybrid"
    return "transformer" if module in TRANSFORMERS else "convolutional"


def alike(name: str) -> str:
    """Return a text that is equal for networks that differ only in their size."""
    return re.sub(r"\d+", "", re.sub(rf"(?<=_)({SIZES}|xxs|xs|s|m|b|l|xl)(?=_|\d|$)", "", name))


def parameters(name: str) -> int:
    """Return the number of parameters of a network."""
    try:
        with torch.device("meta"):
            network = timm.create_model(name)
    except (NotImplementedError, RuntimeError):  # its constructor needs the values of tensors
        network = timm.create_model(name)
    return sum(parameter.numel() for parameter in network.parameters())


def choose() -> list[str]:
    """Choose the networks by the rule above."""
    modules = {module: timm.list_models(module=module) for module in timm.list_modules()}
    smallest: dict[tuple[str, str, str], tuple[int, str]] = {}
    for module, names in modules.items():
        for name in names:
            key = kind(name, module), module, alike(name)
            size = parameters(name)
            if size <= MAX_PARAMETERS:
                smallest[key] = min(smallest.get(key, (size, name)), (size, name))
    waiting: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (which, module, _), (_, name) in sorted(smallest.items(), key=lambda item: item[1]):
        waiting[which][module].append(name)
    chosen = []
    for which, quota in QUOTAS.items():
        taken = {module: [name for name in ALWAYS if name in modules[module]] for module in waiting[which]}
        taken = {module: [name for name in names if kind(name, module) == which] for module, names in taken.items()}
        for module, names in taken.items():
            waiting[which][module] = [name for name in waiting[which][module] if name not in names]
            names += [waiting[which][module].pop(0)] if not names else []
        while sum(map(len, taken.values())) < quota:
            open_modules = [module for module in taken if waiting[which][module]]
            best = max(open_modules, key=lambda module: len(modules[module]) / (len(taken[module]) + 1))
            taken[best].append(waiting[which][best].pop(0))
        chosen += [name for names in taken.values() for name in names]
    return sorted(chosen)


if __name__ == "__main__":
    print("\n".join(choose()))
