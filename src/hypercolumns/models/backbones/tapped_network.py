"""A network up to its last tap: how its maps are computed, and what its layers alone say about them."""

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hypercolumns.errors import HypercolumnsError
from hypercolumns.models.backbones import _readers, networks
from hypercolumns.models.backbones._body import TapModules, run_body, without_values
from hypercolumns.models.backbones._network_info import Key, NetworkInfo
from hypercolumns.models.backbones._readers import MapReader
from hypercolumns.models.backbones._scales import ONE, Scales, at_scales, rescale
from hypercolumns.models.backbones.peak_memory import peak_bytes


class TappedNetwork:
    """A network up to its last tap, with the taps on its modules.

    It is no module: the parameters belong to `body`, which a `Backbone` registers.

    Args:
        key: the network, its taps and their settings.
        reader: computes the maps of the taps.
        body: the network up to its last tap.
        network_info: the properties of the maps of the image itself.
        scales: the scales at which the network sees the image, from large to small, see `_scales`.

    Attributes:
        name: the network's name.
        tap_modules: for each tap, the paths of the tap's modules.
        channels: the number of channels of the images.
        reader: the argument `reader`.
        body: the argument `body`.
        network_info: the argument `network_info`.
        scales: the argument `scales`.
        info: the properties of the maps at all scales.
        deepest: the index in `info.layers` of the deepest map, from which context taps are made: the map of the last
            tap at scale 1 or, without this scale, at the largest one.

    Raises:
        ArgumentError: if the network can't see images at these scales.
    """

    def __init__(
        self, key: Key, reader: MapReader, body: nn.Module, network_info: NetworkInfo, scales: Scales = (ONE,)
    ) -> None:
        self.name, self.tap_modules, self.channels = key.network, key.tap_modules, key.channels
        self.reader, self.body, self.network_info, self.scales = reader, body, network_info, scales
        self.info = at_scales(network_info, scales, key.network)
        self.deepest = len(self.tap_modules) * (1 + (scales.index(ONE) if ONE in scales else 0)) - 1

    def maps(self, images: Tensor) -> list[Tensor]:
        """Compute the map of each tap at each scale.

        Args:
            images: (B, N, H, W), normalised, of a size that `info` allows.

        Returns:
            One map (B, C_l, h_l, w_l) for each of `info.layers`: those of all taps at the largest scale come first.

        Raises:
            HypercolumnsError: if a map has other channels or another size than is known of the network.
        """
        maps = self._run(functools.partial(self.reader, self.body), images)
        self._check(maps, images.shape[2], images.shape[3])
        return maps

    def map_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return the size (h_l, w_l) of each of the maps, for an image of `height` x `width` pixels."""
        sizes = self.info.map_sizes(height, width)
        if sizes is None:
            maps = self._run(_readers.quiet(self.reader, self._skeleton), self._meta_images(1, height, width))
            sizes = [(cells.shape[2], cells.shape[3]) for cells in maps]
        return sizes

    def deepest_cells(self, cache: dict[int, int], axis: int, size: int) -> int:
        """Count the cells of the deepest map along one axis of an image.

        Args:
            cache: the known counts for this axis, by size; a new count is added.
            axis: 0 for y, 1 for x.
            size: how many pixels the image has along the axis.

        Returns:
            The number of cells along the axis.
        """
        if size not in cache:
            height, width = self.info.sizes.smallest
            sides = (size, width) if axis == 0 else (height, size)
            cache[size] = self.map_sizes(*sides)[self.deepest][axis]
        return cache[size]

    def peak_bytes(self, count: int, height: int, width: int) -> int:
        """Estimate the peak memory of `maps` in float32 without computing anything, see `peak_memory`.

        The memory of the weights does not count. If autograd is on and a layer is trained, the tensors that are kept
        for the backward pass do count, but not those that the backward pass makes.

        Args:
            count: the number of images.
            height: the height of the images in pixels; the network accepts it.
            width: the width of the images in pixels; the network accepts it.

        Returns:
            A number of bytes.
        """
        trains = any(parameter.requires_grad for parameter in self.body.parameters())
        skeleton = self._trained_skeleton() if trains and torch.is_grad_enabled() else self._skeleton
        read, scale = _readers.quiet(self.reader, skeleton), torch.ones(1, device="meta")

        def run() -> object:
            return self._run(read, (self._meta_images(count, height, width) - scale) / scale)

        return peak_bytes(run, [*skeleton.parameters(), *skeleton.buffers()])

    def recomputed(self, frozen: Iterable[nn.Module]) -> list[str]:
        """Return the paths of the layers that the backward pass runs again, found by one step without values.

        Args:
            frozen: the modules that stay in evaluation mode.

        Returns:
            The paths in `body`, in the order of its modules.
        """
        still = {id(part) for module in frozen for part in module.modules()}
        skeleton = self._trained_skeleton().train()
        runs: Counter[str] = Counter()
        for (path, layer), twin in zip(self.body.named_modules(), skeleton.modules(), strict=True):
            if id(layer) in still:
                twin.training = False
            twin.register_forward_hook(functools.partial(_count_run, runs, path))
        with torch.enable_grad(), torch.inference_mode(False):
            # Two images: with one, a BatchNorm layer may have a single value for each channel, which it refuses.
            images = self._meta_images(2, *self.network_info.sizes.smallest)
            maps = run_body(_readers.quiet(self.reader, skeleton), self.tap_modules, images)
            before = runs.copy()
            torch.autograd.backward([cells.sum() for cells in maps if cells.requires_grad])
        return [path for path, _ in self.body.named_modules() if runs[path] > before[path]]

    def holds(self, module: str) -> bool:
        """Return whether the network still has the module or operation of a tap."""
        return self.reader.holds(self.body, module)  # type: ignore[arg-type]

    def used_by(self, taps: TapModules) -> Sequence[nn.Module | Tensor]:
        """Return the parts of the network that the maps of some taps depend on."""
        return self.reader.used_by(self.body, taps, self._smallest_image())  # type: ignore[arg-type]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Return groups of parameters, from shallow to deep, for learning rates that rise with the depth.

        A network that is read by its blocks (a transformer or hybrid) has one group for the layers before the first
        block, such as the patch embedding, the position embeddings and the class token, and one for each block up to
        the last tap, also if it has no tap. The blocks of a network with stages are its stages. Any other network has
        one group for each tap: the parameters that the tap uses and that no earlier tap uses. Parameters that fit no
        group, such as the last normalisation layer, are in the last one.
        """
        return self.reader.layer_groups(self.body, self._smallest_image())  # type: ignore[arg-type]

    def __deepcopy__(self, memo: dict[int, Any]) -> "TappedNetwork":
        """Copy the network. Copies share the skeleton, because it never changes."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        if "_skeleton" in self.__dict__:
            memo[id(self._skeleton)] = self._skeleton
        twin.__dict__ = copy.deepcopy(self.__dict__, memo)
        return twin

    @functools.cached_property
    def _skeleton(self) -> nn.Module:
        """A copy of the network on the meta device, where tensors have no values."""
        with torch.inference_mode(False):  # the first access may be during a prediction
            return without_values(self.body)

    def _trained_skeleton(self) -> nn.Module:
        """Make another such copy, in which the parameters that are trained have gradients."""
        trained = {name for name, parameter in self.body.named_parameters() if parameter.requires_grad}
        skeleton = without_values(self.body)
        for name, parameter in skeleton.named_parameters():
            parameter.requires_grad_(name in trained)
        return skeleton

    def _run(self, read: Callable[[Tensor], Mapping[str, Tensor]], images: Tensor) -> list[Tensor]:
        """Return the maps of images (B, N, H, W) at all scales. `read` returns the outputs of modules at one scale."""
        return [
            tap_map for scale in self.scales for tap_map in run_body(read, self.tap_modules, rescale(images, scale))
        ]

    def _smallest_image(self) -> Tensor:
        return self._meta_images(1, *self.network_info.sizes.smallest)

    def _meta_images(self, count: int, height: int, width: int) -> Tensor:
        return torch.empty(count, self.channels, height, width, device="meta")

    def _check(self, maps: Sequence[Tensor], height: int, width: int) -> None:
        """Check that the maps have the channels and sizes that are known of the network and its taps.

        Args:
            maps: the maps of the taps.
            height: the height of the images in pixels.
            width: the width of the images in pixels.

        Raises:
            HypercolumnsError: if a map has other channels or another size.
        """
        if torch.compiler.is_exporting():
            return  # the sizes are symbols, and a check would fix them
        sizes = self.info.map_sizes(height, width) or [(cells.shape[2], cells.shape[3]) for cells in maps]
        for tap, cells, size in zip(self.info.layers, maps, sizes, strict=True):
            if cells.shape[1:] != (tap.channels, *size):
                raise HypercolumnsError(
                    f"tap {tap.name} of {self.name} has a map of (channels, height, width) = {(*cells.shape[1:],)}, "
                    f"expected {(tap.channels, *size)}; use the versions of "
                    f"{' and '.join(networks.libraries(self.name))} that the model's header names, or for a network "
                    f"of conf/cnn run python -m hypercolumns.settings.known_networks"
                )


def _count_run(runs: Counter[str], path: str, *_: object) -> None:
    """Count a run of the layer at a path, as a forward hook."""
    runs[path] += 1
