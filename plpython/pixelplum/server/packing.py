"""Packing: features into blocks, from which everything else reads them."""

from __future__ import annotations

from dataclasses import dataclass

from pixelplum.errors import VectorError, literal
from pixelplum.server import cache as files
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver

BLOCK_ROWS = 1000
BLOCK_BYTES = 64 << 20

LAST = """
SELECT coalesce(max(p.packed_in), 0) AS packed_in, coalesce(max(p.items), 0) AS items,
    coalesce(max(p.blocks), 0) AS blocks
FROM pix_internal.packs p WHERE p.model_name = $model_name::text
"""
DAMAGED = """
SELECT min(f.item_id) FROM pix.current_features f
WHERE f.model_name = $model_name::text AND octet_length(f.vector) <> 4 * $dimensions::int
"""
UNPACKED = """
SELECT count(*) FROM pix.current_features f WHERE f.model_name = $model_name::text AND f.packed_in IS NULL
"""
CHANGES = """
SELECT coalesce(array_agg(b.block) FILTER (WHERE b.live < b.items OR b.misplaced > 0), '{}') AS changed,
    coalesce(array_agg(b.block) FILTER (WHERE b.misplaced > 0), '{}') AS misplaced,
    coalesce(array_agg(b.block) FILTER (
        WHERE b.live = b.items AND b.misplaced = 0 AND b.items < $rows::int / 2
    ), '{}') AS small,
    coalesce(sum(b.items - b.live), 0)::int8 AS removed, coalesce(sum(b.misplaced), 0)::int8 AS moved
FROM pix_internal.block_entries($model_name::text) b
"""
FIRST_BLOCK = """
SELECT coalesce(max(b.block), 0) + 1 FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text
"""
SEGMENTS = "SELECT count(*) FROM gp_segment_configuration WHERE role = 'p' AND content >= 0"

# New vectors are marked with this packing's number: an index tells by it which vectors it cannot know.
POSITIONS = """
UPDATE pix.features f
SET packed_in = CASE WHEN f.packed_in IS NULL OR f.block = ANY ($misplaced::int[]) THEN $packing::int
        ELSE f.packed_in END,
    block = $first_block::int + p.ordinal / $rows::int * $buckets::int + p.bucket,
    position = p.ordinal % $rows + 1
FROM (
    SELECT n.item_id, n.bucket, row_number() OVER (PARTITION BY n.bucket ORDER BY n.item_id) - 1 AS ordinal FROM (
        SELECT c.item_id, abs(hashtext(c.item_id)::bigint) % $buckets AS bucket FROM pix.current_features c
        WHERE c.model_name = $model_name::text AND (c.packed_in IS NULL OR c.block = ANY ($changed::int[]))
    ) n
) p
WHERE f.item_id = p.item_id AND f.model_name = $model_name
"""
# Rows that others deleted while this waited for them were numbered too. What is left is this transaction's own: nobody
# can delete it any more, so numbers without gaps are right.
WITHOUT_GAPS = """
UPDATE pix.features f SET position = p.ordinal FROM (
    SELECT c.item_id, row_number() OVER (PARTITION BY c.block ORDER BY c.position) AS ordinal
    FROM pix.features c
    WHERE c.model_name = $model_name::text AND c.block >= $first_block::int AND c.packed_in IS NOT NULL
) p
WHERE f.item_id = p.item_id AND f.model_name = $model_name AND f.position <> p.ordinal
"""
STORE_BLOCKS = """
INSERT INTO pix_internal.feature_blocks (model_name, block, items, item_ids, vectors, norms, checksum)
SELECT $model_name::text, d.block, cardinality(d.item_ids), d.item_ids, d.vectors, (d.described).norms,
    (d.described).checksum
FROM (
    SELECT g.block, g.item_ids, g.vectors, pix_internal.describe_block(g.item_ids, g.vectors) AS described FROM (
        SELECT f.block, array_agg(f.item_id ORDER BY f.position) AS item_ids,
            string_agg(f.vector, ''::bytea ORDER BY f.position) AS vectors
        FROM pix.features f
        WHERE f.model_name = $model_name AND f.block >= $first_block::int AND f.packed_in IS NOT NULL
        GROUP BY f.block
    ) g
    OFFSET 0  -- or it would be described once for each column
) d
"""
FORGET_BLOCKS = """
DELETE FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text AND b.block = ANY ($changed::int[])
"""
UNPACK = """
UPDATE pix.features f SET packed_in = NULL
WHERE f.model_name = $model_name::text AND f.packed_in IS NOT NULL AND NOT EXISTS (
    SELECT FROM pix.current_features c WHERE c.item_id = f.item_id AND c.model_name = f.model_name
)
"""
FORGET_TASTE = "DELETE FROM pix.common_taste t WHERE t.model_name = $model_name::text"
TOTAL = """
SELECT coalesce(sum(b.items), 0)::int8 AS items, count(*) AS blocks, encode(sha256(convert_to(coalesce(
    string_agg(b.block || ' ' || b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex') AS checksum
FROM pix_internal.feature_blocks b WHERE b.model_name = $model_name::text
"""
FORGET_PACK = "DELETE FROM pix_internal.packs p WHERE p.model_name = $model_name::text"
STORE_PACK = """
INSERT INTO pix_internal.packs (model_name, model_checksum, packed_in, items, blocks, checksum)
VALUES ($model_name::text, $model_checksum::text, $packing::int, $items::int8, $blocks::int, $checksum::text)
"""
# pg_control_system cannot be asked on segments; these are scalars of the coordinator.
OWNER = """
SELECT format('%s-%s', (SELECT c.system_identifier FROM pg_control_system() c),
    (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
"""
LIVE = """
SELECT b.checksum || '.block' AS name FROM pix_internal.feature_blocks b
UNION ALL SELECT i.checksum || '.index' FROM pix.indexes i
UNION ALL SELECT i.state_checksum || '.state' FROM pix.indexes i
"""
PACK = """
SELECT (f.pack).packed_in, (f.pack).items, (f.pack).checksum
FROM (SELECT pix_internal.find_pack(pix.find_model($model_name::text)) AS pack OFFSET 0) f
"""


