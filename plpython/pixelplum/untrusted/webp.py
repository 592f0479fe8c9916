"""WebP files: the image, or the first frame of an animation."""

from __future__ import annotations

import struct

from pixelplum.errors import ImageError
from pixelplum.untrusted.exif import orientation
from pixelplum.untrusted.outlines import Outline, check_parts, check_sides

START = b"RIFF"
KIND = b"WEBP"
KEPT = (b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"ANIM", b"ANMF")
OF_PIXELS = 0x12
"""Flags of the header: there is transparency, there are frames. The others announce metadata."""

BYTES_EACH, NS_EACH = 16, 45
"""The library keeps two canvases, and gives a copy, of which Pillow makes another."""


def read(content: bytes) -> Outline:
    """Read the size of the canvas, before the library sets memory aside for it.

    Raises
    ------
    ImageError
        If there is no image.
    ImageTooLarge
        If there are too many chunks.
    """
    kept, sizes, turned, frames, offset, parts = [], [], 0, 0, 12, 0
    while offset + 8 <= len(content):
        kind, length = struct.unpack_from("<4sI", content, offset)
        body = content[offset + 8 : offset + 8 + min(length, 32)]
        frames += kind == b"ANMF"
        if kind == b"EXIF":
            turned = turned or orientation(content[offset + 8 : offset + 8 + length].removeprefix(b"Exif\0\0"))
        if kind in KEPT and frames < 2:
            sizes += _size(kind, body)
            chunk = memoryview(content)[offset : offset + 8 + length + length % 2]
            kept += [chunk] if kind != b"VP8X" else [chunk[:8], bytes([chunk[8] & OF_PIXELS]), chunk[9:]]
        offset += 8 + length + length % 2
        parts += 1
        check_parts(parts)
    if not sizes:
        raise ImageError("The image is a WebP without an image")
    width, height = (max(axis) for axis in zip(*sizes, strict=True))
    check_sides(width, height)
    length = len(KIND) + sum(map(len, kept))
    first = b"".join([START, struct.pack("<I", length), KIND, *kept])
    return Outline("WEBP", width, height, first, BYTES_EACH, NS_EACH, orientation=turned or 1)


def _size(kind: bytes, body: bytes) -> list[tuple[int, int]]:
    if kind == b"VP8X" and len(body) >= 10:
        return [(1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))]
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return [(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))]
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return [(width & 0x3FFF, height & 0x3FFF)]
    return []
