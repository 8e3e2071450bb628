"""Augmentation, by torchvision's transforms v2: image and mask together, void where there is no image."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import ArgumentError, check_fraction, check_int
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.runtime import randomness

BLUR_SIGMA, BLUR_SIDE = (0.1, 2.0), 9  # standard deviations, and the side of the kernel, in pixels
GREY = 128  # what padding of images is filled with; its pixels are void


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """A mask (H, W) at another size: each pixel takes the label at its centre, so that it stays in line with the image.

    (What torchvision does with masks is off by up to half a pixel.)
    """
    return v2.functional.resize(mask[None], list(size), v2.InterpolationMode.NEAREST_EXACT, antialias=False)[0]


class RandomScale(v2.Transform):
    """Enlarge or shrink by a factor drawn uniformly, in its logarithm, from a range."""

    def __init__(self, low: float, high: float) -> None:
        """low, high: the range of the factor."""
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The new size of these inputs, which all have one size."""
        factor = self.low * (self.high / self.low) ** torch.rand(1).item()
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"size": [max(round(height * factor), 1), max(round(width * factor), 1)]}

    def transform(self, inpt: Any, params: Mapping[str, Any]) -> Any:
        """Resize; images bilinearly and antialiased, masks by nearest neighbour."""
        if isinstance(inpt, Mask):
            return Mask(resize_mask(inpt.as_subclass(Tensor), params["size"]))
        return v2.functional.resize(inpt, params["size"], antialias=True)


class Augmentation:
    """Random scale, crop, flip, colour jitter, grayscale and blur, each by its argument; off by default."""

    def __init__(
        self,
        scale: tuple[float, float] | None = None,
        crop: int | tuple[int, int] | None = None,
        flip: float = 0.0,
        color_jitter: float = 0.0,
        grayscale: float = 0.0,
        gaussian_blur: float = 0.0,
    ) -> None:
        """Say what is done.

        Args:
            scale: the range of a random enlargement; None for none.
            crop: side or (height, width) of a random crop; smaller images are padded, with void in the mask.
            flip: the probability of a horizontal flip.
            color_jitter: the strength of random changes of brightness, contrast, saturation and (a quarter of it) hue.
            grayscale: the probability that an image loses its colours.
            gaussian_blur: the probability of a Gaussian blur, of a standard deviation of 0.1 to 2 pixels.
        """
        steps: list[Any] = []
        check_fraction("flip", flip)
        check_fraction("color_jitter", color_jitter, maximum=2.0)
        check_fraction("grayscale", grayscale)
        check_fraction("gaussian_blur", gaussian_blur)
        for side in [] if crop is None else [crop] if isinstance(crop, int | str) else crop:
            check_int("crop", side, minimum=1)
        if scale is not None:
            if isinstance(scale, int | float | str) or len(scale) != 2 or not 0 < scale[0] <= scale[1]:
                raise ArgumentError(f"scale={scale} must be [least,most], both above 0, or null")
            steps.append(RandomScale(*scale))
        if crop is not None:
            steps.append(v2.RandomCrop(crop, pad_if_needed=True, fill={Image: GREY, Mask: IGNORE_INDEX}))
        if flip:
            steps.append(v2.RandomHorizontalFlip(flip))
        if color_jitter:
            steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter, color_jitter / 4))
        if grayscale:
            steps.append(v2.RandomGrayscale(grayscale))
        if gaussian_blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(BLUR_SIDE, BLUR_SIGMA)], gaussian_blur))
        self.transform = v2.Compose(steps) if steps else None

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Change an image (3, H, W) uint8 and its mask (H, W) alike, by random numbers that `seed` decides.

        The third is the box (4,) of the whole image around what is left of it, see `coordinates`.
        """
        if self.transform is None:
            return image, mask, full_image_box(image.shape[-2:])[0]
        edges = torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]]])
        box = BoundingBoxes(edges, format="XYXY", canvas_size=tuple(mask.shape), clamping_mode=None)  # type: ignore[arg-type]
        with randomness.seeded(seed, "augmentation"):
            changed = self.transform(Image(image), Mask(mask), box)
        left, top, right, bottom = changed[2].as_subclass(Tensor)[0]
        return (
            changed[0].as_subclass(Tensor),
            changed[1].as_subclass(Tensor),
            torch.stack([top, left, bottom - top, right - left]),
        )
