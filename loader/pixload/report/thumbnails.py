"""Thumbnails of images, as data: URLs of WebP files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from PIL import ImageOps

from pixelplum.errors import ImageError
from pixelplum.host import cores
from pixelplum.untrusted.images import decode

EDGE = 96
BATCH = 64


def read_images(connection, item_ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield items and their images, a few at a time in memory."""
    with connection.cursor("images") as cursor:  # of the server
        cursor.itersize = BATCH
        cursor.execute("SELECT item_id, content FROM pix.images WHERE item_id = ANY(%s)", (item_ids,))
        for item_id, content in cursor:
            yield item_id, bytes(content)


def thumbnails(images: Iterable[tuple[str, bytes]], quality: int, advance: Callable[[], None]) -> dict[str, str]:
    """Return a thumbnail for each image that can be read.

    Parameters
    ----------
    images : iterable of (str, bytes)
        Items and files.
    quality : int
        Of WebP, from 0 to 100.
    advance : callable
        Called for each.
    """
    made = {}
    images = iter(images)
    with ThreadPoolExecutor(cores()) as pool:  # Pillow works without Python's lock
        while batch := list(islice(images, BATCH)):
            drawn = pool.map(lambda image: thumbnail(image[1], quality), batch)
            for (item_id, _), url in zip(batch, drawn, strict=True):
                if url is not None:
                    made[item_id] = url
                advance()
    return made


def thumbnail(content: bytes, quality: int) -> str | None:
    """Return a small square copy of an image, on white, as a data: URL; None if it cannot be read."""
    try:
        image = decode(content, EDGE, EDGE)
    except ImageError:
        return None
    page = ImageOps.pad(image, (EDGE, EDGE), color="white")
    stream = io.BytesIO()
    page.save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
