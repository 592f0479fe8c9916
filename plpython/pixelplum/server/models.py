"""What a stored model says of itself."""

from __future__ import annotations

import json

from pixelplum.core.networks.sight import check_sight
from pixelplum.server import cache as files
from pixelplum.server.features import network


def inspect_model(plpy, cache: dict, checksum: str, engine: str, has_to_see: bool) -> dict:
    """Load a model from this host's cache and describe it; if it has to see, refuse one that tells no images apart.

    Returns
    -------
    dict
        ``dimensions`` (int), ``size_bytes`` (int) and ``spec`` (JSON text).
    """
    model = network(cache, checksum, engine)
    if has_to_see:
        check_sight(model)
    return {
        "dimensions": model.dimensions,
        "size_bytes": files.path(checksum).stat().st_size,
        "spec": json.dumps(model.spec),
    }
