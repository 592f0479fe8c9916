"""Blocks of vectors, indexes, the neighbour graph."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

TABLES = ["packs", "feature_blocks", "indexes", "index_parts", "neighbors", "neighbor_graphs"]

TYPES = """
CREATE TYPE pix.item_filter AS (
    candidates text[], excluded text[], label text, brand text, category text, min_price numeric, max_price numeric
);
COMMENT ON TYPE pix.item_filter IS 'Which items may be neighbours; what is NULL does not matter.';

CREATE TYPE pix.packing AS (added bigint, removed bigint, items bigint, blocks integer);
COMMENT ON TYPE pix.packing IS
    'Vectors that went into blocks and out of them, and those that the blocks hold now.';

CREATE TYPE pix.recall AS (
    queries integer, k integer, recall double precision, index_p50_ms double precision, index_p95_ms double precision,
    exact_p50_ms double precision, exact_p95_ms double precision
);
COMMENT ON TYPE pix.recall IS
    'Share of the k nearest that an index finds, and quantiles of what a query takes with it and without it.';

CREATE TYPE pix.duplicate AS (item_id text, duplicate_id text, distance double precision);
COMMENT ON TYPE pix.duplicate IS 'Two items that look the same; item_id is the first of them by name.';
"""
NO_TYPES = "DROP TYPE pix.duplicate; DROP TYPE pix.recall; DROP TYPE pix.packing; DROP TYPE pix.item_filter"


def upgrade() -> None:
    op.execute(TYPES)
    op.add_column(
        "features",
        sa.Column(
            "packed_in", sa.Integer, comment="The packing that put this vector into a block; NULL: none has yet."
        ),
        schema="pix",
    )
    op.add_column(
        "features",
        sa.Column("block", sa.Integer, comment="The block it is in, unless packed_in is NULL."),
        schema="pix",
    )
    op.add_column("features", sa.Column("block_row", sa.Integer, comment="Its row there, from 1."), schema="pix")
    op.create_index("features_packed_in", "features", ["model_name", "packed_in"], schema="pix")
    create_tables()
    # Floating-point numbers do not compress. The norms stay in the row: so wide that a page has one block, which lets
    # parallel workers share blocks out evenly; the planner, to whom the table looks tiny, is overridden.
    op.execute(
        """
        ALTER TABLE pix.feature_blocks ALTER COLUMN vectors SET STORAGE EXTERNAL;
        ALTER TABLE pix.feature_blocks ALTER COLUMN norms SET STORAGE MAIN;
        ALTER TABLE pix.feature_blocks SET (parallel_workers = 64);
        ALTER TABLE pix.index_parts ALTER COLUMN content SET STORAGE EXTERNAL
        """
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema="pix")
    op.drop_index("features_packed_in", "features", schema="pix")
    for column in ("block_row", "block", "packed_in"):
        op.drop_column("features", column, schema="pix")
    op.execute(NO_TYPES)


def moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def create_tables() -> None:
    op.create_table(
        "packs",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column(
            "model_checksum", sa.Text, comment="The blocks are out of date unless it equals the model's checksum."
        ),
        sa.Column("packed_in", sa.Integer, nullable=False, comment="Number of the latest packing."),
        sa.Column("items", sa.BigInteger, nullable=False, comment="Vectors in all blocks."),
        sa.Column("blocks", sa.Integer, nullable=False),
        sa.Column(
            "checksum", sa.Text, nullable=False, comment="sha256 of the blocks' checksums: names all of them at once."
        ),
        moment("packed_at"),
        schema="pix",
        comment="Which packing the blocks of a model are as of.",
    )
    op.create_table(
        "feature_blocks",
        sa.Column("model_name", sa.Text),
        sa.Column("block", sa.Integer),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("item_ids", postgresql.ARRAY(sa.Text), nullable=False),
        sa.Column(
            "vectors", postgresql.BYTEA, nullable=False, comment="The items' feature vectors, one after another."
        ),
        sa.Column("norms", postgresql.BYTEA, nullable=False, comment="Their Euclidean lengths, little-endian float32."),
        sa.Column("checksum", sa.Text, nullable=False, comment="sha256 of the block's file, as hosts keep it."),
        sa.PrimaryKeyConstraint("model_name", "block"),
        schema="pix",
        comment="Feature vectors in blocks of about a thousand: what is searched, and indexes are built from.",
    )
    op.create_table(
        "indexes",
        sa.Column("index_name", sa.Text, primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, comment="It cannot be used unless this equals the model's checksum."),
        sa.Column("method", sa.Text, nullable=False, comment="exact, annoy, or hnsw."),
        sa.Column("metric", sa.Text, nullable=False, comment="cosine, euclidean, or dot."),
        sa.Column(
            "parameters", postgresql.JSONB, nullable=False, comment="Of the method, those that were left out included."
        ),
        sa.Column("project_to", sa.Integer, comment="Principal components that it holds, instead of whole vectors."),
        sa.Column("packed_in", sa.Integer, nullable=False, comment="The packing that it was built after."),
        sa.Column("items", sa.BigInteger, nullable=False, comment="Vectors that it finds."),
        sa.Column("checksum", sa.Text, nullable=False, comment="sha256 of its file."),
        sa.Column("design_checksum", sa.Text, nullable=False, comment="sha256 of the file that says how to read it."),
        sa.Column("size_bytes", sa.BigInteger, nullable=False, comment="Of both files."),
        sa.Column("build_seconds", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.Column(
            "recall", postgresql.DOUBLE_PRECISION, nullable=False, comment="Share of the ten nearest that it finds."
        ),
        sa.Column("recall_queries", sa.Integer, nullable=False, comment="Items that recall was measured with."),
        moment("built_at"),
        sa.CheckConstraint("octet_length(index_name) BETWEEN 1 AND 200", name="indexes_index_name_length"),
        schema="pix",
        comment="Indexes for approximate nearest neighbours.",
    )
    op.create_table(
        "index_parts",
        sa.Column("checksum", sa.Text),
        sa.Column("part", sa.Integer),
        sa.Column("content", postgresql.BYTEA, nullable=False),
        sa.PrimaryKeyConstraint("checksum", "part"),
        schema="pix",
        comment="Files of indexes in parts, addressed by their sha256.",
    )
    op.create_table(
        "neighbors",
        sa.Column("item_id", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("rank", sa.Integer, comment="From 1, the nearest."),
        sa.Column("neighbor_id", sa.Text, nullable=False),
        sa.Column("distance", postgresql.DOUBLE_PRECISION, nullable=False, comment="As pix.distance."),
        sa.PrimaryKeyConstraint("item_id", "model_name", "rank"),
        schema="pix",
        comment="The neighbour graph: the nearest neighbours of every item, as pix.build_neighbor_graph left them.",
    )
    op.create_table(
        "neighbor_graphs",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column("packed_in", sa.Integer, nullable=False, comment="The packing that it was built after."),
        sa.Column("k", sa.Integer, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        sa.Column(
            "done", postgresql.ARRAY(sa.Integer), nullable=False, comment="Blocks whose items have their neighbours."
        ),
        sa.Column("blocks", sa.Integer, nullable=False),
        sa.Column("items", sa.BigInteger, nullable=False, comment="In all blocks."),
        sa.Column("seconds", postgresql.DOUBLE_PRECISION, nullable=False, comment="What it took so far."),
        sa.Column("finished_at", sa.DateTime(timezone=True), comment="NULL while blocks are missing."),
        schema="pix",
        comment="How far the neighbour graph of a model is; a call that was stopped is taken up where it was.",
    )
