"""The pages of TIFF files: what their headers say, and the pixels that Pillow can't read, by tifffile."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypercolumns.errors import HypercolumnsError, UnreadableError
from hypercolumns.io.decoding import ALL_PAGES, ImageDecoding
from hypercolumns.io.pixel_layout import Alpha, PixelLayout
from hypercolumns.io.tiff_hidden import HIDDEN_TAGS, hidden_images
from hypercolumns.io.tiff_tags import Tags, is_tiff, read_tags

BYTES_PER_PIXEL = 16  # with max_pixels, this limits the memory of the decoded channels of an image
EXTRA = "tiff"  # the extra of this project that installs the packages below
# Compressions that tifffile decompresses without the package imagecodecs: none, Deflate (two numbers), PackBits, LZMA.
PLAIN_COMPRESSIONS = (1, 8, 32946, 32773, 34925)
# Compressions that Pillow reads: none, fax, LZW, JPEG, Deflate, PackBits, LZMA, Zstandard. WebP depends on its build.
PILLOW_COMPRESSIONS = (*PLAIN_COMPRESSIONS, 2, 3, 4, 5, 6, 7, 32771, 32809, 50000)
FLOAT_PREDICTOR = 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6  # of the tag PhotometricInterpretation
KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint"}  # of the tag SampleFormat; 4 is undefined
DTYPES = tuple(
    f"{kind}{bits}" for kind in ("uint", "int", "float") for bits in (8, 16, 32, 64) if kind + str(bits) != "float8"
)
PILLOW_CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
COPY = 0b101  # bits of the tag NewSubfileType: a page is a smaller copy, or the transparency, of another page
OLD_THUMBNAIL = 2  # of the tag SubfileType
# The numbers of tags. `NO_DATA` is GDAL's tag of a value without meaning; `DEPTH` is the number of planes of a volume.
NEW_SUBFILE, SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, ORIENTATION = 254, 255, 256, 257, 258, 259, 262, 274
SAMPLES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT = 277, 317, 322, 323, 338, 339
DEPTH, NO_DATA = 32997, 42113
TAGS = {NEW_SUBFILE, SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, ORIENTATION}
TAGS |= {SAMPLES, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT, DEPTH, NO_DATA} | HIDDEN_TAGS
BIG_ENDIAN_BIGTIFF = b"MM\0+"  # the first bytes of such a file, which Pillow can't read


class TiffPage(NamedTuple):
    """A page of a TIFF, as its header describes it.

    Attributes:
        number: the position of the page in the file, from 0, with thumbnails and other copies counted.
        size: (height, width) as stored, before any rotation.
        tile: (height, width) of the tiles; (0, 0) if there are none.
        layout: describes the stored pixels.
        supported: whether the type of the values and the meaning of the channels are supported.
        orientation: a value of the tag Orientation, from 1 (upright) to 8.
        by_pillow: whether Pillow reads the pixels rightly.
        imagecodecs: whether tifffile needs the package imagecodecs to read the pixels.
        no_data: the text of GDAL's tag of a value without meaning; empty if there is none.
        hidden: describes images of the file that are no pages, see `hidden_images`; empty if there are none.
    """

    number: int
    size: tuple[int, int]
    tile: tuple[int, int]
    layout: PixelLayout
    supported: bool
    orientation: int
    by_pillow: bool
    imagecodecs: bool
    no_data: str
    hidden: str = ""


def read_pages(file: BinaryIO, as_stored: bool = False) -> list[TiffPage]:
    """Read the headers of all pages of a TIFF, without smaller copies of a page (thumbnails, overviews).

    Args:
        file: the file.
        as_stored: whether the stored values are needed; otherwise, colours may be divided by the opacity that they are
            multiplied by, as Pillow does.

    Returns:
        The pages, or their copies if there are only these.

    Raises:
        ValueError: if the file is damaged or has no page.
    """
    file.seek(0)
    pillow_reads = file.read(4) != BIG_ENDIAN_BIGTIFF
    pages: list[TiffPage] = []
    copies: list[TiffPage] = []
    all_tags = list(read_tags(file, TAGS))
    for number, tags in enumerate(all_tags):
        is_copy = _number(tags, NEW_SUBFILE, 0) & COPY or _number(tags, SUBFILE, 0) == OLD_THUMBNAIL
        page = _page(number, tags, pillow_reads, as_stored)
        (copies if is_copy else pages).append(page)
        if number == 0:  # Pillow opens a file by its first page
            pillow_reads = page.by_pillow
    if not pages and not copies:
        raise ValueError("the file has no page")
    hidden = hidden_images(all_tags, only_copies=not pages)
    return [page._replace(hidden=hidden) for page in pages or copies]


def _numbers(tags: Tags, number: int) -> tuple[int, ...]:
    """Return the integers of a tag; () if the page does not have it."""
    value = tags.get(number, ())
    return () if isinstance(value, str) else value


def _number(tags: Tags, number: int, default: int) -> int:
    """Return the first integer of a tag."""
    return (*_numbers(tags, number), default)[0]


def _page(number: int, tags: Tags, pillow_reads: bool, as_stored: bool) -> TiffPage:
    """Describe a page from its tags.

    Args:
        number: the position of the page in the file.
        tags: the tags of the page.
        pillow_reads: whether Pillow reads files like this one at all.
        as_stored: see `read_pages`.
    """
    colours, channels = _number(tags, COLOURS, BLACK_IS_ZERO), _number(tags, SAMPLES, 1)
    bits, kinds = _numbers(tags, BITS) or (1,), _numbers(tags, SAMPLE_FORMAT) or (1,)
    depth, kind = bits[0], KINDS.get(kinds[0], "")
    dtype = f"{kind}{next((size for size in (8, 16, 32, 64) if depth <= size), 0)}"
    expected, grey = PILLOW_CHANNELS.get(colours), colours in (BLACK_IS_ZERO, WHITE_IS_ZERO)
    marks: dict[tuple[int, ...], Alpha] = {(1,): "premultiplied", (2,): "straight"}
    may_have_alpha = colours in (RGB, BLACK_IS_ZERO) and channels == (expected or 0) + 1
    alpha: Alpha = marks.get(_numbers(tags, EXTRA_SAMPLES), "") if may_have_alpha else ""
    eight = dtype == "uint8" and (depth == 8 or (depth in (1, 2, 4) and expected == channels == 1))
    shown = eight and (channels == expected or (colours == RGB and bool(alpha)))  # Pillow converts it to L, RGB or RGBA
    shown = shown and not (as_stored and alpha == "premultiplied")  # Pillow divides colours by the opacity
    deep = grey and channels == 1 and (dtype, depth) in (("uint16", 16), ("float32", 32))
    compression = _number(tags, COMPRESSION, 1)
    by_pillow = pillow_reads and compression in PILLOW_COMPRESSIONS and (shown or deep)
    plain = compression in PLAIN_COMPRESSIONS and _number(tags, PREDICTOR, 1) != FLOAT_PREDICTOR
    alike = len(set(bits)) == len(set(kinds)) == 1 and _number(tags, DEPTH, 1) == 1
    supported = alike and dtype in DTYPES and (by_pillow or grey or colours == RGB)
    if by_pillow and shown:  # Pillow inverts the values where white is 0
        layout = PixelLayout("a TIFF", 1 if grey else 4 if alpha else 3, alpha="straight" if alpha else "")
    else:
        layout = PixelLayout("a TIFF", channels, dtype, depth, alpha, colours == WHITE_IS_ZERO)
    orientation = _number(tags, ORIENTATION, 1)
    return TiffPage(
        number,
        (_number(tags, HEIGHT, 0), _number(tags, WIDTH, 0)),
        (_number(tags, TILE_HEIGHT, 0), _number(tags, TILE_WIDTH, 0)),
        layout,
        supported,
        orientation if orientation in range(1, 9) else 1,
        by_pillow,
        not plain or depth not in (8, 16, 32, 64),
        str(tags.get(NO_DATA, "")),
    )


def choose_pages(pages: Sequence[TiffPage], decoding: ImageDecoding, path: Path) -> tuple[list[TiffPage], PixelLayout]:
    """Choose the pages of a TIFF that form the image, and check that they can be read and turned into RGB.

    Args:
        pages: all pages of the file.
        decoding: the rules that turn the stored pixels into RGB.
        path: the file, for messages.

    Returns:
        The pages, one or, with `page="all"`, one for each channel; and the layout of the image that they form.

    Raises:
        HypercolumnsError: if the rules do not choose, if the pages can't be read, or if a package is missing.
    """
    chosen = [*pages] if decoding.page == ALL_PAGES else [pages[number_of_page(len(pages), decoding, path, pages)]]
    first = chosen[0]
    if first.hidden:
        raise HypercolumnsError(f"{path} {first.hidden}")
    if not first.supported:
        raise HypercolumnsError(
            f"{path} is a TIFF whose pixel format is not supported ({first.layout.channels} channels of "
            f"{first.layout.bits} bits); convert it to grey or RGB"
        )
    layout = first.layout
    if decoding.page == ALL_PAGES:
        kinds = {(page.size, page.layout, page.orientation) for page in pages}
        if len(kinds) > 1 or layout.channels != 1:
            raise HypercolumnsError(
                f"{path} is a TIFF with {_pages_text(pages)}, but {decoding.prefix}page={ALL_PAGES} needs pages of one "
                f"channel, one type and one size; choose one page by {decoding.prefix}page=0"
            )
        layout = layout._replace(channels=len(chosen))
    decoding.check(layout, path)
    missing = [package for package in _packages(chosen) if importlib.util.find_spec(package) is None]
    if missing:
        raise HypercolumnsError(
            f"{path} is {layout.text}, and reading it needs {' and '.join(missing)}; install them with: uv sync "
            f"--extra {EXTRA}, or pip install 'hypercolumns[{EXTRA}]'"
        )
    return chosen, layout


def number_of_page(count: int, decoding: ImageDecoding, path: Path, pages: Sequence[TiffPage] = ()) -> int:
    """Return the page to read of an image file with `count` pages or frames.

    Args:
        count: the number of pages.
        decoding: its `page` chooses.
        path: the file, for messages.
        pages: the pages of a TIFF; empty for an animated image.

    Returns:
        The number of the page, from 0.

    Raises:
        HypercolumnsError: if the file has several pages and `page` chooses none, or one that does not exist.
    """
    what = f"a TIFF with {_pages_text(pages)}" if pages else f"an image with {count} frame{'s' * (count != 1)}"
    channels = f"; {decoding.prefix}page={ALL_PAGES} takes each page as a channel" if pages else ""
    if decoding.page is None or decoding.page == ALL_PAGES:
        if count == 1:
            return 0
        raise HypercolumnsError(
            f"{path} is {what}, and which one to read is not known; choose one by {decoding.prefix}page=0{channels}"
        )
    if int(decoding.page) >= count:
        raise HypercolumnsError(
            f"{path} is {what}, so it has no {decoding.prefix}page={decoding.page}; pages are counted from 0"
        )
    return int(decoding.page)


def read_stored(file: BinaryIO, page: TiffPage) -> NDArray[Any]:
    """Read the stored pixels of a page by tifffile, unturned.

    Returns:
        (H, W, C), in the dtype of the file.

    Raises:
        ValueError: if the file lacks parts of the image. tifffile raises other errors for damaged files.
        UnreadableError: if memory runs out. A damaged file can ask for any amount of memory.
    """
    import tifffile  # not at the top of the module: only the extra `tiff` installs this package

    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        stored: Any = tiff.pages[page.number]
        if len(stored.dataoffsets) < math.prod(stored.chunked):  # tifffile would fill in black
            raise ValueError("the file lacks parts of the image")
        try:
            values: NDArray[Any] = stored.asarray()
        except MemoryError as error:
            raise UnreadableError(
                f"{file.name} can't be read, because it needs more memory than there is; free some memory, or replace "
                f"the file if its image is not that large"
            ) from error
        axes = str(stored.axes)
    channels = page.layout.channels
    if axes.startswith("S") and len(axes) == 3:  # each channel is stored as a plane of its own
        values = np.moveaxis(values, 0, -1)
    return values.reshape(*page.size, channels)


def is_turned(path: Path) -> bool:
    """Return whether a file is a TIFF whose first page is not stored upright."""
    with path.open("rb") as file:
        start = file.read(4)
        return is_tiff(start) and read_pages(file)[0].orientation != 1


def hide_no_data(values: NDArray[Any], page: TiffPage) -> NDArray[Any]:
    """Replace the value without meaning, if the page names one, by NaN, which needs a conversion to float64."""
    try:
        no_data = float(page.no_data)
    except ValueError:
        return values
    empty = values == no_data
    return np.where(empty, np.nan, values) if empty.any() else values


def turn(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn stored pixels (H, W, C) upright, as a value of the tag Orientation from 1 to 8 says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    flipped_rows, flipped_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return values[:: -1 if flipped_rows else 1, :: -1 if flipped_columns else 1]


def turn_back(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo `turn`."""
    return turn(values, {6: 8, 8: 6}.get(orientation, orientation))


def available_packages() -> list[str]:
    """Return the installed packages of the extra `tiff`; which images can be read depends on them."""
    return [package for package in ("tifffile", "imagecodecs") if importlib.util.find_spec(package) is not None]


def _packages(pages: Sequence[TiffPage]) -> list[str]:
    """Return the packages that reading these pages needs."""
    unread = [page for page in pages if not page.by_pillow]
    return ["tifffile"] * bool(unread) + ["imagecodecs"] * any(page.imagecodecs for page in unread)


def _pages_text(pages: Sequence[TiffPage]) -> str:
    """Describe pages for a message, such as "3 pages (40x30)"."""
    sizes = list(dict.fromkeys(f"{page.size[1]}x{page.size[0]}" for page in pages))
    more = ", ..." if len(sizes) > 3 else ""
    return f"{len(pages)} page{'s' * (len(pages) != 1)} ({', '.join(sizes[:3])}{more})"
