"""labelme's JSON files: what they list, and how labelme 7 draws their shapes."""

import base64
import binascii
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from hypercolumns.data.annotations.drawn_mask import Patch, check_points, point_array
from hypercolumns.data.annotations.json_file import read_annotations
from hypercolumns.data.annotations.outside import Box, box_of
from hypercolumns.errors import ArgumentError
from hypercolumns.io.images import PixelShape

IGNORE = "__ignore__"  # the label of shapes that are void
LIBRARY = "Pillow"  # draws all shapes
LINE_WIDTH, POINT_RADIUS = 10, 5  # in pixels
CORNERS = {"circle": 2, "rectangle": 2, "line": 2, "point": 1, "oriented_rectangle": 4, "mask": 2}
MIN_CORNERS = {"polygon": 3, "linestrip": 2}


@dataclass(frozen=True)
class LabelmeFile:
    """The content of a labelme file.

    Attributes:
        path: the file.
        image: the path of the image, relative to the folder of the file.
        shape: the (height, width) of the image; None for what the file does not say.
        objects: the label and the description of each shape, in the order of the file.
    """

    path: Path
    image: str
    shape: tuple[Any, Any]
    objects: tuple[tuple[str, Mapping[str, Any]], ...]


def read_labelme(path: Path) -> LabelmeFile:
    """Read a labelme file. Its shapes are not checked yet, and its flags and the image in it are not used.

    Raises:
        ArgumentError: if the file can't be read, is not a labelme file, or has a shape without a label.
    """
    content = read_annotations(path)
    try:
        objects = tuple(
            (str(shape["label"]), {key: shape.get(key) for key in ("shape_type", "points", "mask")})
            for shape in content["shapes"]
        )
        nameless = [number for number, shape in enumerate(content["shapes"], 1) if shape["label"] is None]
        if nameless:
            raise ArgumentError(
                f"annotations: {path}: the label of shape {nameless[0]} is null; give the shape a label in labelme"
            )
        image = str(content["imagePath"]).replace("\\", "/")
        return LabelmeFile(path, image, (content.get("imageHeight"), content.get("imageWidth")), objects)
    except (KeyError, TypeError, AttributeError) as error:
        raise ArgumentError(
            f"annotations: {path} is not a labelme file ({error!r}); it must hold imagePath and the list shapes "
            f"(label, points, shape_type): remove the file, or give the folder of labelme's files by data.annotations="
        ) from error


def draw_labelme_shape(described: Mapping[str, Any], shape: PixelShape) -> Patch:
    """Draw a shape as labelme 7 does for its export of masks.

    Pillow draws it with its outline, so that a polygon with the corners (10, 10) and (20, 20) covers 11x11 pixels. A
    line is 10 pixels wide, and a point is a disc with a radius of 5 pixels.

    Args:
        described: the shape's `shape_type`, `points` and `mask`.
        shape: the (height, width) of the image.

    Returns:
        The pixels of the shape.

    Raises:
        ValueError: if the shape is invalid or of an unknown type.
    """
    kind = described["shape_type"] or "polygon"
    points = point_array(described["points"])
    if kind not in CORNERS and kind not in MIN_CORNERS:
        raise ValueError(f"shape_type={kind} is not one that labelme draws ({', '.join([*CORNERS, *MIN_CORNERS])})")
    if len(points) != CORNERS.get(kind, len(points)) or len(points) < MIN_CORNERS.get(kind, 0):
        raise ValueError(f"a {kind} can't have {len(points)} points")
    check_points(points, shape)
    if kind == "mask":
        return _paste_mask(_decode_png(described["mask"]), points, shape)
    canvas = Image.new("L", (shape[1], shape[0]))
    brush = ImageDraw.Draw(canvas)
    corners: Sequence[tuple[float, float]] = [(x, y) for x, y in points.tolist()]
    match kind:
        case "circle" | "point":
            (x, y), rim = corners[0], corners[-1]
            radius = POINT_RADIUS if kind == "point" else math.sqrt((x - rim[0]) ** 2 + (y - rim[1]) ** 2)
            brush.ellipse(((x - radius, y - radius), (x + radius, y + radius)), outline=1, fill=1)
        case "rectangle":
            (low_x, low_y), (high_x, high_y) = points.min(0).tolist(), points.max(0).tolist()
            brush.rectangle(((low_x, low_y), (high_x, high_y)), outline=1, fill=1)
        case "line":
            brush.line(corners, fill=1, width=LINE_WIDTH)
        case "linestrip":
            brush.line(corners, fill=1, width=LINE_WIDTH, joint="curve")
        case _:
            brush.polygon(corners, outline=1, fill=1)
    return Patch(0, 0, np.asarray(canvas, bool))


def labelme_box(described: Mapping[str, Any], shape: Sequence[int]) -> Box:
    """Return a box that holds a shape with its outline."""
    kind, points = described["shape_type"] or "polygon", described["points"]
    margin: float = {"point": POINT_RADIUS, "line": LINE_WIDTH, "linestrip": LINE_WIDTH}.get(kind, 0)
    if kind == "circle":
        (x, y), rim = points
        points, margin = [(x, y)], math.hypot(x - rim[0], y - rim[1])
    left, top, right, bottom = box_of(points, margin)
    return left, top, right + 1, bottom + 1  # the last row and column are part of a shape


def _decode_png(text: Any) -> NDArray[np.bool_]:
    """Decode the PNG file of a mask shape, whose pixels are 0 outside the object."""
    if not isinstance(text, str):
        raise ValueError("a mask shape needs the text of a PNG file")
    try:
        with Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",)) as image:
            inside: NDArray[np.bool_] = np.array(image).astype(bool)
    except (OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(f"its mask is not a valid PNG file ({error})") from error
    if inside.ndim != 2:
        raise ValueError("its mask must be a grey PNG file")
    return inside


def _paste_mask(inside: NDArray[np.bool_], points: NDArray[np.float64], shape: PixelShape) -> Patch:
    """Place a mask with its first pixel at the first point, and cut off what lies outside its box and the image."""
    (left, top), (right, bottom) = points.round().astype(int).tolist()
    if (points == np.trunc(points)).all():  # labelme cuts the mask to a box of whole numbers only
        if inside.shape != (bottom - top + 1, right - left + 1):
            raise ValueError(
                f"its mask has {inside.shape[1]}x{inside.shape[0]} pixels, but its box {right - left + 1}x"
                f"{bottom - top + 1}"
            )
    inside = inside[max(-top, 0) : max(shape[0] - top, 0), max(-left, 0) : max(shape[1] - left, 0)]
    return Patch(max(top, 0), max(left, 0), inside)
