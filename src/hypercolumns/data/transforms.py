"""Augmentation of images together with their masks, by the transforms of torchvision.transforms.v2."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes, Image, Mask

from hypercolumns.coordinates import full_image_box
from hypercolumns.errors import ArgumentError, check_fraction, check_int
from hypercolumns.io.decoding import RGB
from hypercolumns.labels import IGNORE_INDEX
from hypercolumns.runtime import randomness

BLUR_SIGMA = (0.1, 2.0)  # smallest and largest standard deviation of a Gaussian blur, in pixels
BLUR_SIDE = 9  # side of the square kernel of a Gaussian blur, in pixels
GREY = 128  # value of all channels of the pixels that padding adds to an image; the padding of a mask is void


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a mask (H, W) to `size` = (height, width) by exact nearest-neighbour interpolation.

    Each new pixel takes the label of the original pixel at the position of the new pixel's centre. The mask therefore
    stays aligned with the resized image. Torchvision's default interpolation of masks is off by up to half a pixel.
    """
    return v2.functional.resize(mask[None], list(size), v2.InterpolationMode.NEAREST_EXACT, antialias=False)[0]


class RandomScale(v2.Transform):
    """Scale an image, its mask and its crop box by the same random factor, drawn log-uniformly from [low, high]."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the scale factor. Return the [height, width] of the image after scaling, under the key `size`."""
        factor = self.low * (self.high / self.low) ** torch.rand(1).item()
        height, width = v2.functional.get_size(flat_inputs[0])
        return {"size": [max(round(height * factor), 1), max(round(width * factor), 1)]}

    def transform(self, inpt: Any, params: Mapping[str, Any]) -> Any:
        """Resize one input to `size`: a mask by `resize_mask`, an image bilinearly with antialiasing.

        If the input is a box, its edges are scaled with the image.
        """
        if isinstance(inpt, Mask):
            return Mask(resize_mask(inpt.as_subclass(Tensor), params["size"]))
        return v2.functional.resize(inpt, params["size"], antialias=True)


class PaddedCrop(v2.RandomCrop):
    """Crop an image, its mask and its crop box at a random place, and pad images that are smaller than the crop.

    torchvision's `RandomCrop` pads the whole image first. A strip of 200,000 x 60 pixels would become hundreds of
    megabytes. This class cuts first, with the same result.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop one input: pad an image in grey and a mask with void; move a box."""
        if not params["needs_pad"] or not isinstance(inpt, Image | Mask):
            return super().transform(inpt, params)
        height, width = v2.functional.get_size(inpt)
        left, top = params["left"] - params["padding"][0], params["top"] - params["padding"][1]
        bottom, right = top + params["height"], left + params["width"]
        first_row, first_column = max(top, 0), max(left, 0)
        size = min(bottom, height) - first_row, min(right, width) - first_column
        part = v2.functional.crop(inpt, first_row, first_column, *size)
        padding = [first_column - left, first_row - top, max(right - width, 0), max(bottom - height, 0)]
        return v2.functional.pad(part, padding, fill=GREY if isinstance(inpt, Image) else IGNORE_INDEX)


class BrightnessContrast(v2.Transform):
    """Change the brightness and the contrast of an image with any number of channels by random factors.

    torchvision's `ColorJitter` defines both by the luminance of RGB. Here all channels count alike: the brightness
    factor multiplies all values, and the contrast factor multiplies their differences from the mean of all values.

    Args:
        strength: the strength s. Each factor is drawn uniformly from max(0, 1 - s) to 1 + s.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.low, self.high = max(0.0, 1 - strength), 1 + strength

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the two factors."""
        brightness, contrast = (self.low + (self.high - self.low) * torch.rand(2)).tolist()
        return {"brightness": brightness, "contrast": contrast}

    def transform(self, inpt: Any, params: Mapping[str, Any]) -> Any:
        """Change an image uint8; return a mask or a box unchanged."""
        if not isinstance(inpt, Image):
            return inpt
        values = (inpt.as_subclass(Tensor).float() * params["brightness"]).clamp(0, 255)
        values = values.lerp(values.mean(), 1 - params["contrast"])
        return Image(values.round().clamp(0, 255).byte())


class Augmentation:
    """Random scaling, crop, flip, colour jitter, greyscale and blur of an image with its mask, all off by default.

    The changes are applied in this order.

    Args:
        scale: (low, high), the range of the random scale factor; None for no scaling.
        crop: the (height, width) of a random crop in pixels, or the side of a square crop; None for no crop. Images
            that are smaller than the crop are padded in grey, and their masks with void.
        flip: the probability of a horizontal flip.
        color_jitter: the strength s of random changes of colour, from 0 to 2. Brightness, contrast and saturation are
            each changed by a factor from max(0, 1 - s) to 1 + s. The hue is turned by up to s / 4 of the colour circle.
        grayscale: the probability that the image is converted to greyscale.
        gaussian_blur: the probability of a Gaussian blur. Its standard deviation is random, from 0.1 to 2 pixels.
        channels: the number of channels of the images. Hue, saturation and greyscale are defined for RGB only. If the
            images are not RGB, `grayscale` has no effect, and `color_jitter` changes brightness and contrast only, see
            `BrightnessContrast`.

    Raises:
        ArgumentError: if an argument has a wrong type or is outside its range.
    """

    def __init__(
        self,
        scale: tuple[float, float] | None = None,
        crop: int | tuple[int, int] | None = None,
        flip: float = 0.0,
        color_jitter: float = 0.0,
        grayscale: float = 0.0,
        gaussian_blur: float = 0.0,
        channels: int = RGB,
    ) -> None:
        steps: list[Any] = []
        check_fraction("flip", flip)
        check_fraction("color_jitter", color_jitter, maximum=2.0)
        check_fraction("grayscale", grayscale)
        check_fraction("gaussian_blur", gaussian_blur)
        for side in [] if crop is None else [crop] if isinstance(crop, int | str) else crop:
            check_int("crop", side, minimum=1)
        if scale is not None:
            if isinstance(scale, int | float | str) or len(scale) != 2 or not 0 < scale[0] <= scale[1]:
                raise ArgumentError(f"scale={scale} must be [low,high] with 0 < low <= high, or null for no scaling")
            steps.append(RandomScale(*scale))
        if crop is not None:
            steps.append(PaddedCrop(crop, pad_if_needed=True))
        if flip:
            steps.append(v2.RandomHorizontalFlip(flip))
        if color_jitter and channels != RGB:
            steps.append(BrightnessContrast(color_jitter))
        elif color_jitter:
            steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter, color_jitter / 4))
        if grayscale and channels == RGB:
            steps.append(v2.RandomGrayscale(grayscale))
        if gaussian_blur:
            steps.append(v2.RandomApply([v2.GaussianBlur(BLUR_SIDE, BLUR_SIGMA)], gaussian_blur))
        self.transform = v2.Compose(steps) if steps else None

    def __call__(self, image: Tensor, mask: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Apply the same random changes to an image and its mask.

        Args:
            image: (N, H, W) uint8.
            mask: (H, W) uint8 class indices, 255 for void.
            seed: the seed of the random changes.

        Returns:
            The changed image (N, H', W') and mask (H', W'), both uint8, and the crop box (4,) float32. The crop box is
            the place of the whole image, (top, left, height, width) in pixels of the changed image, see
            `hypercolumns.coordinates`.
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
