"""Write PNG files in pixel layouts that Pillow does not write."""

import struct
import zlib


def write_png(path, bits, kind, rows, end=None, **chunks):
    """Write a PNG in a pixel layout that Pillow does not write; `kind` is PNG's colour type, `rows` are bytes.

    The other arguments are the contents of further chunks by name, before the pixels or, in the dict `end`, after them.
    """

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">II", len(rows[0]) * 8 // bits // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind], len(rows))
    parts = [(b"IHDR", size + bytes([bits, kind, 0, 0, 0]))]
    parts += [(name.encode(), data) for name, data in chunks.items()]
    parts += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))]
    parts += [(name.encode(), data) for name, data in (end or {}).items()] + [(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
