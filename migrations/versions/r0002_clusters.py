"""What functions for many items, and for several hosts, return."""

from alembic import op

revision = "0002"
down_revision = "0001"

TYPES = """
CREATE TYPE pix.neighbor_pair AS (item_id text, rank integer, neighbor_id text, distance double precision);
COMMENT ON TYPE pix.neighbor_pair IS 'A look-alike of one of several items: rank 1 is the nearest to item_id.';

CREATE TYPE pix.finding AS (host text, segment integer, "check" text, ok boolean, found text, remedy text);
COMMENT ON TYPE pix.finding IS
    'What pix.doctor found on a host: segment is NULL for the coordinator, and where there are no segments.';
"""

# Functions that return something else from now on: the replay can replace a function, not the type of its result.
CHANGED = """
DROP FUNCTION IF EXISTS pix._search(pix.feature_vector, pix.models, integer, text, text);
DROP FUNCTION IF EXISTS pix.doctor();
"""


def upgrade() -> None:
    op.execute(TYPES)
    op.execute(CHANGED)


def downgrade() -> None:
    op.execute("DROP TYPE pix.finding; DROP TYPE pix.neighbor_pair")
