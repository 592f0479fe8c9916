"""Models whose features are those of another with metadata appended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB

revision = "0007"
down_revision = "0006"

OLD_CHECKSUM = "sha256 of the ONNX file; NULL where features came from elsewhere."
CHECKSUM = "sha256 of the ONNX file, or of what pix.add_metadata made; NULL where features came from elsewhere."


def upgrade() -> None:
    op.alter_column("models", "checksum", schema="pix", comment=CHECKSUM, existing_comment=OLD_CHECKSUM)
    op.create_table(
        "metadata_designs",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("base_model", sa.Text, nullable=False, comment="Whose vectors metadata are appended to."),
        sa.Column(
            "base_checksum", sa.Text, comment="It cannot be extended unless this equals the base model's checksum."
        ),
        sa.Column("fields", sa.ARRAY(sa.Text), nullable=False),
        sa.Column(
            "weight",
            DOUBLE_PRECISION,
            nullable=False,
            comment="Of metadata; 1: as much as the base model's vectors.",
        ),
        sa.Column("terms", sa.Integer, nullable=False, comment="Values of each field that have a number, at most."),
        sa.Column(
            "dimensions", sa.Integer, nullable=False, comment="Numbers of metadata in each vector, its last ones."
        ),
        sa.Column("items", sa.BigInteger, nullable=False, comment="That have vectors."),
        sa.Column(
            "design",
            JSONB,
            nullable=False,
            comment="scale; blocks, what the numbers of each field are; empty, fields that have none.",
        ),
        sa.Column("designed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        schema="pix",
        comment="Models whose vectors are those of another with metadata appended, and how these are encoded.",
    )


def downgrade() -> None:
    # Without their designs they are models like those of loaded features: with a checksum they would be networks.
    derived = "model_name IN (SELECT model_name FROM pix.metadata_designs)"
    op.execute(f"UPDATE pix.features SET model_checksum = NULL WHERE {derived}")
    op.execute(f"UPDATE pix.models SET checksum = NULL WHERE {derived}")
    op.drop_table("metadata_designs", schema="pix")
    op.alter_column("models", "checksum", schema="pix", comment=OLD_CHECKSUM, existing_comment=CHECKSUM)
