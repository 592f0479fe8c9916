"""What a network sees, in SQL."""

from __future__ import annotations

from pixelplum.core.networks.layers import Layers
from pixelplum.server import cache as files


def list_layers(plpy, cache: dict, checksum: str) -> list[tuple[str, str, list[int]]]:
    """Return the layers of a network as `pix.layer` rows."""
    return Layers(files.existing(checksum)).describe()


def draw_maps(
    plpy, cache: dict, content: bytes, checksum: str, layer: str, k: int
) -> list[tuple[int, int, float, bytes]]:
    """Return the strongest maps of a layer as `pix.channel_map` rows."""
    drawn = Layers(files.existing(checksum)).draw_maps(content, layer, k)
    return [(rank, *row) for rank, row in enumerate(drawn, 1)]
