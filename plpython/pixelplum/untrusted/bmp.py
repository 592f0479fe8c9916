"""BMP files: rows, or lengths of runs."""

from __future__ import annotations

import struct

from pixelplum.errors import ImageError
from pixelplum.untrusted.outlines import PLAIN_NS, Outline, check_sides

START = b"BM"
OLD_HEADER = 12
RUN_LENGTHS = (1, 2)
RUN_LENGTH_NS = 200
"""Of a byte: Pillow reads them in Python."""


def read(content: bytes) -> Outline:
    """Read the header.

    Raises
    ------
    ImageError
        If it is cut off.
    """
    try:
        (size,) = struct.unpack_from("<I", content, 14)
        if size == OLD_HEADER:
            width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
            coding = 0
        else:
            width, height, _, bits, coding = struct.unpack_from("<iiHHI", content, 18)
    except struct.error as error:
        raise ImageError("The image is a BMP without a header") from error
    width, height = abs(width), abs(height)  # rows may come from the top down
    check_sides(width, height)
    if coding in RUN_LENGTHS:
        return Outline("BMP", width, height, content, 4, PLAIN_NS, fixed_seconds=RUN_LENGTH_NS * len(content) / 1e9)
    return Outline("BMP", width, height, content, 1 if bits <= 8 else 4, 2 * PLAIN_NS)
