"""Read the maps of transformers and hybrids with timm's `forward_intermediates`.

torch.fx fixes sizes when it traces such networks, and their blocks return tokens in place of maps. timm's method
returns the outputs of chosen blocks as maps (B, C, h, w), for images of any size that the network takes. It drops
prefix tokens, such as the class token and registers.
"""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from hypercolumns.errors import ArgumentError
from hypercolumns.models.backbones._body import MAX_NAMES, TapModules, without_values
from hypercolumns.models.backbones.stand_in import IndicesOnCPU

MAX_DEFAULT_TAPS = 6  # a network with more maps of one stride, such as a plain transformer, has four default taps


def block_names(network: nn.Module) -> list[str]:
    """Return the names of the maps that `forward_intermediates` returns, from shallow to deep.

    They are the paths of modules. If timm gives several maps the same path, the second one ends in -2, and so on. The
    list is empty for networks without this method.
    """
    return [*listed_maps(network)]


def listed_maps(network: nn.Module) -> dict[str, tuple[int, int]]:
    """Return the channels and the stride in pixels that timm states of each map, by the names of `block_names`."""
    infos = getattr(network, "feature_info", None)
    if not hasattr(network, "forward_intermediates") or not isinstance(infos, Sequence):
        return {}
    maps: dict[str, tuple[int, int]] = {}
    for info in infos:
        name = path = str(info["module"])
        count = 1
        while name in maps:
            count += 1
            name = f"{path}-{count}"
        maps[name] = info["num_chs"], info["reduction"]
    return maps


