"""Images that no camera makes: little files that claim much, or keep a decoder busy."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable

from PIL import Image

JUNK_BYTES = 24 << 20


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deflated(row: bytes, rows: int) -> bytes:
    """Equal rows, compressed."""
    packer = zlib.compressobj(1)
    block = row * max(1, min(rows, (1 << 20) // max(len(row), 1)))
    whole, rest = divmod(len(row) * rows, len(block))
    return b"".join([*(packer.compress(block) for _ in range(whole)), packer.compress(block[:rest]), packer.flush()])


def png(width: int, height: int, depth: int = 8, color: int = 2, interlace: int = 0, extra: bytes = b"") -> bytes:
    """A PNG of one tone; `extra` are chunks before the pixels."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    row = b"\0" + bytes((width * samples * depth + 7) // 8)
    if interlace:
        height = height * 2  # the seven passes have about so many rows
    header = struct.pack(">IIBBBBB", width, height // (2 if interlace else 1), depth, color, 0, 0, interlace)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if color == 3 else b""
    pixels = chunk(b"IDAT", deflated(row, height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + extra + pixels + chunk(b"IEND")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    """An image as Pillow writes it."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(width: int, height: int, mode: str = "RGB", **options) -> bytes:
    """A JPEG with some tones in it."""
    tile = Image.effect_noise((256, 256), 60)
    image = Image.new("L", (width, height), 90)
    image.paste(tile, (0, 0))
    return saved(image.convert(mode), "JPEG", **options)


SCAN = re.compile(rb"\xff\xda")


def with_scans(content: bytes, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes many times."""
    starts = [match.start() for match in SCAN.finditer(content)]
    last = content[starts[-1] : -2]
    return content[:-2] + last * (scans - len(starts)) + b"\xff\xd9"


def with_segments(content: bytes, segment: bytes, count: int = 1) -> bytes:
    """A JPEG with segments behind its start."""
    return content[:2] + segment * count + content[2:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def exif(entries: list[tuple[int, int, int, int]], data: bytes = b"") -> bytes:
    """A TIFF header with a directory of (tag, type, count, value), and what follows it."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + data


def gif(width: int, height: int, box: tuple[int, int, int, int], frames: int = 1) -> bytes:
    """A GIF with a screen of this size, and frames in a box of it."""
    frame = saved(Image.new("P", box[2:]), "GIF", transparency=0)
    colors = 13 + (3 << (frame[10] & 7) + 1)
    start = frame.index(b"\x2c", colors)
    control, body = frame[colors:start], frame[start:-1]
    placed = control + b"\x2c" + struct.pack("<HHHH", *box) + body[9:]
    return frame[:6] + struct.pack("<HH", width, height) + frame[10:colors] + placed * frames + b"\x3b"


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def u24(number: int) -> bytes:
    return struct.pack("<I", number)[:3]


def webp_claiming(width: int, height: int, frames: int = 0) -> bytes:
    """A WebP that says how large it is, and has a pixel, or frames of one."""
    still = saved(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    canvas = bytes([2 if frames else 0, 0, 0, 0]) + u24(width - 1) + u24(height - 1)
    if not frames:
        return riff((b"VP8X", canvas), (still[:4], still[8:]))
    frame = bytes(6) + u24(0) + u24(0) + u24(10) + b"\0" + still
    return riff((b"VP8X", canvas), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames)


def webp_lossless(width: int, height: int) -> bytes:
    """34 bytes of a lossless WebP that has all its pixels of one tone."""
    bits = (width - 1) | (height - 1) << 14
    # no transforms, no color cache, no meta codes, five codes of a single symbol each
    codes = 0
    for number in range(5):
        codes |= 0b0001 << (4 * number)  # simple, one symbol, of one bit: 0
    return riff((b"VP8L", b"\x2f" + struct.pack("<I", bits) + struct.pack("<Q", codes << 3)))


def tiff(width: int, height: int, tags: dict[int, tuple[int, list[int]]], strips: list[bytes]) -> bytes:
    """A TIFF of these strips, or tiles; further tags are (type, values)."""
    sizes = {1: "B", 3: "H", 4: "I"}
    offset, offsets = 8, []
    for strip in strips:
        offsets.append(offset)
        offset += len(strip)
    is_tiled = 322 in tags
    expected = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 277: (3, [1]),
        (324 if is_tiled else 273): (4, offsets), (325 if is_tiled else 279): (4, [len(s) for s in strips]),
    }  # fmt: skip
    if not is_tiled:
        expected[278] = (4, [-(-height // len(strips))])
    entries, values = [], b""
    for tag, (kind, numbers) in sorted((expected | tags).items()):
        data = struct.pack(f"<{len(numbers)}{sizes[kind]}", *numbers)
        if len(data) > 4:
            value = struct.pack("<I", offset + len(values))
            values += data + bytes(len(data) % 2)
        else:
            value = data.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", tag, kind, len(numbers)) + value)
    start = offset + len(values)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", start) + b"".join(strips) + values + directory


def tiff_deflated(
    width: int, height: int, samples: int = 1, bits: int = 8, tags=None, rows: int | None = None
) -> bytes:
    """A TIFF of one tone in Deflate, in one strip or in several."""
    rows = rows or height
    strip = deflated(bytes((width * samples * bits + 7) // 8), rows)
    expected = {258: (3, [bits] * samples), 259: (3, [8]), 262: (3, [2 if samples >= 3 else 1]), 277: (3, [samples])}
    return tiff(width, height, expected | (tags or {}), [strip] * -(-height // rows))


def tiff_tiled(width: int, height: int, tile: int) -> bytes:
    """A TIFF in tiles, all of them the same few bytes."""
    count = -(-width // tile) * -(-height // tile)
    packed = deflated(bytes(tile), tile)
    content = tiff(width, height, {259: (3, [8]), 322: (4, [tile]), 323: (4, [tile])}, [packed])
    return content if count == 1 else tiff(
        width, height, {259: (3, [8]), 322: (4, [tile]), 323: (4, [tile]), 324: (4, [8] * count),
                        325: (4, [len(packed)] * count)}, [packed]
    )  # fmt: skip


def tiff_of_overlapping_tags(count: int) -> bytes:
    """A TIFF of one pixel whose tags all claim the same megabytes."""
    body = bytes(JUNK_BYTES)
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, 1)]  # fmt: skip
    entries += [(40000 + number, 7, JUNK_BYTES, 8) for number in range(count)]
    return exif(entries, body)


def bmp_run_lengths(width: int, height: int, runs: int) -> bytes:
    """A BMP in run lengths, of runs of one pixel."""
    body = b"\x01\x00" * runs + b"\x00\x01"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + bytes(1024) + body


def bmp_delta(width: int, height: int) -> bytes:
    """A BMP in run lengths that jumps over all its pixels."""
    body = b"\x00\x02\xff\xff" * (height // 255 + 1) + b"\x00\x01"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(head) + 1024
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + head + bytes(1024) + body


def as_arithmetic(content: bytes) -> bytes:
    """A JPEG that says it is arithmetically coded."""
    return content.replace(b"\xff\xc0", b"\xff\xc9", 1).replace(b"\xff\xc2", b"\xff\xca", 1)


TRANSPARENT = chunk(b"tRNS", bytes(range(256)))

CRAFTED: dict[str, Callable[[], bytes]] = {
    "png 100,000,000 x 1": lambda: png(100_000_000, 1, 8, 0),
    "png 1 x 10,000,000": lambda: png(1, 10_000_000, 8, 0),
    "png 65,535 x 1,525": lambda: png(65_535, 1_525, 8, 6),
    "png 10,000 x 10,000 palette, transparent": lambda: png(10_000, 10_000, 8, 3, extra=TRANSPARENT),
    "png 10,000 x 10,000 one bit, palette, transparent": lambda: png(10_000, 10_000, 1, 3, extra=TRANSPARENT),
    "png 10,000 x 10,000 RGBA": lambda: png(10_000, 10_000, 8, 6),
    "png 10,000 x 10,000 RGBA, 16 bits": lambda: png(10_000, 10_000, 16, 6),
    "png 10,000 x 10,000 RGB, 16 bits": lambda: png(10_000, 10_000, 16, 2),
    "png 10,000 x 10,000 gray and alpha": lambda: png(10_000, 10_000, 8, 4),
    "png 10,000 x 10,000 gray, 16 bits": lambda: png(10_000, 10_000, 16, 0),
    "png 14,000 x 14,000 gray, one bit": lambda: png(14_000, 14_000, 1, 0),
    "png 8,000 x 8,000 interlaced": lambda: png(8_000, 8_000, 8, 6, interlace=1),
    "png 60,000 x 60,000": lambda: png(60_000, 60_000, 1, 0),
    "png with text of 100 MB": lambda: png(8, 8, extra=chunk(
        b"iTXt", b"a\0\1\0\0\0" + zlib.compress(bytes(100 << 20), 1))),
    "png with 300 texts": lambda: png(8, 8, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 20))) * 300),
    "png with a profile of 500 MB": lambda: png(8, 8, extra=chunk(b"iCCP", b"a\0\0" + deflated(bytes(1 << 20), 500))),
    "png with 2,000,000 chunks": lambda: png(8, 8, extra=chunk(b"abCd") * 2_000_000),
    "png with a huge EXIF": lambda: png(8, 8, extra=chunk(b"eXIf", exif(
        [(n, 7, JUNK_BYTES, 8) for n in range(1, 60)], bytes(JUNK_BYTES)))),
    "png with 100,000 frames": lambda: png(8, 8, extra=chunk(b"acTL", struct.pack(">II", 100_000, 0))),
    "jpeg 65,500 x 65,500 of nothing": lambda: claiming(jpeg(64, 64), 65_500, 65_500),
    "jpeg progressive 65,500 x 65,500 of nothing": lambda: claiming(jpeg(64, 64, progressive=True), 65_500, 65_500),
    "jpeg progressive, 3,000 scans": lambda: with_scans(jpeg(3_000, 3_000, progressive=True), 3_000),
    "jpeg progressive, 100 scans of 24 MP": lambda: with_scans(jpeg(6_000, 4_000, progressive=True), 100),
    "jpeg progressive, 40 scans of 64 MP": lambda: with_scans(jpeg(8_000, 8_000, progressive=True), 40),
    "jpeg CMYK, progressive, 1,000 scans": lambda: with_scans(jpeg(2_000, 2_000, "CMYK", progressive=True), 1_000),
    "jpeg CMYK, progressive, 10,000 x 10,000": lambda: claiming(jpeg(64, 64, "CMYK", progressive=True), 10_000, 10_000),
    "jpeg CMYK 10,000 x 10,000": lambda: claiming(jpeg(64, 64, "CMYK"), 10_000, 10_000),
    "jpeg arithmetic, 16,000 x 12,000": lambda: as_arithmetic(claiming(jpeg(64, 64), 16_000, 12_000)),
    "jpeg arithmetic, progressive, 16,000 x 12,000": lambda: as_arithmetic(
        claiming(jpeg(64, 64, progressive=True), 16_000, 12_000)),
    "jpeg 65,500 x 100": lambda: jpeg(65_500, 100),
    "jpeg with a flood of restarts": lambda: jpeg(9_000, 9_000, restart_marker_blocks=1),
    "jpeg with junk before its frame": lambda: jpeg(64, 64)[:2] + bytes(JUNK_BYTES) + jpeg(64, 64)[2:],
    "jpeg with 4,000,000 segments": lambda: with_segments(jpeg(64, 64), segment(0xFE, b""), 4_000_000),
    "jpeg with 400 EXIF segments": lambda: with_segments(
        jpeg(64, 64), segment(0xE1, b"Exif\0\0" + bytes(65_000)), 400),
    "jpeg with an EXIF that overlaps": lambda: with_segments(jpeg(64, 64), segment(0xE1, b"Exif\0\0" + exif(
        [(n, 7, 32_000, 8) for n in range(1, 2_500)], bytes(34_000)))),
    "jpeg with 400 EXIF segments full of tags": lambda: with_segments(jpeg(64, 64), segment(0xE1, b"Exif\0\0" + exif(
        [(n, 7, 32_000, 8) for n in range(1, 5_000)])), 400),
    "jpeg of 50,000 tables": lambda: with_segments(jpeg(64, 64), segment(0xDD, b"\0\0"), 49_000),
    "jpeg with a fill of FF": lambda: jpeg(64, 64)[:2] + b"\xff" * JUNK_BYTES + jpeg(64, 64)[2:],
    "gif 65,535 x 65,535": lambda: gif(65_535, 65_535, (0, 0, 1, 1)),
    "gif with a frame off screen": lambda: gif(8, 8, (60_000, 60_000, 500, 500)),
    "gif 10,000 x 10,000, transparent": lambda: gif(10_000, 10_000, (0, 0, 10_000, 10_000)),
    "gif 14,000 x 14,000 of one pixel": lambda: gif(14_000, 14_000, (0, 0, 1, 1)),
    "gif of 200,000 frames": lambda: gif(8, 8, (0, 0, 8, 8), 200_000),
    "webp 16,383 x 16,383": lambda: webp_claiming(16_383, 16_383),
    "webp 16,777,216 x 255": lambda: webp_claiming(16_777_216, 255, 1),
    "webp lossless 16,383 x 16,383": lambda: webp_lossless(16_383, 16_383),
    "webp lossless 5,000 x 5,000": lambda: webp_lossless(5_000, 5_000),
    "webp of 10,000 frames": lambda: webp_claiming(4_000, 4_000, 10_000),
    "webp with a canvas of 12,000 x 12,000": lambda: webp_claiming(12_000, 12_000, 2),
    "tiff deflated 30,000 x 30,000": lambda: tiff_deflated(30_000, 30_000),
    "tiff deflated 10,000 x 10,000, one strip": lambda: tiff_deflated(10_000, 10_000, 3),
    "tiff deflated 9,000 x 9,000, RGBA": lambda: tiff_deflated(9_000, 9_000, 4, tags={338: (3, [2])}, rows=100),
    "tiff deflated 8,000 x 8,000, 16 bits": lambda: tiff_deflated(8_000, 8_000, 3, 16, rows=100),
    "tiff deflated 10,000 x 10,000, floats": lambda: tiff_deflated(10_000, 10_000, 1, 32, {339: (3, [3])}, rows=100),
    "tiff deflated 10,000 x 10,000, one bit": lambda: tiff_deflated(10_000, 10_000, 1, 1),
    "tiff in tiles of 16": lambda: tiff_tiled(8_000, 8_000, 16),
    "tiff in one tile of 20,000": lambda: tiff_tiled(8, 8, 20_000),
    "tiff whose tags overlap": lambda: tiff_of_overlapping_tags(100),
    "tiff with a tag 60,000 times": lambda: exif([(273, 4, 250_000, 8)] * 60_000, bytes(1 << 20)),
    "tiff of rows that are not there": lambda: tiff(30_000, 30_000, {}, [b"\0"]),
    "bmp in run lengths": lambda: bmp_run_lengths(6_000, 6_000, 12_000_000),
    "bmp that jumps": lambda: bmp_delta(10_000, 10_000),
    "bmp 50,000 x 50,000": lambda: b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0),
}  # fmt: skip


def claiming(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that says it is larger than its data."""
    offset = next(re.finditer(rb"\xff[\xc0-\xc2]", content)).start() + 5
    return content[:offset] + struct.pack(">HH", height, width) + content[offset + 4 :]


def ordinary(width: int, height: int, **options) -> bytes:
    """A photograph as cameras make them: detail everywhere."""
    tile = Image.effect_noise((500, 500), 70).resize((1000, 1000), Image.Resampling.BICUBIC)
    image = Image.new("RGB", (width, height))
    colors = Image.merge("RGB", [tile, tile.rotate(90), tile.rotate(180)])
    for top in range(0, height, 1000):
        for left in range(0, width, 1000):
            image.paste(colors, (left, top))
    return saved(image, "JPEG", **options)
