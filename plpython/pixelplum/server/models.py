"""What a stored model says of itself."""

from __future__ import annotations

import json

from pixelplum.core.networks.sight import check_sight as check
from pixelplum.server import cache as files
from pixelplum.server.features import network


def inspect_model(plpy, cache: dict, checksum: str, engine: str) -> dict:
    """Load a model from this host's cache and describe it.

    Returns
    -------
    dict
        ``dimensions`` (int), ``size_bytes`` (int) and ``spec`` (JSON text).
    """
    model = network(cache, checksum, engine)
    return {
        "dimensions": model.dimensions,
        "size_bytes": files.path(checksum).stat().st_size,
        "spec": json.dumps(model.spec),
    }


def check_sight(plpy, cache: dict, checksum: str) -> None:
    """Refuse a network that does not tell images apart."""
    check(network(cache, checksum, "onnxruntime"))
