"""Metadata as features: how they are encoded, learned from items; and models whose vectors have them appended."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.networks import metadata_features
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.errors import BaseModelChanged, UnusableModelName, literal
from pixelplum.server import packing
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver

SAMPLED = 50_000
"""Items that encodings are learned from, at most."""
CHUNK_ITEMS = 20_000
CHUNK_BYTES = 64 << 20
"""Of what is appended to vectors, in one statement."""

SAMPLE = """
SELECT pix_internal.item_metadata(s.item_id, i) AS metadata FROM (
    SELECT f.item_id FROM pix.features f WHERE f.model_name = $base_model::text AND f.packed_in IS NOT NULL
    ORDER BY md5('7' || f.item_id), f.item_id LIMIT $count::int8
) s
LEFT JOIN pix.items i ON i.item_id = s.item_id
ORDER BY s.item_id
"""
NORMS = "SELECT b.norms FROM pix_internal.feature_blocks b WHERE b.model_name = $base_model::text"
IS_OTHER = """
SELECT EXISTS (SELECT FROM pix.models m WHERE m.model_name = $model_name::text)
    AND NOT EXISTS (SELECT FROM pix.metadata_models d WHERE d.model_name = $model_name)
"""
STORE_MODEL = """
INSERT INTO pix.models AS m (model_name, checksum, dimensions, source)
VALUES ($model_name::text, encode(sha256(convert_to(
    concat_ws(' ', $base_model::text, $base_checksum::text, $fitted_state::jsonb), 'UTF8')), 'hex'),
    $dimensions::int, $source::text)
ON CONFLICT ON CONSTRAINT models_pkey DO UPDATE SET
    checksum = excluded.checksum, dimensions = excluded.dimensions, source = excluded.source, imported_at = now()
"""
FITTED = "SELECT d.* FROM pix.metadata_models d WHERE d.model_name = $model_name::text"
FORGET = "DELETE FROM pix.metadata_models d WHERE d.model_name = $model_name::text"
STORE = """
INSERT INTO pix.metadata_models
    (model_name, base_model, base_checksum, fields, weight, terms, dimensions, items, fitted_state)
VALUES ($model_name::text, $base_model::text, $base_checksum::text, $fields::text[], $weight::float8, $terms::int,
    $columns::int, $items::int8, $fitted_state::jsonb)
"""
COUNT = "SELECT count(*) FROM pix.features f WHERE f.model_name = $model_name::text"
FORGET_VECTORS = """
DELETE FROM pix.features f WHERE f.model_name = $model_name::text AND NOT EXISTS (
    SELECT FROM pix.features b
    WHERE b.item_id = f.item_id AND b.model_name = $base_model::text AND b.packed_in IS NOT NULL
)
"""
# A vector is as of the later of its image's features and its metadata, and that is its extracted_at: where it differs,
# there is something new.
CHUNK = """
SELECT b.item_id, greatest(b.extracted_at, i.loaded_at)::text AS moment,
    pix_internal.item_metadata(b.item_id, i) AS metadata
FROM pix.features b
LEFT JOIN pix.items i ON i.item_id = b.item_id
LEFT JOIN pix.features f ON f.item_id = b.item_id AND f.model_name = $model_name::text
WHERE b.model_name = $base_model::text AND b.packed_in IS NOT NULL AND b.item_id > $low::text
    AND (f.model_checksum, f.image_sha256, f.extracted_at) IS DISTINCT FROM
        ($checksum::text, b.image_sha256, greatest(b.extracted_at, i.loaded_at))
ORDER BY b.item_id LIMIT $at_once::int
"""
# Vectors are joined where they are stored; only metadata travel.
APPEND = """
INSERT INTO pix.features AS f (item_id, model_name, model_checksum, image_sha256, vector, extracted_at)
SELECT b.item_id, $model_name::text, $checksum::text, b.image_sha256, b.vector || e.encoded, e.moment
FROM unnest($item_ids::text[], $encoded::bytea[], $moments::timestamptz[]) e (item_id, encoded, moment)
JOIN pix.features b ON b.item_id = e.item_id AND b.model_name = $base_model::text
ON CONFLICT ON CONSTRAINT features_pkey DO UPDATE SET
    model_checksum = excluded.model_checksum, image_sha256 = excluded.image_sha256,
    vector = excluded.vector, extracted_at = excluded.extracted_at
