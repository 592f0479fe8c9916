"""PNG files: of their chunks, those that hold pixels."""

from __future__ import annotations

import struct

from pixelplum.errors import ImageError
from pixelplum.untrusted import outlines
from pixelplum.untrusted.exif import orientation
from pixelplum.untrusted.outlines import Outline, check_parts, check_sides

START = b"\x89PNG\r\n\x1a\n"
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
GRAY, RGB = 0, 2
SAMPLES = {GRAY: 1, RGB: 3, 3: 1, 4: 2, 6: 4}
"""By color type; the others are palettes, and gray and RGB with transparency."""


def read(content: bytes) -> Outline:
    """Read the header and find the pixels; of an animation, those of its first image.

    Raises
    ------
    ImageError
        If it is not a PNG.
    ImageTooLarge
        If it has too many chunks.
    """
    if content[12:16] != b"IHDR" or len(content) < 33:
        raise ImageError("The image is a PNG without a header")
    width, height, depth, color = struct.unpack_from(">IIBB", content, 16)
    check_sides(width, height)
    kept, kinds, turned, offset, parts = [START], set(), 0, len(START), 0
    while offset + 12 <= len(content):
        length, kind = int.from_bytes(content[offset : offset + 4], "big"), content[offset + 4 : offset + 8]
        if kind in KEPT:
            kept.append(memoryview(content)[offset : offset + 12 + length])
            kinds.add(kind)
        elif kind == b"eXIf":
            turned = turned or orientation(content[offset + 8 : offset + 8 + length])
        offset += 12 + length
        parts += 1
        check_parts(parts)
        if kind == b"IEND":
            break
    else:
        kept.append(memoryview(content)[offset:])  # truncated: the decoder says so
    samples, is_transparent = SAMPLES.get(color, 4), color not in (GRAY, RGB) or b"tRNS" in kinds
    each = (2 if depth == 16 else 1) if samples == 1 else 4
    seconds = outlines.COMPRESSED_NS * len(content) / 1e9
    ns = outlines.INFLATED_NS * samples * depth / 8 + (outlines.TRANSPARENT_NS if is_transparent else outlines.PLAIN_NS)
    return Outline("PNG", width, height, b"".join(kept), each, ns, fixed_seconds=seconds, orientation=turned or 1)
