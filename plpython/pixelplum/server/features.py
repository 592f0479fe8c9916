"""Images to feature vectors: the row path, which never queries the database."""

from __future__ import annotations

import json
from collections import OrderedDict

from pixelplum.core.networks.onnx import LOADED_PER_STORED, Network
from pixelplum.core.search import vectors
from pixelplum.errors import EngineMissing, ImageError, ModelBroken, ModelMissing, SettingUnusable, shown
from pixelplum.server import cache as files

DEFAULTS = {"model_memory_mb": 1024, "tensorflow_threads": 1, "tensorflow_memory_mb": 2048}
"""What holds where pix.settings says nothing."""


def model_is_loaded(plpy, cache: dict, checksum: str) -> bool:
    """Tell whether this backend has the network in memory."""
    return checksum in cache.get("networks", ())


def model_is_ready(plpy, cache: dict, checksum: str, engine: str, verify: bool, settings: str) -> bool:
    """Tell whether the model can be used here without restoring its file; remember the settings.

    To verify the whole file takes a tenth of a second for Inception v3, too
    long for every parallel worker: those find out when they load it.
    """
    cache["settings"] = json.loads(settings)
    if verify:
        return files.is_whole(checksum)
    try:
        network(cache, checksum, engine)
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


def run_model(plpy, cache: dict, content: bytes, checksum: str, engine: str) -> dict:
    """Return a `pix_internal.embedding`: the vector, or why the image has none.

    Only a bad image is an answer. A broken model is an error: it would
    otherwise be told once per image.
    """
    try:
        vector = network(cache, checksum, engine).embed(content)
    except ImageError as error:
        return {"vector": None, "sqlstate": error.sqlstate, "reason": str(error), "hint": error.hint}
    return {"vector": vectors.to_bytes(vector), "sqlstate": None, "reason": None, "hint": None}


def network(cache: dict, checksum: str, engine: str) -> Network:
    """Return the loaded network; those used most recently are kept, as many as memory is set for."""
    networks: OrderedDict[str, Network] = cache.setdefault("networks", OrderedDict())
    if checksum not in networks:
        path = files.existing(checksum)
        make_room(networks, LOADED_PER_STORED * path.stat().st_size, setting(cache, "model_memory_mb") << 20)
        networks[checksum] = _load(path, engine, cache)
    networks.move_to_end(checksum)
    return networks[checksum]


def make_room(networks: OrderedDict[str, Network], size: int, limit: int) -> None:
    """Unload the networks that were used longest ago, until one more fits, or none is left.

    Parameters
    ----------
    networks : OrderedDict
        By checksum, the one that was used last at the end.
    size : int
        Bytes that the network takes that is going to be loaded.
    limit : int
        Bytes that loaded networks may take.
    """
    while networks and sum(network.loaded_bytes for network in networks.values()) + size > limit:
        networks.popitem(last=False)


def setting(cache: dict, key: str) -> int:
    """Return a number of pix.settings, or its default.

    Raises
    ------
    SettingUnusable
        If it is not a number above zero.
    """
    text = cache.get("settings", {}).get(key, str(DEFAULTS[key]))
    if not text.isdecimal() or not int(text):
        raise SettingUnusable(
            f"The setting {key} is {text!r}, not a number above zero",
            hint=f"UPDATE pix.settings SET value = '{DEFAULTS[key]}' WHERE key = '{key}'",
        )
    return int(text)


def _load(path, engine: str, cache: dict) -> Network:
    if engine == "onnxruntime":
        return Network(path)
    if engine == "tensorflow":
        from pixelplum.core.networks.tensorflow import TensorFlowNetwork

        return TensorFlowNetwork(path, setting(cache, "tensorflow_threads"), setting(cache, "tensorflow_memory_mb"))
    raise EngineMissing(f"The engine {shown(engine)} is not known", hint="Use one of: onnxruntime, tensorflow.")