@dataclass(frozen=True)
class Pack:
    """What a model's features are packed into: by which packing, how many, and what names their blocks."""

    packed_in: int
    items: int
    checksum: str


@driver
def pack_features(database: Database, model_name: str | None) -> dict:
    """Pack the features of a model: the body of ``pix.pack_features``."""
    return bring_up_to_date(database, database.model(model_name))


@driver
def sweep_cache(database: Database) -> None:
    """Remove files of blocks and indexes that are deleted from the cache of this host.

    A session that still needs one restores it.
    """
    files.sweep(database.value(OWNER), [row["name"] for row in database.rows(LIVE)])


def pack(database: Database, model: Model) -> Pack:
    """Pack what features are not packed yet; until the end of the transaction, blocks stay as they are.

    The error where there are none is PX095.
    """
    bring_up_to_date(database, model)
    return find_pack(database, model)


def find_pack(database: Database, model: Model) -> Pack:
    """Return what the features of a model are packed into. The error where there are none is PX095."""
    return Pack(**database.row(PACK, model_name=model.model_name))


def bring_up_to_date(database: Database, model: Model) -> dict:
    """Pack vectors that are in no block, and the rest of blocks that hold some which are deleted, changed or stale.

    Returns
    -------
    dict
        added and removed, vectors that went into blocks and out of them; items and blocks, what there is now.
    """
    database.row("SELECT pix_internal.require_read_committed()")
    name = {"model_name": model.model_name}
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * model.dimensions)))
    database.lock("packs", model.model_name)
    last = database.row(LAST, **name)
    refuse_damaged(database, model)

    # Blocks with an entry that is not true any more are made again; and so are small ones, if there is reason to.
    # Version 0.7.0 could leave blocks whose vectors were misplaced: whatever was learned from those is learned again.
    changes = database.row(CHANGES, rows=rows, **name)
    removed, added = changes["removed"], changes["moved"] + database.value(UNPACKED, **name)
    if not added and not removed:
        return {"added": 0, "removed": 0, "items": last["items"], "blocks": last["blocks"]}
    changed = changes["changed"] + changes["small"]
    new = {
        "first_block": database.value(FIRST_BLOCK, **name),
        "packing": last["packed_in"] + 1,
        "buckets": database.value(SEGMENTS) if database.is_distributed else 1,
    }
    database.run(POSITIONS, misplaced=changes["misplaced"], changed=changed, rows=rows, **new, **name)
    database.run(WITHOUT_GAPS, first_block=new["first_block"], **name)
    database.run(STORE_BLOCKS, first_block=new["first_block"], **name)
    database.run(FORGET_BLOCKS, changed=changed, **name)
    if removed:
        database.run(UNPACK, **name)
    if changes["misplaced"]:
        database.run(FORGET_TASTE, **name)
    total = database.row(TOTAL, **name)
    database.run(FORGET_PACK, **name)
    database.run(STORE_PACK, model_checksum=model.checksum, packing=new["packing"], **total, **name)
    sweep_cache(database)
    return {"added": added, "removed": removed, "items": total["items"], "blocks": total["blocks"]}


def refuse_damaged(database: Database, model: Model) -> None:
    """Refuse vectors that do not have their model's dimensions."""
    damaged = database.value(DAMAGED, model_name=model.model_name, dimensions=model.dimensions)
    if damaged is not None:
        raise VectorError(
            f"The features of item {literal(damaged)} do not have the {model.dimensions} dimensions of model "
            f"{literal(model.model_name)}",
            hint="Extract or load them again; vectors of different models need different model names.",
        )
