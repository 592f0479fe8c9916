"""Images to feature vectors: the row path, which never queries the database, and the extraction of all of them."""

from __future__ import annotations

import json
import time
from collections import OrderedDict

from pixelplum.core.networks.onnx import LOADED_PER_STORED, Network
from pixelplum.core.search import vectors
from pixelplum.errors import EngineMissing, ImageError, ModelBroken, ModelMissing, SettingUnusable, shown
from pixelplum.server import cache as files
from pixelplum.server import packing
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

DEFAULTS = {"model_memory_mb": 1024, "tensorflow_threads": 1, "tensorflow_memory_mb": 2048}
"""What holds where pix.settings says nothing."""


FORGET_OLD_FAILURES = """
DELETE FROM pix.extraction_failures x WHERE x.model_name = $model_name::text
    AND ($retry_failed::bool OR NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = x.item_id))
"""
FORGET_FEATURES_WITHOUT_IMAGES = """
DELETE FROM pix.features f WHERE f.model_name = $model_name::text
    AND NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = f.item_id)
"""
PENDING = """
SELECT p.item_id FROM pix.pending_images p WHERE p.model_name = $model_name::text AND p.item_id > $low::text
ORDER BY p.item_id LIMIT $chunk_size::int8
"""
# One table, and no index: parallel workers share out the few rows of a page, not the hundreds of an index's.
EMBEDDED = """
SELECT i.item_id, i.sha256, pix_internal.try_embed(i.content, $checksum::text, $engine::text) AS embedding
FROM pix.images i WHERE i.item_id = ANY ($item_ids::text[])
"""
FORGET_FAILURES = """
DELETE FROM pix.extraction_failures x WHERE x.model_name = $model_name::text AND x.item_id = ANY ($item_ids::text[])
"""
STORE_FAILURES = """
INSERT INTO pix.extraction_failures (item_id, model_name, model_checksum, image_sha256, sqlstate, reason)
SELECT c.item_id, $model_name::text, $model_checksum::text, c.sha256, (c.embedding).sqlstate, (c.embedding).reason
FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NOT NULL
"""
FORGET_FAILED = """
DELETE FROM pix.features f WHERE f.model_name = $model_name::text AND f.item_id IN (
    SELECT c.item_id FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NOT NULL
)
"""
STORE_FEATURES = """
INSERT INTO pix.features AS f (item_id, model_name, model_checksum, image_sha256, vector)
SELECT c.item_id, $model_name::text, $model_checksum::text, c.sha256, (c.embedding).vector
FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NULL
ON CONFLICT ON CONSTRAINT features_pkey DO UPDATE SET
    model_checksum = excluded.model_checksum, image_sha256 = excluded.image_sha256,
    vector = excluded.vector, extracted_at = excluded.extracted_at
"""
START_RUN = """
INSERT INTO pix.extraction_runs AS r (model_name, extracted, failed, seconds)
VALUES ($model_name::text, $extracted::int8, $failed::int8, $seconds::float8) RETURNING r.run_id
"""
CONTINUE_RUN = """
UPDATE pix.extraction_runs r SET extracted = r.extracted + $extracted::int8, failed = r.failed + $failed::int8,
    seconds = r.seconds + $seconds::float8
WHERE r.run_id = $run::int8
"""


@driver
def extract_some(
    database: Database, model_name: str, chunk_size: int, retry_failed: bool, engine: str, low: str | None = None,
    checksum: str | None = None, run: int | None = None,
) -> dict | None:  # fmt: skip
    """Compute the features of the next images: a part of ``pix.extract_features``.

    Two calls at once take turns, chunk by chunk, instead of doing the same work. Whoever writes does so in the order
    failures, features, runs: Greenplum locks whole tables, and another order would be a deadlock.

    Returns
    -------
    dict or None
        What the next call is to be given besides; None: there are no images left.
    """
    begun = time.monotonic()
    database.lock("extraction_runs", model_name)
    model = database.model(model_name)
    name = {"model_name": model_name}
    if low is None:
        database.run(FORGET_OLD_FAILURES, retry_failed=retry_failed, **name)
        database.run(FORGET_FEATURES_WITHOUT_IMAGES, **name)
    if low is None or model.checksum != checksum:
        low = ""  # if it was imported again during the run, what is done already is stale
    item_ids = [row["item_id"] for row in database.rows(PENDING, low=low, chunk_size=chunk_size, **name)]
    if not item_ids:
        # While an index is being built, blocks stay as they are: what is not packed is found all the same.
        if database.value("SELECT pix_internal.try_lock('packs', $model_name::text)", **name):
            packing.bring_up_to_date(database, model)
        return None
    embed_images(database, item_ids, model_checksum(database, model_name, engine), engine)
    database.run(FORGET_FAILURES, item_ids=item_ids, **name)
    failed = database.run(STORE_FAILURES, model_checksum=model.checksum, **name)
    database.run(FORGET_FAILED, **name)
    extracted = database.run(STORE_FEATURES, model_checksum=model.checksum, **name)
    done = {"extracted": extracted, "failed": failed, "seconds": time.monotonic() - begun}
    if run is None:
        run = int(database.returned(START_RUN, **done, **name))
    else:
        database.run(CONTINUE_RUN, run=run, **done)
    return {"low": item_ids[-1], "checksum": model.checksum, "run": run}


def model_checksum(database: Database, model_name: str, engine: str) -> str:
    """Return the checksum of the file that an engine runs."""
    return database.value(
        "SELECT pix_internal.model_checksum($model_name::text, $engine::text)", model_name=model_name, engine=engine
    )


def embed_images(database: Database, item_ids: list[str], checksum: str, engine: str) -> None:
    """Compute the features of images into the temporary table pix_chunk, on all cores or segments."""
    with database.workers():
        database.create_temporary("pix_chunk", EMBEDDED, "item_id", item_ids=item_ids, checksum=checksum, engine=engine)


def model_is_ready(plpy, cache: dict, checksum: str, engine: str, verify: bool, settings: str | None) -> bool:
    """Tell whether the model can be used here without restoring its file; remember the settings.

    Without settings, only what is in memory can be used.

    To verify the whole file takes a tenth of a second for Inception v3, too
    long for every parallel worker: those find out when they load it.
    """
    if settings is None:
        return checksum in cache.get("networks", ())
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


def embed(plpy, cache: dict, content: bytes, checksum: str, engine: str) -> dict:
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
