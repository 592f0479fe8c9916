"""How an image is to be turned, read off its EXIF data: nothing else of them is looked at."""

from __future__ import annotations

import struct

ORIENTATION = 0x0112
SHORT = 3


def orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, that EXIF data state; 1 if they state none.

    Parameters
    ----------
    data : bytes
        From the mark of the byte order (``II`` or ``MM``) on.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for number in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * number)
            if tag == ORIENTATION and kind == SHORT:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # no byte order, or cut off
        pass
    return 1
