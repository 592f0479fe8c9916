"""Tables of blocks, indexes and neighbor graphs."""

from __future__ import annotations

from pixload.migrations.tables.base import BY_ITEM, INTERNAL, REPLICATED, metadata, moment
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Integer, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB

packs = Table(
    "packs",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="The blocks are out of date unless it equals the model's checksum."),
    Column("packed_in", Integer, nullable=False, comment="Number of the latest packing."),
    Column("items", BigInteger, nullable=False, comment="Vectors in all blocks."),
    Column("blocks", Integer, nullable=False),
    Column("checksum", Text, nullable=False, comment="sha256 of the blocks' checksums: names all of them at once."),
    moment("packed_at"),
    schema=INTERNAL,
    info=REPLICATED,
    comment="Which packing the blocks of a model are as of.",
)

feature_blocks = Table(
    "feature_blocks",
    metadata,
    Column("model_name", Text),
    Column("block", Integer),
    Column("items", Integer, nullable=False),
    Column("item_ids", ARRAY(Text), nullable=False),
    Column("vectors", BYTEA, nullable=False, comment="The items' feature vectors, one after another."),
    Column("norms", BYTEA, nullable=False, comment="Their Euclidean lengths, little-endian float32."),
    Column("checksum", Text, nullable=False, comment="sha256 of the block's file, as hosts keep it."),
    PrimaryKeyConstraint("model_name", "block"),
    schema=INTERNAL,
    info={"distributed_by": ("model_name", "block")},
    comment="Feature vectors in blocks of about a thousand: what is searched, and indexes are built from.",
)

indexes = Table(
    "indexes",
    metadata,
    Column("index_name", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text, comment="It cannot be used unless this equals the model's checksum."),
    Column("algorithm", Text, nullable=False, comment="Which one; pix.algorithms('index') lists them."),
    Column(
        "metric", Text, nullable=False, comment="How vectors are compared; pix.algorithms('metric') lists the ways."
    ),
    Column("parameters", JSONB, nullable=False, comment="Of the algorithm, defaults included."),
    Column("project_to", Integer, comment="Principal components that it holds, instead of whole vectors."),
    Column("packed_in", Integer, nullable=False, comment="The packing that it was built after."),
    Column("items", BigInteger, nullable=False, comment="Vectors that it finds."),
    Column("checksum", Text, nullable=False, comment="sha256 of its file."),
    Column("state_checksum", Text, nullable=False, comment="sha256 of the file that says how to read it."),
    Column("size_bytes", BigInteger, nullable=False, comment="Of both files."),
    Column("build_seconds", DOUBLE_PRECISION, nullable=False),
    Column("recall", DOUBLE_PRECISION, nullable=False, comment="Fraction of the ten nearest that it finds."),
    Column("recall_queries", Integer, nullable=False, comment="Items that recall was measured with."),
    moment("built_at"),
    CheckConstraint("octet_length(index_name) BETWEEN 1 AND 200", name="indexes_index_name_length"),
    info=REPLICATED,
    comment="Indexes for approximate nearest neighbors.",
)

index_parts = Table(
    "index_parts",
    metadata,
    Column("checksum", Text),
    Column("part", Integer),
    Column("content", BYTEA, nullable=False),
    PrimaryKeyConstraint("checksum", "part"),
    schema=INTERNAL,
    info={"distributed_by": ("checksum", "part")},
    comment="Files of indexes in parts, addressed by their sha256.",
)

neighbors = Table(
    "neighbors",
    metadata,
    Column("item_id", Text),
    Column("model_name", Text),
    Column("rank", Integer, comment="From 1, the nearest."),
    Column("neighbor_id", Text, nullable=False),
    Column("distance", DOUBLE_PRECISION, nullable=False, comment="As pix.distance."),
    PrimaryKeyConstraint("item_id", "model_name", "rank"),
    info=BY_ITEM,
    comment="The neighbor graph: the nearest neighbors of every item, as pix.build_neighbor_graph left them.",
)

neighbor_graphs = Table(
    "neighbor_graphs",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("packed_in", Integer, nullable=False, comment="The packing that it was built after."),
    Column("k", Integer, nullable=False, comment="Neighbors of each item."),
    Column("metric", Text, nullable=False),
    Column("done", ARRAY(Integer), nullable=False, comment="Blocks whose items have their neighbors."),
    Column("blocks", Integer, nullable=False),
    Column("items", BigInteger, nullable=False, comment="In all blocks."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="What it took so far."),
    Column("finished_at", DateTime(timezone=True), comment="NULL while blocks are missing."),
    info=REPLICATED,
    comment="How far the neighbor graph of a model is; a call that was stopped is taken up where it was.",
)
