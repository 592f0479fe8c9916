"""Catalogue, pictures, models, features."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

ITEM_ID_CHECK = "octet_length(item_id) BETWEEN 1 AND 2000"
MODEL_NAME_CHECK = "octet_length(model_name) BETWEEN 1 AND 200"
LABEL_SET_CHECK = "octet_length(label_set) BETWEEN 1 AND 200"

TYPES = """
CREATE DOMAIN pix.feature_vector AS bytea
    CHECK (octet_length(VALUE) > 0 AND octet_length(VALUE) % 4 = 0);
COMMENT ON DOMAIN pix.feature_vector IS
    'A feature vector: little-endian float32, four bytes a dimension. pix.to_array reads it.';

CREATE TYPE pix.embedding AS (vector pix.feature_vector, sqlstate text, reason text, hint text);
COMMENT ON TYPE pix.embedding IS 'A vector, or the SQLSTATE, reason and remedy why the picture has none.';

CREATE TYPE pix.neighbor AS (rank integer, item_id text, distance double precision);
COMMENT ON TYPE pix.neighbor IS 'A look-alike: rank 1 is the nearest.';
"""


def upgrade() -> None:
    op.execute(TYPES)
    create_tables()
    # Pictures are compressed already. Few rows a page let parallel workers share them out evenly,
    # and parallel_workers overrides the planner, to whom a table of TOASTed pictures looks tiny.
    op.execute(
        """
        ALTER TABLE pix.images ALTER COLUMN content SET STORAGE EXTERNAL;
        ALTER TABLE pix.images SET (fillfactor = 10, parallel_workers = 64);
        ALTER TABLE pix.model_parts ALTER COLUMN content SET STORAGE EXTERNAL;
        ALTER TABLE pix.features ALTER COLUMN vector SET STORAGE EXTERNAL
        """
    )


def downgrade() -> None:
    for table in [
        "extraction_runs",
        "extraction_failures",
        "features",
        "model_parts",
        "models",
        "labels",
        "images",
        "items",
        "settings",
    ]:
        op.drop_table(table, schema="pix")
    op.execute("DROP TYPE pix.neighbor; DROP TYPE pix.embedding; DROP DOMAIN pix.feature_vector")


def moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def create_tables() -> None:
    feature_vector = postgresql.DOMAIN("feature_vector", postgresql.BYTEA, schema="pix", create_type=False)
    op.create_table(
        "settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        schema="pix",
        comment="Settings of this database, one a row: default_model.",
    )
    op.create_table(
        "items",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("brand", sa.Text),
        sa.Column("price", sa.Numeric),
        sa.Column("image_url", sa.Text),
        sa.Column("categories", postgresql.JSONB),
        sa.Column("sales_rank", postgresql.JSONB),
        sa.Column("related", postgresql.JSONB),
        sa.Column("description", sa.Text),
        sa.Column("attributes", postgresql.JSONB, comment="Whatever else the source said of the item."),
        moment("loaded_at"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="items_item_id_length"),
        schema="pix",
        comment="The catalogue: one row per item, with or without a picture.",
    )
    op.create_table(
        "images",
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("content", postgresql.BYTEA, nullable=False, comment="The picture's file, byte for byte."),
        sa.Column(
            "sha256",
            sa.Text,
            sa.Computed("encode(sha256(content), 'hex')", persisted=True),
            comment="Tells whether features were computed from this very picture.",
        ),
        sa.Column("format", sa.Text, comment="JPEG, PNG, … as Pillow names it."),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
        sa.Column("source", sa.Text, comment="The path or URL that the picture was loaded from."),
        moment("loaded_at"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="images_item_id_length"),
        schema="pix",
        comment="One picture per item.",
    )
    op.create_table(
        "labels",
        sa.Column("item_id", sa.Text),
        sa.Column("label_set", sa.Text),
        sa.Column("label", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "label_set"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="labels_item_id_length"),
        sa.CheckConstraint(LABEL_SET_CHECK, name="labels_label_set_length"),
        schema="pix",
        comment="What people say an item is: one label per item and label set.",
    )
    op.create_table(
        "models",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("checksum", sa.Text, comment="sha256 of the ONNX file; NULL where features came from elsewhere."),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, comment="Size of the ONNX file."),
        sa.Column(
            "spec",
            postgresql.JSONB,
            comment="Input, output and preprocessing, as the ONNX file itself states them.",
        ),
        sa.Column("source", sa.Text, nullable=False, comment="What the model was made from."),
        sa.Column(
            "agreement",
            postgresql.REAL,
            comment="Largest difference to the original engine, relative to the features.",
        ),
        moment("imported_at"),
        sa.CheckConstraint(MODEL_NAME_CHECK, name="models_model_name_length"),
        schema="pix",
        comment="The networks (and foreign sources) that features come from.",
    )
    op.create_table(
        "model_parts",
        sa.Column("checksum", sa.Text),
        sa.Column("part", sa.Integer),
        sa.Column("content", postgresql.BYTEA, nullable=False),
        sa.PrimaryKeyConstraint("checksum", "part"),
        schema="pix",
        comment="ONNX files in parts, addressed by their sha256.",
    )
    op.create_table(
        "features",
        sa.Column("item_id", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("model_checksum", sa.Text, comment="Stale unless it equals the model's checksum."),
        sa.Column("image_sha256", sa.Text, comment="Stale unless it equals the picture's sha256."),
        sa.Column("vector", feature_vector, nullable=False),
        moment("extracted_at"),
        sa.PrimaryKeyConstraint("item_id", "model_name"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="features_item_id_length"),
        schema="pix",
        comment="One vector per item and model.",
    )
    op.create_table(
        "extraction_failures",
        sa.Column("item_id", sa.Text),
        sa.Column("model_name", sa.Text),
        sa.Column("model_checksum", sa.Text, nullable=False),
        sa.Column("image_sha256", sa.Text, nullable=False),
        sa.Column("sqlstate", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        moment("failed_at"),
        sa.PrimaryKeyConstraint("item_id", "model_name"),
        schema="pix",
        comment="Pictures that could not be read, and why; retried when the picture or the model changes.",
    )
    op.create_table(
        "extraction_runs",
        sa.Column("run_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        moment("started_at"),
        sa.Column("extracted", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("seconds", postgresql.DOUBLE_PRECISION, nullable=False, server_default="0"),
        schema="pix",
        comment="Calls of pix.extract_features: pictures done and seconds taken so far.",
    )
