"""JPEG files: a frame, and one scan or many."""

from __future__ import annotations

import re
import struct

from pixelplum.errors import ImageError, ImageTooLarge
from pixelplum.untrusted.exif import orientation
from pixelplum.untrusted.outlines import PLAIN_NS, Outline, check_parts, check_sides

START = b"\xff\xd8\xff"
MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
"""The next marker that is not a restart; linear in what it skips."""

ALONE = 0x01
END, SCAN, EXIF = 0xD9, 0xDA, 0xE1
FRAMES = {0xC0: False, 0xC1: False, 0xC2: True, 0xC9: False, 0xCA: True}
"""Markers of the frames that are decoded, and whether they are progressive; the last two are arithmetically coded."""
OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
ARITHMETIC = (0xC9, 0xCA)
TABLES = {0xC4, 0xCC, 0xDB, 0xDD, *FRAMES}
COLORS = {0xE0: b"JFIF", 0xEE: b"Adobe"}
"""Segments that say how colors are coded."""

MOST_SCANS = 200
"""A scan for each bit of each coefficient of each component is less; encoders make about ten."""

BYTE_NS, COEFFICIENT_NS = 16, 0.4
"""Measured: of a byte of data, and of a coefficient, most of which are zero."""
FIRST_NS, REFINING_NS, PASSED_NS = 20, 46, 0.15
"""In progressive files: of a byte of a scan, of one that adds a bit to what is known, and of a coefficient in each."""
ARITHMETIC_NS = 8
"""Of a coefficient in each scan: its data can be nearly nothing."""


def read(content: bytes) -> Outline:
    """Read a JPEG's segments up to its first scan; all scans, if there are several.

    Raises
    ------
    ImageError
        If it is not a JPEG, or of a kind that nobody uses.
    ImageTooLarge
        If it has too many scans or segments.
    """
    kept, turned, frame, offset, parts = [content[:2]], 0, None, 2, 0
    while True:
        marker, body, offset = _segment(content, offset)
        parts += 1
        check_parts(parts)
        if marker == SCAN:
            break
        if marker in OTHER_FRAMES or (marker in FRAMES and frame is not None):
            raise ImageError("The image is a JPEG of a kind that is not decoded (lossless, hierarchical)")
        if marker in FRAMES:
            frame = marker, body
        if marker in TABLES or body.startswith(COLORS.get(marker, b"-")):
            kept.append(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body)
        elif marker == EXIF and body.startswith(b"Exif\0\0"):
            turned = turned or orientation(body[6:])  # of the first, or a file could keep us busy with them
    if frame is None or not body:
        raise ImageError("The image is a JPEG without a frame")
    begin = offset - len(body) - 4
    return _outline(content, b"".join([*kept, memoryview(content)[begin:]]), frame, (body[0], offset), turned or 1)


def _segment(content: bytes, offset: int) -> tuple[int, bytes, int]:
    """Return the next marker, its body, and where that ends."""
    match = MARKER.search(content, offset)
    if match is None or match[1][0] == END:
        raise ImageError("The image is a JPEG that is truncated before its first scan")
    marker, offset = match[1][0], match.end()
    if marker == ALONE:
        return marker, b"", offset
    length = int.from_bytes(content[offset : offset + 2], "big")
    if length < 2 or offset + length > len(content):
        raise ImageError("The image is a JPEG whose segments are truncated")
    return marker, content[offset + 2 : offset + length], offset + length


def _outline(content: bytes, kept: bytes, frame: tuple[int, bytes], first: tuple[int, int], turned: int) -> Outline:
    marker, body = frame
    components = [(body[at] >> 4, body[at] & 15) for at in range(7, len(body), 3)]
    if len(body) < 9 or len(components) != body[5] or not all(across * down for across, down in components):
        raise ImageError("The image is a JPEG whose frame makes no sense")
    height, width = struct.unpack_from(">HH", body, 1)
    check_sides(width, height)
    most = max(across for across, _ in components) * max(down for _, down in components)
    coefficients = width * height * sum(across * down for across, down in components) / most
    in_one_scan, offset = first
    scans, held, ns = 1, 0, BYTE_NS * len(content)
    if FRAMES[marker] or in_one_scan < len(components):  # all coefficients are kept until the last scan
        scans, ns = _weigh_scans(content, offset)
        held = 2 * coefficients
        ns += PASSED_NS * coefficients * scans
    ns += coefficients * (ARITHMETIC_NS * scans if marker in ARITHMETIC else COEFFICIENT_NS)
    each = 1 if len(components) == 1 else 4
    return Outline("JPEG", width, height, kept, each, PLAIN_NS, held, ns / 1e9, True, turned)


def _weigh_scans(content: bytes, offset: int) -> tuple[int, float]:
    """Return how many scans there are from the data of the first on, and what their data take."""
    scans, parts, ns, refines = 1, 0, 0.0, False
    while match := MARKER.search(content, offset):
        ns += (match.start() - offset) * (REFINING_NS if refines else FIRST_NS)
        if match[1][0] == END:
            break
        offset = match.end()
        parts += 1
        check_parts(parts)
        if match[1][0] != ALONE:
            offset += int.from_bytes(content[offset : offset + 2], "big")
        if match[1][0] == SCAN:
            scans, refines = scans + 1, content[offset - 1 : offset] > b"\x0f"
        if scans > MOST_SCANS:
            raise ImageTooLarge(
                f"The image is a JPEG of more than {MOST_SCANS} scans", hint="Save it again, not progressive."
            )
    else:
        ns += max(0, len(content) - offset) * REFINING_NS  # truncated
    return scans, ns
