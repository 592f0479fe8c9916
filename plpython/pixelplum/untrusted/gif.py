"""GIF files: their first frame."""

from __future__ import annotations

import struct

from pixelplum.errors import ImageError
from pixelplum.untrusted.outlines import COMPRESSED_NS, INFLATED_NS, TRANSPARENT_NS, Outline, check_parts, check_sides

START = b"GIF8"
EXTENSION, CONTROL, FRAME = 0x21, 0xF9, 0x2C
HAS_COLORS = 0x80
NS_EACH = INFLATED_NS + TRANSPARENT_NS


def read(content: bytes) -> Outline:
    """Read the screen's size, and that of the first frame, which may lie outside; drop what is said before it.

    Raises
    ------
    ImageError
        If there is no frame.
    ImageTooLarge
        If there are too many parts before it.
    """
    try:
        width, height, flags = struct.unpack_from("<HHB", content, 6)
        offset = 13 + (3 << ((flags & 7) + 1) if flags & HAS_COLORS else 0)
        kept, control, parts = content[:offset], b"", 0
        while content[offset] != FRAME:
            if content[offset] != EXTENSION:
                raise ImageError("The image is a GIF without a frame")
            begin, offset = offset, offset + 2
            while content[offset]:
                offset += 1 + content[offset]
                parts += 1
                check_parts(parts)
            offset += 1
            if content[begin + 1] == CONTROL:
                control = content[begin:offset]
        left, top, across, down = struct.unpack_from("<HHHH", content, offset + 1)
    except (IndexError, struct.error) as error:
        raise ImageError("The image is a GIF that is truncated before its first frame") from error
    width, height = max(width, left + across), max(height, top + down)
    check_sides(width, height)
    first = b"".join([kept, control, memoryview(content)[offset:]])
    return Outline("GIF", width, height, first, 1, NS_EACH, fixed_seconds=COMPRESSED_NS * len(content) / 1e9)
