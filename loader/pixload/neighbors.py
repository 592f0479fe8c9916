"""Look-alikes, asked for and laid out."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg2

from pixload.options import named_arguments
from pixload.tables import Table

Neighbor = tuple[int, str, float, str | None]
"""rank, item_id, distance, title"""


def look_alikes_of_items(connection, item_ids: list[str], options: Mapping[str, object]) -> dict[str, list[Neighbor]]:
    """Return the look-alikes of each item; options are further arguments of pix.nearest_many."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT n.item_id, n.rank, n.neighbor_id, n.distance, i.title
            FROM pix.nearest_many(%(item_ids)s, {named_arguments(options)}) n
            LEFT JOIN pix.items i ON i.item_id = n.neighbor_id
            ORDER BY n.item_id, n.rank
            """,
            {**options, "item_ids": item_ids},
        )
        neighbors = {item_id: [] for item_id in item_ids}
        for item_id, *neighbor in cursor:
            neighbors[item_id].append(tuple(neighbor))
    return neighbors


def look_alikes_of_image(connection, content: bytes, options: Mapping[str, object]) -> list[Neighbor]:
    """Return the look-alikes of an image; options are further arguments of pix.nearest_to_image."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT n.rank, n.item_id, n.distance, i.title
            FROM pix.nearest_to_image(%(content)s, {named_arguments(options)}) n
            LEFT JOIN pix.items i USING (item_id)
            ORDER BY n.rank
            """,
            {**options, "content": psycopg2.Binary(content)},
        )
        return cursor.fetchall()


def neighbor_table(rows: list[Neighbor], title: str | None = None) -> Table:
    """Lay out look-alikes."""
    table = Table("rank", "item", "distance", "title", title=title)
    for rank, item_id, distance, item_title in rows:
        table.add_row(str(rank), item_id, f"{distance:.4f}", item_title)
    return table
