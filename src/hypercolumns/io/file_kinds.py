"""The kinds of files that are often found where an image is expected, told by their first bytes."""

from typing import NamedTuple

START = 512  # the number of bytes that `find_kind` needs
CONVERT = "convert it to TIFF or PNG, or leave it out of the data"


class FileKind(NamedTuple):
    """A kind of file that is not read.

    Attributes:
        name: what the file is, such as "a GIF file".
        signature: the bytes that tell it.
        offset: where these bytes begin.
        advice: what to do.
    """

    name: str
    signature: bytes
    offset: int = 0
    advice: str = CONVERT


KINDS = (
    FileKind("a pointer of Git LFS", b"version https://git-lfs", advice="run git lfs pull to get the image itself"),
    FileKind("a GIF file", b"GIF8"),
    FileKind("a JPEG 2000 file", b"\0\0\0\x0cjP  "),
    FileKind("a JPEG 2000 file", b"\xff\x4f\xff\x51"),
    FileKind("a JPEG XL file", b"\0\0\0\x0cJXL "),
    FileKind("a JPEG XL file", b"\xff\x0a"),
    FileKind("a HEIC file", b"ftyphei", 4),
    FileKind("a HEIC file", b"ftyphev", 4),
    FileKind("a HEIC file", b"ftypmif1", 4),
    FileKind("an AVIF file", b"ftypavi", 4),
    FileKind("a DICOM file", b"DICM", 128),
    FileKind("an HDF5 or NetCDF file", b"\x89HDF\r\n\x1a\n"),
    FileKind("a NetCDF file", b"CDF\x01"),
    FileKind("a NetCDF file", b"CDF\x02"),
    FileKind("a NetCDF file", b"CDF\x05"),
    FileKind("an OpenEXR file", b"\x76\x2f\x31\x01"),
    FileKind("a FITS file", b"SIMPLE  ="),
    FileKind("a NumPy file", b"\x93NUMPY"),
    FileKind("a NIfTI file", b"n+1\0", 344),
    FileKind("a Photoshop file", b"8BPS"),
    FileKind("a PDF file", b"%PDF-"),
)


def find_kind(start: bytes) -> FileKind | None:
    """Return the kind of a file by its first `START` bytes; None if it is not known."""
    return next((kind for kind in KINDS if start[kind.offset :].startswith(kind.signature)), None)
