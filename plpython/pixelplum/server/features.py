"""Pictures to feature vectors: the row path, which never queries the database."""

from __future__ import annotations

from collections import OrderedDict

from pixelplum.core import vectors
from pixelplum.core.networks import Network
from pixelplum.errors import ModelBroken, ModelMissing, PictureError
from pixelplum.server import cache as files

NETWORKS_KEPT = 3
"""Networks that a backend keeps loaded; Inception v3 takes about 260 MB."""


def is_ready(plpy, cache: dict, checksum: str, verify: bool) -> bool:
    """Tell whether the model can be used here without restoring its file.

    To verify the whole file takes a tenth of a second for Inception v3, too
    long for every parallel worker: those find out when they load it.
    """
    if verify:
        return files.is_whole(checksum)
    try:
        network(cache, checksum)
    except ModelMissing:
        return False
    except ModelBroken:
        if files.is_whole(checksum):
            raise
        return False
    return True


def write_model_part(plpy, cache: dict, checksum: str, part: int, content: bytes) -> None:
    """Write one part of a model into this host's cache."""
    files.write_part(checksum, part, content)


def finish_model(plpy, cache: dict, checksum: str) -> None:
    """Check and name the file that `write_model_part` has written."""
    files.finish(checksum)


def embed(plpy, cache: dict, content: bytes, checksum: str) -> dict:
    """Return a `pix.embedding`: the vector, or why the picture has none.

    Only a bad picture is an answer. A broken model is an error: it would
    otherwise be told once per picture.
    """
    try:
        vector = network(cache, checksum).embed(content)
    except PictureError as error:
        return {"vector": None, "sqlstate": error.sqlstate, "reason": str(error), "hint": error.hint}
    return {"vector": vectors.to_bytes(vector), "sqlstate": None, "reason": None, "hint": None}


def network(cache: dict, checksum: str) -> Network:
    """Return the loaded network, the most recently used ones being kept."""
    networks = cache.setdefault("networks", OrderedDict())
    if checksum not in networks:
        if not files.is_there(checksum):
            raise ModelMissing(f"Model {checksum[:12]}… is not in the cache of this host")
        networks[checksum] = Network(files.path(checksum))
        while len(networks) > NETWORKS_KEPT:
            networks.popitem(last=False)
    networks.move_to_end(checksum)
    return networks[checksum]
