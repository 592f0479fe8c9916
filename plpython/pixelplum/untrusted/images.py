"""Images, weighed before they are decoded: what is let in takes 500 MB and two seconds at most."""

from __future__ import annotations

import io
import logging
import warnings
from math import ceil

import numpy as np
from PIL import Image, UnidentifiedImageError

from pixelplum.errors import ImageError, ImageTooLarge
from pixelplum.untrusted import bmp, gif, jpeg, png, tiff, webp
from pixelplum.untrusted.outlines import Outline

MOST_BYTES = 500_000_000
MOST_SECONDS = 2.0

USUAL_SIZE = 299
"""Pixels of the side that a network takes, where none is meant."""

STRIP_PIXELS = 1 << 20
"""Pixels that are brought to RGB at once."""

PALETTES = ("1", "P", "PA")
"""Modes whose numbers have no average."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# What an image may weigh is decided here; Pillow would only warn.
Image.MAX_IMAGE_PIXELS = None
# A damaged TIFF is an error here; Pillow would also report it on the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())


def outline(content: bytes) -> Outline:
    """Read what a file says of its image. No pixel is decoded.

    Raises
    ------
    ImageError
        If the bytes are empty, or not an image in a format that is decoded.
    ImageTooLarge
        If a side is too long, or the file has too many parts.
    """
    if not content:
        raise ImageError("The image is empty (0 bytes)")
    if content.startswith(jpeg.START):
        return jpeg.read(content)
    if content.startswith(png.START):
        return png.read(content)
    if content.startswith(gif.START):
        return gif.read(content)
    if content.startswith(webp.START) and content[8:12] == webp.KIND:
        return webp.read(content)
    if content.startswith(tiff.STARTS):
        return tiff.read(content)
    if content.startswith(bmp.START):
        return bmp.read(content)
    raise ImageError("The bytes are not an image in a known format")


def weigh(file: Outline, width: int = USUAL_SIZE, height: int = USUAL_SIZE) -> None:
    """Refuse an image that takes too much memory or time to be decoded for a size.

    Raises
    ------
    ImageTooLarge
        If it does.
    """
    scale = _scale(file, width, height)
    across, down = ceil(file.width / scale), ceil(file.height / scale)
    factor = max(1, _factor((across, down), width, height, file.orientation))
    pixels, kept = across * down, ceil(across / factor) * ceil(down / factor)
    # What it becomes, in RGB; what that becomes when it is turned, or while it is scaled, one axis after the other.
    after = 4 * (kept + max(kept if file.orientation > 1 else 0, width * down / factor))
    memory = len(file.content) + file.fixed_bytes + file.bytes_each * pixels + after
    seconds = file.fixed_seconds + (file.ns_each * pixels + 10 * kept) / 1e9
    if memory > MOST_BYTES or seconds > MOST_SECONDS:
        raise ImageTooLarge(
            f"The image, {file.format} of {file.width} x {file.height} pixels, takes "
            f"{memory / 1e6:,.0f} MB and {seconds:.1f} s to decode, more than {MOST_BYTES / 1e6:,.0f} MB "
            f"or {MOST_SECONDS:.0f} s"
        )


def decode(content: bytes, width: int, height: int) -> Image.Image:
    """Decode an image that is going to be scaled to a size, at least twice as large as that if it can be had.

    EXIF orientation is applied, transparency is flattened on white, any
    color mode becomes RGB, 16-bit gray is brought to 8 bits, and of an
    animation the first frame is taken.

    Parameters
    ----------
    content : bytes
        A file in one of the formats of this package.
    width, height : int
        The size in pixels.

    Returns
    -------
    PIL.Image.Image
        In RGB.

    Raises
    ------
    ImageError
        If the bytes are empty, truncated, or not an image, or memory is short.
    ImageTooLarge
        If it takes too much to decode.
    """
    try:
        file = outline(content)
        weigh(file, width, height)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on what does not concern the pixels
            return _decode(file, width, height)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("There is no memory to decode the image", hint="Give the host more memory.") from error
    except UnidentifiedImageError as error:
        raise ImageError("The bytes are not an image in a known format") from error
    except Exception as error:  # Pillow's plugins raise nearly every class there is
        raise ImageError(f"The bytes are not an image that can be read: {error}") from error


def _scale(file: Outline, width: int, height: int) -> int:
    """A JPEG is decoded at the nearest binary fraction of its size: much faster, no visible loss."""
    if not file.is_scalable:
        return 1
    room = min(file.width // (2 * width), file.height // (2 * height))
    return next(scale for scale in (8, 4, 2, 1) if scale <= max(room, 1))


def _factor(size: tuple[int, int], width: int, height: int, orientation: int) -> int:
    if orientation > 4:
        width, height = height, width
    return min(size[0] // (2 * width), size[1] // (2 * height))


def _decode(file: Outline, width: int, height: int) -> Image.Image:
    image = Image.open(io.BytesIO(file.content), formats=(file.format,))
    if image.width * image.height > file.width * file.height:
        raise ImageError(f"The image has {image.width} x {image.height} pixels, more than its file says")
    image.draft("RGB", (2 * width, 2 * height))
    image.load()
    small = _reduced(image, max(1, _factor(image.size, width, height, file.orientation)))
    return small.transpose(TURNS[file.orientation]) if file.orientation in TURNS else small


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Reduce an image by a whole factor, and bring it to RGB, strip by strip: a copy of all takes as much again."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image.reduce(factor) if factor > 1 else image
    largest = image.getextrema()[1] if image.mode in ("I", "F") else None
    page = Image.new("RGB", (ceil(image.width / factor), ceil(image.height / factor)))
    rows = factor * max(1, STRIP_PIXELS // (factor * image.width))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        if strip.mode in PALETTES or strip.mode.startswith("I;16"):
            strip = _to_rgb(strip, largest)
        strip = _to_rgb(strip.reduce(factor) if factor > 1 else strip, largest)
        page.paste(strip, (0, top // factor))
    return page


def _to_rgb(image: Image.Image, largest: float | None) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        scale = 255 / 65535 if largest > 255 else 1
        return Image.fromarray(np.clip(np.asarray(image) * scale, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")
