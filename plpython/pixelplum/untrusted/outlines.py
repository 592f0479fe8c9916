"""What an image's file says of itself, and what decoding it will take."""

from __future__ import annotations

from dataclasses import dataclass

from pixelplum.errors import ImageError, ImageTooLarge

COMPRESSED_NS, INFLATED_NS = 7, 5
"""Measured: of a byte that is compressed, and of one that it becomes, with its filter."""
PLAIN_NS, TRANSPARENT_NS = 4, 13
"""Of a pixel that is brought to RGB, and of one that is flattened on white."""

LARGEST_SIDE = 65_535
"""Pixels. A JPEG cannot be larger; what claims more is not a photograph."""

MOST_PARTS = 50_000
"""Segments or chunks of a file. Each takes Python microseconds; large photographs have hundreds."""


@dataclass(frozen=True)
class Outline:
    """An image before it is decoded.

    Parameters
    ----------
    format : str
        As Pillow names it.
    width, height : int
        In pixels, before it is turned as `orientation` says.
    content : bytes
        The file with what the pixels need, and no metadata: those have bombs of their own.
    bytes_each, ns_each : float
        What decoding takes for each pixel: memory, and time.
    fixed_bytes, fixed_seconds : float
        What it takes besides, however small a JPEG is decoded.
    is_scalable : bool
        Whether it can be decoded at a half, a quarter and an eighth of its size.
    orientation : int
        1 to 8, as EXIF has it.
    """

    format: str
    width: int
    height: int
    content: bytes
    bytes_each: float
    ns_each: float
    fixed_bytes: float = 0
    fixed_seconds: float = 0
    is_scalable: bool = False
    orientation: int = 1


def check_parts(number: int) -> None:
    """Refuse a file of more parts than an image has."""
    if number > MOST_PARTS:
        raise ImageTooLarge(
            f"The image's file has more than {MOST_PARTS:,} parts", hint="Save it again without metadata."
        )


def check_sides(width: int, height: int) -> None:
    """Refuse an image without pixels, or with a side that no photograph has."""
    if not width or not height:
        raise ImageError(f"The image has {width} x {height} pixels")
    if max(width, height) > LARGEST_SIDE:
        raise ImageTooLarge(f"The image has {width} x {height} pixels; no side may be longer than {LARGEST_SIDE:,}")