def default_blocks(network: nn.Module) -> list[str]:
    """Return the paths of the blocks that are good default taps.

    All of them are default taps if they are few, as in a network whose stages have rising strides. A plain transformer
    has many blocks of one stride; four of them are default taps: the last one, and those after a quarter, a half and
    three quarters of all blocks (for twelve blocks: 2, 5, 8 and 11, as in DPT, Ranftl et al., arXiv:2103.13413).
    """
    names = block_names(network)
    if len(names) <= MAX_DEFAULT_TAPS:
        return names
    return [names[len(names) * quarter // 4 - 1] for quarter in (1, 2, 3, 4)]


def plain_patch(network: nn.Module) -> int | None:
    """Return the side p in pixels of the patches of a plain vision transformer; None for any other network.

    Cell k of each of its maps belongs to patch k, and so is centred at pixel (p - 1) / 2 + p k. This holds if one
    convolution with kernel p, stride p and no padding makes all tokens, and all blocks keep them in place.
    """
    stems = [getattr(network, name, None) for name in ("conv_proj", "patch_embed", "stem")]
    layers = (getattr(stem, "proj", stem) for stem in stems)
    embedding = next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None)
    if embedding is None or not block_names(network):
        return None
    patch = embedding.kernel_size[0]
    geometry = (embedding.kernel_size, embedding.stride, embedding.padding, embedding.dilation)
    if geometry != ((patch, patch), (patch, patch), (0, 0), (1, 1)):
        return None
    return patch if _strides(network) == {patch} else None


def _strides(network: nn.Module) -> set[int]:
    """Return the strides of the maps of all blocks, in pixels."""
    return {stride for _, stride in listed_maps(network).values()}


def is_columnar(network: nn.Module) -> bool:
    """Return whether a network has blocks, and the maps of all of them have one stride."""
    return bool(block_names(network)) and len(_strides(network)) == 1


def cut_after(name: str, network: nn.Module, tap_modules: TapModules, norm: bool) -> nn.Module:
    """Remove the parts of a network that the maps of its taps do not depend on, in place.

    Args:
        name: the network's name, for error messages.
        network: the network; it is put into evaluation mode.
        tap_modules: for each tap, the paths of the tap's modules, all of them in `block_names`.
        norm: whether the last normalisation layer of the network is kept, see `BlockReader`.

    Returns:
        The network.
    """
    indices = BlockReader(tap_modules, norm).indices(network)
    prune = getattr(network, "prune_intermediate_layers", None)
    if prune is not None:
        prune(indices, prune_norm=not norm, prune_head=True)
    return network.eval()


@dataclass(frozen=True)
class BlockReader:
    """Compute the maps of the taps of a network with `forward_intermediates`.

    Attributes:
        tap_modules: for each tap, the paths of the tap's modules in the network.
        norm: whether the network's last normalisation layer is applied to every map.
    """

    kind: ClassVar[Literal["blocks"]] = "blocks"
    tap_modules: TapModules
    norm: bool = False

    def indices(self, network: nn.Module, taps: TapModules | None = None) -> list[int]:
        """Return the positions in `block_names` of the modules of some taps (None: of all taps), rising."""
        names = block_names(network)
        return sorted({names.index(module) for tap in taps or self.tap_modules for module in tap})

    def __call__(self, body: Any, images: Tensor, taps: TapModules | None = None) -> Mapping[str, Tensor]:
        """Return the output of each module of some taps (None: of all taps), by the module's path.

        Args:
            body: the network.
            images: (B, N, H, W), normalised, of a size that the network takes.
            taps: the paths of the modules of each wanted tap.

        Returns:
            Maps (B, C, h, w).
        """
        indices, names = self.indices(body, taps), block_names(body)
        with IndicesOnCPU() if images.is_meta else nullcontext():
            maps = body.forward_intermediates(
                images, indices=indices, norm=self.norm, stop_early=True, output_fmt="NCHW", intermediates_only=True
            )
        return {names[index]: values for index, values in zip(indices, maps, strict=True)}

    def used_by(self, body: nn.Module, taps: TapModules, image: Tensor) -> list[nn.Module | Tensor]:
        """Return the parts of a network that the maps of some taps depend on, as far as one can train them.

        A parameter is used if a map has a gradient with respect to it. The parts are modules all of whose parameters
        are used, with all layers without parameters in them, and single parameters.

        Args:
            body: the network.
            taps: the paths of the modules of each tap.
            image: (1, N, H, W) on the meta device, of a size that the network takes.

        Returns:
            The parts, without duplicates.
        """
        return _parts(body, self._used_names(_trainable_skeleton(body), taps, image)) if taps else []

    def _used_names(self, skeleton: nn.Module, taps: TapModules, image: Tensor) -> set[str]:
        """Return the names of the parameters that the maps of some taps depend on, see `used_by`."""
        with torch.enable_grad(), torch.inference_mode(False):
            return _used(sum(values.sum() for values in self(skeleton, image, taps).values()), skeleton)

    def holds(self, body: nn.Module, module: str) -> bool:
        """Return whether a network up to its last tap has the block that a tap names."""
        return module in block_names(body)[: self.indices(body)[-1] + 1]

    def layer_groups(self, body: nn.Module, image: Tensor) -> list[list[nn.Parameter]]:
        """Return one list of parameters for the layers before the first block, and one for each block.

        A parameter belongs to the first block whose map depends on it. If it lies outside of the first block, such as
        an embedding or a class token, it is in the first list. A parameter that no map depends on without the last
        normalisation layer is in the last list.

        Args:
            body: the network.
            image: see `used_by`.

        Returns:
            The lists, from shallow to deep, up to the block of the last tap. No list is empty.
        """
        blocks = block_names(body)[: self.indices(body)[-1] + 1]
        skeleton = _trainable_skeleton(body)
        names = [name for name, _ in skeleton.named_parameters()]
        depths = {name: len(blocks) for name in names}
        with torch.enable_grad(), torch.inference_mode(False):
            maps = replace(self, norm=False)(skeleton, image, tuple((block,) for block in blocks))
            for depth, values in reversed([*enumerate(maps.values(), start=1)]):
                depths |= dict.fromkeys(_used(values.sum(), skeleton), depth)
        first = f"{blocks[0]}."
        groups: list[list[nn.Parameter]] = [[] for _ in range(len(blocks) + 1)]
        for name, parameter in body.named_parameters():
            is_before = depths[name] == 1 and not name.startswith(first)
            groups[0 if is_before else depths[name]].append(parameter)
        return [group for group in groups if group]

    def check_norm(self, name: str, body: nn.Module, image: Tensor) -> None:
        """Check that the network's last normalisation layer changes the map of every tap, if `norm` is true.

        Some networks have no such layer, and timm then ignores the wish without a word. A transformer whose classifier
        averages the tokens, for example, normalises only the average.

        Args:
            name: the network's name.
            body: the network.
            image: see `used_by`.

        Raises:
            ArgumentError: if the map of a tap is the same without it.
        """
        if not self.norm:
            return
        skeleton, without = _trainable_skeleton(body), replace(self, norm=False)
        for tap in self.tap_modules:
            if self._used_names(skeleton, (tap,), image) == without._used_names(skeleton, (tap,), image):
                raise ArgumentError(
                    f"norm=true has no effect on the map of {tap[0]}: {name} has no last normalisation layer for the "
                    f"outputs of its blocks; set norm=false"
                )


def _trainable_skeleton(body: nn.Module) -> nn.Module:
    """Copy a network to the meta device; all parameters of the copy have gradients."""
    return without_values(body).requires_grad_(True)


def _used(value: Any, network: nn.Module) -> set[str]:
    """Return the names of the parameters of a network that a number depends on."""
    named = dict(network.named_parameters())
    gradients = torch.autograd.grad(value, [*named.values()], allow_unused=True, retain_graph=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def _parts(module: nn.Module, used: set[str], path: str = "") -> list[nn.Module | Tensor]:
    """Return the largest modules all of whose parameters are in `used`, and the parameters outside of such modules.

    A layer without parameters, such as Dropout, belongs to the parts if the module that holds it is one of them, or has
    trained parameters only in other modules: it then works before them or beside them.
    """
    names = [name for name, _ in module.named_parameters(prefix=path)]
    if all(name in used for name in names):
        return [module]
    if not any(name in used for name in names):
        return []
    own = [parameter for name, parameter in module.named_parameters(prefix=path, recurse=False) if name in used]
    children = module.named_children()
    inner = (_parts(child, used, f"{path}.{name}" if path else name) for name, child in children)
    return [*own, *itertools.chain.from_iterable(inner)]


def check_blocks(name: str, network: nn.Module, tap_modules: TapModules) -> None:
    """Check that the modules of all taps are blocks of a network, in the order of the network.

    Args:
        name: the network's name.
        network: the network.
        tap_modules: for each tap, the paths of the tap's modules.

    Raises:
        ArgumentError: if a module is not in `block_names`, or a tap comes before a shallower one.
    """
    names = block_names(network)
    modules = [module for tap in tap_modules for module in tap]
    if not names:
        raise ArgumentError(f"norm=true has no effect on {name}, which is not read by blocks; set norm=false")
    if unknown := [module for module in modules if module not in names]:
        shown = ", ".join(names[:MAX_NAMES])
        raise ArgumentError(
            f"taps names {unknown[0]}, but the maps of {name} are the outputs of its blocks; choose from {shown}"
        )
    if modules != sorted(modules, key=names.index):
        raise ArgumentError(f"taps={modules} must list the blocks of {name} from shallow to deep")
