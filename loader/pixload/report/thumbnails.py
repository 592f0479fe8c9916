"""Thumbnails of pictures, as data: URLs of WebP files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from PIL import ImageOps

from pixelplum.errors import PictureError
from pixelplum.host import cores
from pixelplum.untrusted.pictures import decode

EDGE = 96
BATCH = 64


def read_pictures(connection, item_ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield items and their pictures, a few at a time in memory."""
    with connection.cursor("pictures") as cursor:  # of the server
        cursor.itersize = BATCH
        cursor.execute("SELECT item_id, content FROM pix.images WHERE item_id = ANY(%s)", (item_ids,))
        for item_id, content in cursor:
            yield item_id, bytes(content)


def thumbnails(pictures: Iterable[tuple[str, bytes]], quality: int, advance: Callable[[], None]) -> dict[str, str]:
    """Return a thumbnail for each picture that can be read.

    Parameters
    ----------
    pictures : iterable of (str, bytes)
        Items and files.
    quality : int
        Of WebP, from 0 to 100.
    advance : callable
        Called for each.
    """
    made = {}
    pictures = iter(pictures)
    with ThreadPoolExecutor(cores()) as pool:  # Pillow works without Python's lock
        while batch := list(islice(pictures, BATCH)):
            drawn = pool.map(lambda picture: thumbnail(picture[1], quality), batch)
            for (item_id, _), url in zip(batch, drawn, strict=True):
                if url is not None:
                    made[item_id] = url
                advance()
    return made


def thumbnail(content: bytes, quality: int) -> str | None:
    """Return a small square copy of a picture, on white, as a data: URL; None if it cannot be read."""
    try:
        picture = decode(content, EDGE, EDGE)
    except PictureError:
        return None
    page = ImageOps.pad(picture, (EDGE, EDGE), color="white")
    stream = io.BytesIO()
    page.save(stream, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
