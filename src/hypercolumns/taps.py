"""What a tap is: a map of activations that knows where its cells are centred in the image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tap:
    """A place where a backbone is tapped.

    Cell k of its map is centred in the image at pixel coordinate `offset + stride * k`, per axis (y, x);
    the centre of the top left pixel has the coordinate (0, 0).
    """

    name: str
    channels: int
    stride: tuple[float, float]
    offset: tuple[float, float]
