"""Locks that take a privilege, and votes that are counted when their transaction commits."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "locks",
        sa.Column("subject", sa.Text, comment="The table that is written."),
        sa.Column("name", sa.Text, comment="What of it: of which model, clustering, map, …"),
        sa.PrimaryKeyConstraint("subject", "name"),
        schema="pix",
        comment="Rows that whoever writes for long locks: nobody else can, as they could an advisory lock.",
    )
    op.add_column(
        "interactions",
        sa.Column("transaction_id", sa.BigInteger, comment="That logged it, of a vote that it counts when it commits."),
        schema="pix",
    )


def downgrade() -> None:
    op.drop_column("interactions", "transaction_id", schema="pix")
    op.drop_table("locks", schema="pix")
