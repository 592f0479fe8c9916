"""TIFF files: of their tags, those that say how pixels are stored."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import ceil, prod

from pixelplum.errors import ImageError, ImageTooLarge
from pixelplum.untrusted.outlines import COMPRESSED_NS, INFLATED_NS, PLAIN_NS, TRANSPARENT_NS, Outline, check_sides

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

WIDTH, HEIGHT, BITS, COMPRESSION, STRIPS, ORIENTATION, SAMPLES, ROWS = 256, 257, 258, 259, 273, 274, 277, 278
PLANES, TILE_WIDTH, TILE_HEIGHT, TILES = 284, 322, 323, 324
KEPT = {
    WIDTH, HEIGHT, BITS, COMPRESSION, STRIPS, SAMPLES, ROWS, PLANES, TILE_WIDTH, TILE_HEIGHT, TILES,
    262, 266, 279, 292, 293, 317, 320, 325, 332, 338, 339, 347, 529, 530, 531, 532,
}  # fmt: skip
"""Also: photometry, order of bits, lengths, options of the codings, predictor, colors, alpha, kind of number, JPEG
tables. Not the orientation: the image is turned when it is small."""
LARGEST_TAG = 1 << 20
"""Bytes. The offsets of a strip a row are half of it, in the largest image."""

RAW, JPEG, LZMA = 1, 7, 34925
COMPRESSIONS = {RAW, 2, 3, 4, 5, JPEG, 8, 32773, 32946, LZMA, 50000}
"""Those of fax machines, LZW, JPEG, Deflate (two numbers), PackBits, LZMA, Zstandard."""
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
LZMA_NS = 16
RAW_PIECE_SECONDS, PIECE_SECONDS = 6e-6, 1e-6
"""What it takes to begin with a strip or a tile: Pillow, where nothing is compressed, and the library."""


@dataclass(frozen=True)
class _Directory:
    """The first directory of a file: where it is, and how entries are laid out."""

    order: str
    is_big: bool
    start: int
    tags: dict[int, tuple[int, ...]]
    entries: list[bytes]


def read(content: bytes) -> Outline:
    """Read the tags of the first image, and drop the others.

    Raises
    ------
    ImageError
        If it is not a TIFF, or coded in a way that is not decoded.
    ImageTooLarge
        If its tags are.
    """
    try:
        directory = _directory(content)
    except (struct.error, KeyError, OverflowError) as error:
        raise ImageError("The image is a TIFF without a directory") from error

    def tag(number: int, default: int) -> int:
        return directory.tags.get(number, (default,))[0]

    width, height, coding = tag(WIDTH, 0), tag(HEIGHT, 0), tag(COMPRESSION, RAW)
    check_sides(width, height)
    if coding not in COMPRESSIONS:
        raise ImageError(f"The image is a TIFF in compression {coding}, which is not decoded")
    bits, samples = max(directory.tags.get(BITS, (1,))), tag(SAMPLES, 1)
    if TILES in directory.tags:
        piece = tag(TILE_WIDTH, width), tag(TILE_HEIGHT, height)
        check_sides(*piece)
        pieces = ceil(width / piece[0]) * ceil(height / piece[1])
    else:
        piece = width, max(1, min(tag(ROWS, height), height))
        pieces = ceil(height / piece[1])
    stated = len(directory.tags.get(TILES) or directory.tags.get(STRIPS, ()))
    planes = samples if tag(PLANES, 1) == 2 else 1
    sample_bytes = max(1, bits // 8) * samples
    passes = max(1, content.count(b"\xff\xda") / pieces) if coding == JPEG else 1
    byte_ns = LZMA_NS if coding == LZMA else INFLATED_NS * passes
    ns = byte_ns * sample_bytes * max(1, pieces * prod(piece) / (width * height))
    ns += PLAIN_NS if samples in (1, 3) else TRANSPARENT_NS
    seconds = (RAW_PIECE_SECONDS if coding == RAW else PIECE_SECONDS) * max(pieces * planes, stated)
    seconds += COMPRESSED_NS * len(content) / 1e9
    return Outline(
        "TIFF", width, height, _without_others(content, directory), _bytes_each(bits, samples), ns,
        fixed_bytes=prod(piece) * sample_bytes, fixed_seconds=seconds,
        orientation=tag(ORIENTATION, 1) if 1 <= tag(ORIENTATION, 1) <= 8 else 1,
    )  # fmt: skip


def _bytes_each(bits: int, samples: int) -> int:
    """Pillow keeps one byte a pixel of gray and palettes, and four of everything else."""
    return 1 if samples == 1 and bits <= 8 else 4


def _directory(content: bytes) -> _Directory:
    order, is_big = "<" if content[:2] == b"II" else ">", b"+" in content[2:4]
    (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), content, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), content, start)
    head, size, inline = (8, 20, 8) if is_big else (2, 12, 4)
    if count > (len(content) - start) // size or count > 65_535:
        raise ImageError("The image is a TIFF whose directory is truncated")
    tags, entries, seen = {}, [], set()
    for number in range(count):
        offset = start + head + size * number
        tag, kind, values = struct.unpack_from(order + ("HHQ" if is_big else "HHI"), content, offset)
        if tag not in KEPT and tag != ORIENTATION:
            continue
        if tag in seen:  # each would be read
            raise ImageError(f"The image is a TIFF that has the tag {tag} twice")
        seen.add(tag)
        length = SIZES[kind] * values
        if length > LARGEST_TAG:
            raise ImageTooLarge(f"The image is a TIFF whose tag {tag} has {length:,} bytes")
        at = offset + size - inline
        if length > inline:
            (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), content, at)
        if kind in NUMBERS:
            tags[tag] = struct.unpack_from(f"{order}{values}{NUMBERS[kind]}", content, at) or (0,)
        if tag != ORIENTATION:
            entries.append(content[offset : offset + size])
    return _Directory(order, is_big, start, tags, entries)


def _without_others(content: bytes, parsed: _Directory) -> bytes:
    """Return the file with a directory of these entries alone, and no other directory."""
    head, end = ("Q", bytes(8)) if parsed.is_big else ("H", bytes(4))
    directory = struct.pack(parsed.order + head, len(parsed.entries)) + b"".join(parsed.entries) + end
    whole = memoryview(content)
    return b"".join([whole[: parsed.start], directory, whole[parsed.start + len(directory) :]])
