"""The colours in which the page shows the classes. The files keep the palette of the data set."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypercolumns.labels import Colour, Palette

# Distances are those of OKLab, in which lightness goes from 0 to 1, and 0.02 can just be seen between large areas.
MIN_LIGHTNESS = 0.25  # below, an overlay only darkens the photo
MIN_CHROMA = 0.06  # below, it only pales the photo; chroma is the distance from grey
MIN_DISTANCE = 0.06  # between two classes: an overlay of 45 % leaves less than half of it
LIGHTNESSES = (0.5, 0.92)  # of the colours that take the place of others
LEVELS = range(0, 256, 17)  # of the channels of these colours

# https://bottosson.github.io/posts/oklab: from linear RGB to the responses of the eye, and from these to the axes
TO_RESPONSES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_AXES = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def display_colours(palette: Sequence[Colour]) -> Palette:
    """Return the colours in which classes are shown over a photo.

    A class keeps its colour, unless that is nearly black or grey, or nearly that of an earlier class. Such a class gets
    the colour that differs most from greys and from all others.
    """
    shown = [*palette]
    places = oklab(palette)
    kept: list[int] = []
    for index, place in enumerate(places):
        is_apart = all(np.linalg.norm(place - places[other]) >= MIN_DISTANCE for other in kept)
        if place[0] >= MIN_LIGHTNESS and _chroma(place) >= MIN_CHROMA and is_apart:
            kept.append(index)
    candidates = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), -1).reshape(-1, 3)
    of_candidates = oklab(candidates)
    usable = (of_candidates[:, 0] >= LIGHTNESSES[0]) & (of_candidates[:, 0] <= LIGHTNESSES[1])
    candidates, of_candidates = candidates[usable], of_candidates[usable]
    distances = _chroma(of_candidates)
    for index in kept:
        distances = np.minimum(distances, np.linalg.norm(of_candidates - places[index], axis=1))
    for index in sorted({*range(len(shown))} - {*kept}):
        best = int(distances.argmax())
        red, green, blue = candidates[best].tolist()
        shown[index] = red, green, blue
        distances = np.minimum(distances, np.linalg.norm(of_candidates - of_candidates[best], axis=1))
    return tuple(shown)


def oklab(colours: Sequence[Colour] | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return sRGB colours (N, 3) from 0 to 255 in OKLab, (N, 3): lightness, green to red, and blue to yellow."""
    values = np.asarray(colours, np.float64).reshape(-1, 3) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    places: NDArray[np.float64] = np.cbrt(linear @ np.array(TO_RESPONSES).T) @ np.array(TO_AXES).T
    return places


def _chroma(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.hypot(places[..., 1], places[..., 2])
