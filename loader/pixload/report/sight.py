"""What a network sees in an image: maps of some of its layers."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from pixload.errors import PixError

LAYERS = 4
MAPS = 12


@dataclass
class Sheet:
    """The strongest maps of a layer, as (channel, data: URL)."""

    item_id: str
    layer: str
    size: str
    maps: list[tuple[int, str]]


def contact_sheets(connection, model_name: str, item_id: str) -> list[Sheet]:
    """Return maps of layers from the first to the last, for an item's image.

    Raises
    ------
    PixError
        If the item has no image.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pix.images WHERE item_id = %s", (item_id,))
        if cursor.fetchone() == (0,):
            raise PixError(
                f"Item {item_id} has no image.", "SELECT item_id FROM pix.images lists the items that have one."
            )
        cursor.execute(
            "SELECT layer, shape[3] || ' × ' || shape[4] FROM pix.model_layers(%s) "
            "WHERE cardinality(shape) = 4 AND shape[3] > 1",
            (model_name,),
        )
        layers = cursor.fetchall()
        step = max(1, (len(layers) - 1) / max(1, LAYERS - 1))
        chosen = sorted({round(step * number) for number in range(LAYERS) if round(step * number) < len(layers)})
        sheets = []
        for layer, size in (layers[number] for number in chosen):
            cursor.execute(
                "SELECT channel, image FROM pix.feature_maps("
                "(SELECT content FROM pix.images WHERE item_id = %s), %s, %s, k => %s) ORDER BY rank",
                (item_id, model_name, layer, MAPS),
            )
            maps = [(channel, _url(image)) for channel, image in cursor]
            sheets.append(Sheet(item_id, layer, size, maps))
    return sheets


def _url(image: memoryview) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()
