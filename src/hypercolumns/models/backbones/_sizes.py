"""The sizes of images that a network accepts: find them by trying, and pad images to them."""

import bisect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hypercolumns.models.backbones import networks

# Sides of square images in pixels, tried in this order. The first side for which every map has a cell is at least
# `AcceptedSizes.min_side`.
CANDIDATE_SIDES = [2**power for power in range(10)]
MAX_MULTIPLE = 512  # pixels
CELLS_SIDE = 256  # pixels of the square image whose maps tell the number of pixels of a cell

Shapes = Callable[[int, int], Sequence[Sequence[int]]]  # from the height and width of an image to the maps' shapes


class AcceptedSizes(NamedTuple):
    """The sizes of images that a network accepts.

    Attributes:
        min_side: the minimum height and width, in pixels.
        multiple: the height and width are multiples of this number of pixels.
        fixed: the only (height, width) that the network accepts, in pixels; None: it accepts others too.
    """

    min_side: int
    multiple: int = 1
    fixed: tuple[int, int] | None = None

    def examples(self) -> Iterator[tuple[int, int]]:
        """Yield some accepted sizes: the smallest one, and larger ones with odd and even numbers of multiples."""
        if self.fixed is not None:
            yield self.fixed
            return
        yield self.min_side, self.min_side
        for down, across in ((self.min_side + 13, 2 * self.min_side + 17), (3 * self.min_side + 4, self.min_side + 7)):
            yield self.rounded(down), self.rounded(across)

    @property
    def smallest(self) -> tuple[int, int]:
        """The smallest accepted (height, width), in pixels."""
        return self.fixed or (self.min_side, self.min_side)

    def rounded(self, side: int) -> int:
        """Return the smallest accepted side from `side` pixels. In an export, `side` may be symbolic."""
        # Rounded up in a form that ONNX computes alike: its division rounds negative numbers the other way.
        sides = torch.sym_max(side, self.min_side) + self.multiple - 1
        return sides // self.multiple * self.multiple  # type: ignore[return-value]  # symbolic only in an export

    def pad(self, images: Tensor) -> Tensor:
        """Enlarge images (B, N, H, W) to an accepted size by repeating the last row and column."""
        rows, columns = (
            torch.arange(self.rounded(side), device=images.device).clamp(max=side - 1) for side in images.shape[-2:]
        )
        return images.index_select(2, rows).index_select(3, columns)


def find_sizes(network: str, shapes: Shapes, usual: tuple[int, int] | None, patch: int | None = None) -> AcceptedSizes:
    """Find the sizes of images that a network accepts.

    A network may accept all sizes from a smallest one, only multiples of a number, or one size. Multiples are looked
    for among the divisors of the size that the network is made for, and the powers of 2.

    Args:
        network: the network's name, for the error message.
        shapes: computes the shapes of the maps from the height and width of an image; raises any error for a size that
            the network does not accept.
        usual: the size (height, width) that the network is made for, in pixels; None: not known.
        patch: the side of the patches of a plain transformer, in pixels. Some of these networks ignore the pixels of an
            incomplete patch, so only multiples of it are tried. None: the network is no plain transformer.

    Returns:
        The sizes.

    Raises:
        ArgumentError: if the network accepts none of the sizes that were tried.
    """
    channels: list[int] = []  # of each map; a network may return nonsense for sizes that do not suit it

    def works(height: int, width: int) -> bool:
        try:
            found = shapes(height, width)
            return all(0 not in shape for shape in found) and channels in ([], [shape[1] for shape in found])
        except Exception:  # torch and the networks raise many kinds of errors for images that do not suit them
            return False

    if usual is not None and works(*usual):
        channels += [shape[1] for shape in shapes(*usual)]
        if not (works(2 * usual[0], usual[1]) and works(usual[0], 2 * usual[1])):
            return AcceptedSizes(max(usual), fixed=usual)
    for multiple in [patch] if patch is not None else _candidate_multiples(usual):
        min_side = _min_side(works, multiple)
        sizes = AcceptedSizes(min_side, multiple)
        if all(works(*size) for size in sizes.examples()) and all(
            works(*size) for size in _beside_cells(shapes, sizes)
        ):
            return sizes
    tried = "images of any size" if usual is None else f"images of any size, not even of {usual[1]}x{usual[0]}"
    raise networks.unusable(network, f"it does not compute maps for {tried}")


def _beside_cells(shapes: Shapes, sizes: AcceptedSizes) -> Iterator[tuple[int, int]]:
    """Yield the sizes next to one that the coarsest map divides into whole cells.

    A network may round the size of an image to cells in two places that disagree only for these sizes.

    Args:
        shapes: see `find_sizes`.
        sizes: the sizes of images; those that `AcceptedSizes.examples` yields work.
    """
    side = sizes.rounded(CELLS_SIDE)
    cells = min(min(shape[2:]) for shape in shapes(side, side))
    stride = round(side / cells)
    whole = math.ceil((sizes.min_side + sizes.multiple) / stride) * stride
    for near in (whole - sizes.multiple, whole + sizes.multiple):
        yield sizes.rounded(near), sizes.rounded(near)


def _candidate_multiples(usual: tuple[int, int] | None) -> list[int]:
    """Return the multiples to try, rising. The sides of `usual` are in pixels."""
    powers = {2**power for power in range(9)}
    if usual is not None:
        powers |= {number for number in range(1, min(usual) + 1) if all(side % number == 0 for side in usual)}
    return sorted(number for number in powers if number <= MAX_MULTIPLE)


def _min_side(works: Callable[[int, int], bool], multiple: int) -> int:
    """Return the side, in pixels, of the smallest square image for which every map has at least one cell.

    If an image with the largest side that is tried is still too small, return this largest side.

    Args:
        works: whether every map of an image (height, width) has a cell.
        multiple: only multiples of this number are tried.
    """

    def fits(count: int) -> bool:
        return works(count * multiple, count * multiple)

    counts = [count for count in CANDIDATE_SIDES if count == 1 or count * multiple <= CANDIDATE_SIDES[-1]]
    enough = next((count for count in counts if fits(count)), counts[-1])
    return bisect.bisect_left(range(enough), True, lo=enough // 2 + 1, key=fits) * multiple