"""


@driver
def fit_metadata(
    database: Database, model_name: str, base_model: str | None, fields: list[str], weight: float | str | None,
    terms: int,
) -> None:  # fmt: skip
    """Learn how metadata are encoded, and make vectors with them: the body of ``pix.fit_metadata``."""
    used_weight = None if weight is None else float(weight)  # JSON has no NaN: it comes as text
    metadata_features.check(fields, used_weight, terms)
    database.lock("models", "all")
    base = database.model(base_model)
    refuse_name(database, model_name, base)
    database.lock("extraction_runs", model_name)
    packing.pack(database, base)
    sample = [row["metadata"] for row in database.rows(SAMPLE, base_model=base.model_name, count=SAMPLED)]
    norms = b"".join(row["norms"] for row in database.rows(NORMS, base_model=base.model_name))

    def learn() -> dict:
        lengths = np.frombuffer(norms, FLOAT32).astype(float)
        mean_length = float(np.sqrt((lengths**2).mean()))
        return metadata_features.fit(read_items(sample), fields, terms, used_weight * mean_length)

    fitted_state = database.work(learn)
    encoding, columns = json.dumps(fitted_state), fitted_state["columns"]
    database.run(
        STORE_MODEL, model_name=model_name, dimensions=base.dimensions + columns,
        base_model=base.model_name, base_checksum=base.checksum, fitted_state=encoding,
        source=f"{base.model_name} with {', '.join(fields)}",
    )  # fmt: skip
    append_metadata(database, database.model(model_name), base, fitted_state)
    database.run(FORGET, model_name=model_name)
    database.run(
        STORE, model_name=model_name, base_model=base.model_name, base_checksum=base.checksum, fields=fields,
        weight=used_weight, terms=terms, columns=columns, fitted_state=encoding,
        items=database.value(COUNT, model_name=model_name),
    )  # fmt: skip


@driver
def refresh_metadata(database: Database, model_name: str | None) -> int:
    """Bring the vectors of a model with metadata up to date: the body of ``pix.refresh_metadata``."""
    name = database.model(model_name).model_name
    database.lock("extraction_runs", name)
    model = database.model(name)
    fitted = database.row(FITTED, model_name=name)
    if fitted is None:
        raise UnusableModelName(
            f"Model {literal(name)} has no metadata",
            hint="Name one of: SELECT model_name FROM pix.metadata_models; pix.fit_metadata makes one.",
        )
    base = database.model(fitted["base_model"])
    if base.checksum != fitted["base_checksum"] or base.dimensions != model.dimensions - fitted["dimensions"]:
        raise BaseModelChanged(
            f"Model {literal(base.model_name)} was imported again since {literal(name)} was made of it",
            hint=f"Make it again: SELECT pix.fit_metadata({literal(name)}, {literal(base.model_name)}, …)",
        )
    packing.bring_up_to_date(database, base)
    appended = append_metadata(database, model, base, json.loads(fitted["fitted_state"]))
    database.run(
        "UPDATE pix.metadata_models d SET items = $items::int8 WHERE d.model_name = $model_name::text",
        items=database.value(COUNT, model_name=name), model_name=name,
    )  # fmt: skip
    return appended


def refuse_name(database: Database, model_name: str, base: Model) -> None:
    """Refuse the name of the base model, or of a model of another kind."""
    if model_name == base.model_name:
        raise UnusableModelName(
            f"model_name must be a new name, not that of the base model, {literal(model_name)}",
            hint=f"Use another one, such as {literal(base.model_name[:190] + '_metadata')}.",
        )
    if database.value(IS_OTHER, model_name=model_name):
        raise UnusableModelName(
            f"Model {literal(model_name)} has a graph, or features of its own, and is not overwritten",
            hint="Use another name, or drop that model first: SELECT pix.drop_model(…)",
        )


def append_metadata(database: Database, model: Model, base: Model, fitted_state: dict) -> int:
    """Make the vectors that a model lacks, or that are out of date, from packed ones of another; return how many."""
    names = {"model_name": model.model_name, "base_model": base.model_name}
    at_once = max(1, min(CHUNK_ITEMS, CHUNK_BYTES // (4 * fitted_state["columns"])))
    database.run(FORGET_VECTORS, **names)
    low, appended = "", 0
    while chunk := database.rows(CHUNK, low=low, checksum=model.checksum, at_once=at_once, **names):
        items = [row["metadata"] for row in chunk]
        encoded = database.work(
            lambda items=items: [row.tobytes() for row in metadata_features.encode(read_items(items), fitted_state)]
        )
        item_ids = [row["item_id"] for row in chunk]
        moments = [row["moment"] for row in chunk]
        appended += database.run(
            APPEND, item_ids=item_ids, encoded=encoded, moments=moments, checksum=model.checksum, **names
        )
        low = item_ids[-1]
    # While an index is being built, blocks stay as they are: what is not packed is found all the same.
    if database.value("SELECT pix_internal.try_lock('packs', $model_name::text)", model_name=model.model_name):
        packing.bring_up_to_date(database, model)
    return appended


def read_items(items: list[str]) -> list[dict]:
    """Read what `pix_internal.item_metadata` returns."""
    return [json.loads(item, parse_int=float) for item in items]  # an int may have any number of digits
