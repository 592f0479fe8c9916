"""Votes, arms, impressions, pooled priors, simulations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION

revision = "0006"
down_revision = "0005"

ITEM_ID_CHECK = "octet_length(item_id) BETWEEN 1 AND 2000"
USER_ID_CHECK = "octet_length(user_id) BETWEEN 1 AND 200"

TABLES = [
    "users",
    "signals",
    "interactions",
    "impressions",
    "arms",
    "arm_priors",
    "simulations",
    "simulation_curves",
]

TYPES = """
CREATE TYPE pix.suggestion AS (
    rank integer, item_id text, clustering text, cluster integer, policy text, propensity double precision,
    propensity_error double precision, score double precision, reason text, impression_id bigint
);
COMMENT ON TYPE pix.suggestion IS 'An item that a user might like, and how it was chosen.';
CREATE TYPE pix.vote_result AS (place integer, status text, reason text);
COMMENT ON TYPE pix.vote_result IS 'What became of a vote of pix.vote_batch.';
CREATE TYPE pix.policy_value AS (
    policy text, estimator text, value double precision, standard_error double precision, low double precision,
    high double precision, effective_sample_size double precision, mean_weight double precision, events bigint,
    users bigint
);
COMMENT ON TYPE pix.policy_value IS 'What a policy is worth, as a log of other policies has it.';
"""

SIGNALS = """
INSERT INTO pix.signals (signal, value, description) VALUES
    ('like', 1, 'A thumb up'),
    ('dislike', -1, 'A thumb down'),
    ('buy', 1, 'Bought it'),
    ('cart', 0.6, 'Put it into the cart'),
    ('click', 0.3, 'Opened its page'),
    ('view', 0.1, 'Looked at it for a while'),
    ('skip', -0.1, 'Was shown it, and did nothing')
"""


def upgrade() -> None:
    op.execute(TYPES)
    create_tables()
    op.execute(SIGNALS)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema="pix")
    op.execute("DELETE FROM pix.settings WHERE key IN ('default_clustering', 'half_life_days')")
    for name in ("policy_value", "vote_result", "suggestion"):
        op.execute(f"DROP TYPE pix.{name}")


def moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def create_tables() -> None:
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text, primary_key=True),
        moment("created_at"),
        sa.CheckConstraint(USER_ID_CHECK, name="users_user_id_length"),
        schema="pix",
        comment="Whoever has voted, or was shown something.",
    )
    op.create_table(
        "signals",
        sa.Column("signal", sa.Text, primary_key=True),
        sa.Column(
            "value", DOUBLE_PRECISION, nullable=False, comment="Above 0: so much of a like; below: of a dislike."
        ),
        sa.Column("description", sa.Text),
        sa.CheckConstraint("value BETWEEN -1 AND 1", name="signals_value_range"),
        sa.CheckConstraint("octet_length(signal) BETWEEN 1 AND 200", name="signals_signal_length"),
        schema="pix",
        comment="What people do with items, and what that says of their taste. A change holds for votes from then on.",
    )
    op.create_table(
        "interactions",
        sa.Column("vote_id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("user_id", sa.Text),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("signal", sa.Text, nullable=False, comment="like, dislike, another of pix.signals, or undo."),
        sa.Column("value", DOUBLE_PRECISION, nullable=False, comment="Of the signal, when it was logged."),
        sa.Column("voted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "impression_id", sa.BigInteger, comment="The suggestion that it answers; NULL: none that is known here."
        ),
        sa.Column("policy", sa.Text, comment="What chose the cluster; NULL: the user found the item otherwise."),
        sa.Column("clustering", sa.Text, comment="Of that choice."),
        sa.Column("cluster", sa.Integer, comment="That the policy chose, by its number at that time."),
        sa.Column(
            "propensity",
            DOUBLE_PRECISION,
            comment="Probability with which the policy chose this cluster; NULL: not known.",
        ),
        sa.Column(
            "idempotency_key", sa.Text, comment="The client's own name for this vote: sent again, it is the same vote."
        ),
        sa.PrimaryKeyConstraint("user_id", "vote_id"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="interactions_item_id_length"),
        sa.CheckConstraint(USER_ID_CHECK, name="interactions_user_id_length"),
        sa.CheckConstraint("propensity BETWEEN 0 AND 1", name="interactions_propensity_range"),
        sa.CheckConstraint(
            "octet_length(idempotency_key) BETWEEN 1 AND 200", name="interactions_idempotency_key_length"
        ),
        schema="pix",
        comment="The log of votes and other signals, only appended to; what is known of tastes is derived from it.",
    )
    op.create_index(
        "interactions_idempotency_key",
        "interactions",
        ["user_id", "idempotency_key"],
        schema="pix",
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("interactions_item", "interactions", ["user_id", "item_id"], schema="pix")
    op.create_table(
        "impressions",
        sa.Column("impression_id", sa.BigInteger, sa.Identity(always=True)),
        sa.Column("user_id", sa.Text),
        sa.Column("item_id", sa.Text, nullable=False),
        moment("shown_at"),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("prior", sa.Text, nullable=False, comment="flat, pooled, or hierarchical."),
        sa.Column("clustering", sa.Text, nullable=False),
        sa.Column("cluster", sa.Integer, nullable=False),
        sa.Column(
            "propensity",
            DOUBLE_PRECISION,
            nullable=False,
            comment="Probability with which the policy chose this cluster.",
        ),
        sa.Column("exhausted", sa.ARRAY(sa.Integer), comment="Clusters that had nothing to show; NULL: none."),
        sa.Column("rank", sa.Integer, nullable=False, comment="On its page, from 1."),
        sa.Column("score", DOUBLE_PRECISION, comment="What the user was expected to think of the item."),
        sa.PrimaryKeyConstraint("user_id", "impression_id"),
        schema="pix",
        comment="What was suggested to whom, and how it was chosen.",
    )
    op.create_index("impressions_shown_at", "impressions", ["user_id", "shown_at"], schema="pix")
    op.create_index("impressions_item", "impressions", ["user_id", "item_id"], schema="pix")
    op.create_table(
        "arms",
        sa.Column("user_id", sa.Text),
        sa.Column("clustering", sa.Text),
        sa.Column("cluster", sa.Integer),
        sa.Column("likes", DOUBLE_PRECISION, nullable=False, comment="Sum of values above 0, as of as_of."),
        sa.Column("dislikes", DOUBLE_PRECISION, nullable=False, comment="Sum of values below 0, without their sign."),
        sa.Column("votes", sa.BigInteger, nullable=False, comment="Items that the user has an opinion of."),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False, comment="Older votes have decayed until then."),
        sa.PrimaryKeyConstraint("user_id", "clustering", "cluster"),
        schema="pix",
        comment="What each user thinks of each cluster, derived from pix.interactions by pix.rebuild_arms.",
    )
    op.create_table(
        "arm_priors",
        sa.Column("clustering", sa.Text),
        sa.Column("cluster", sa.Integer),
        sa.Column("alpha", DOUBLE_PRECISION, nullable=False),
        sa.Column("beta", DOUBLE_PRECISION, nullable=False),
        sa.Column("likes", DOUBLE_PRECISION, nullable=False, comment="Of all users."),
        sa.Column("dislikes", DOUBLE_PRECISION, nullable=False),
        sa.Column("users", sa.BigInteger, nullable=False, comment="Who have votes in it."),
        sa.Column("method", sa.Text, nullable=False, comment="moments or likelihood."),
        sa.Column("strength_cap", DOUBLE_PRECISION, nullable=False),
        moment("refreshed_at"),
        sa.PrimaryKeyConstraint("clustering", "cluster"),
        schema="pix",
        comment="Pooled priors: Beta(alpha, beta) is what is expected of a user of whom nothing is known.",
    )
    op.create_table(
        "simulations",
        sa.Column("simulation_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("policy", sa.Text, nullable=False),
        sa.Column("prior", sa.Text, nullable=False),
        sa.Column("clustering", sa.Text, nullable=False),
        sa.Column("label_set", sa.Text, nullable=False, comment="By which the users' tastes are known."),
        sa.Column("users", sa.Integer, nullable=False),
        sa.Column("votes", sa.Integer, nullable=False, comment="Of each user."),
        sa.Column("liked_labels", sa.Integer, nullable=False, comment="How many labels each user likes."),
        sa.Column(
            "taste_groups", sa.Integer, comment="How many tastes there are; NULL: every user has one of their own."
        ),
        sa.Column("flipped", DOUBLE_PRECISION, nullable=False, comment="Share of votes that say the opposite."),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("likes", DOUBLE_PRECISION, nullable=False, comment="Mean per user."),
        sa.Column("likes_error", DOUBLE_PRECISION, nullable=False, comment="Standard error of that mean."),
        sa.Column("seconds", DOUBLE_PRECISION, nullable=False),
        moment("simulated_at"),
        schema="pix",
        comment="Runs of pix.simulate.",
    )
    op.create_table(
        "simulation_curves",
        sa.Column("simulation_id", sa.BigInteger),
        sa.Column("vote", sa.Integer, comment="From 1."),
        sa.Column("likes", DOUBLE_PRECISION, nullable=False, comment="Up to this vote, mean per user."),
        sa.Column("likes_error", DOUBLE_PRECISION, nullable=False, comment="Standard error of that mean."),
        sa.Column(
            "regret",
            DOUBLE_PRECISION,
            nullable=False,
            comment="Likes up to this vote that only liked labels would have earned more, expected, mean per user.",
        ),
        sa.Column("regret_error", DOUBLE_PRECISION, nullable=False),
        sa.PrimaryKeyConstraint("simulation_id", "vote"),
        schema="pix",
        comment="How likes and regret grow with votes.",
    )
