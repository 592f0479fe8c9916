"""Tables of votes, of the bandit and of its simulations."""

from __future__ import annotations

from pixload.migrations.tables.base import BY_USER, ITEM_ID_CHECK, REPLICATED, USER_ID_CHECK, metadata, moment
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    moment("created_at"),
    CheckConstraint(USER_ID_CHECK, name="users_user_id_length"),
    info=BY_USER,
    comment="Whoever has voted, or was shown something.",
)

signals = Table(
    "signals",
    metadata,
    Column("signal", Text, primary_key=True),
    Column("value", DOUBLE_PRECISION, nullable=False, comment="Above 0: so much of a like; below: of a dislike."),
    Column("description", Text),
    CheckConstraint("value BETWEEN -1 AND 1", name="signals_value_range"),
    CheckConstraint("octet_length(signal) BETWEEN 1 AND 200", name="signals_signal_length"),
    info=REPLICATED,
    comment="What people do with items, and what that says of their taste. A change holds for votes from then on.",
)

PROPENSITY = "Probability with which the policy chose this cluster"

interactions = Table(
    "interactions",
    metadata,
    Column("vote_id", BigInteger, Identity(always=True)),
    Column("user_id", Text),
    Column("item_id", Text, nullable=False),
    Column("signal", Text, nullable=False, comment="like, dislike, another of pix.signals, or undo."),
    Column("value", DOUBLE_PRECISION, nullable=False, comment="Of the signal, when it was logged."),
    Column("voted_at", DateTime(timezone=True), nullable=False),
    Column("impression_id", BigInteger, comment="The suggestion that it answers; NULL: none that is known here."),
    Column("policy", Text, comment="What chose the cluster; NULL: the user found the item otherwise."),
    Column("clustering", Text, comment="Of that choice."),
    Column("cluster", Integer, comment="That the policy chose, by its number at that time."),
    Column("propensity", DOUBLE_PRECISION, comment=f"{PROPENSITY}; NULL: not known."),
    Column("idempotency_key", Text, comment="The client's own name for this vote: sent again, it is the same vote."),
    Column("transaction_id", BigInteger, comment="That logged it, of a vote that it counts when it commits."),
    PrimaryKeyConstraint("user_id", "vote_id"),
    CheckConstraint(ITEM_ID_CHECK, name="interactions_item_id_length"),
    CheckConstraint(USER_ID_CHECK, name="interactions_user_id_length"),
    CheckConstraint("value BETWEEN -1 AND 1", name="interactions_value_range"),
    CheckConstraint("propensity BETWEEN 0 AND 1", name="interactions_propensity_range"),
    CheckConstraint("octet_length(idempotency_key) BETWEEN 1 AND 200", name="interactions_idempotency_key_length"),
    Index("interactions_item", "user_id", "item_id"),
    Index(
        "interactions_idempotency_key",
        "user_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    info=BY_USER,
    comment="The log of votes and other signals, only appended to; what is known of tastes is derived from it.",
)

impressions = Table(
    "impressions",
    metadata,
    Column("impression_id", BigInteger, Identity(always=True)),
    Column("user_id", Text),
    Column("item_id", Text, nullable=False),
    moment("shown_at"),
    Column("policy", Text, nullable=False),
    Column("prior", Text, nullable=False, comment="flat, pooled, or tree."),
    Column("clustering", Text, nullable=False),
    Column("cluster", Integer, nullable=False),
    Column("propensity", DOUBLE_PRECISION, nullable=False, comment=f"{PROPENSITY}."),
    Column("exhausted", ARRAY(Integer), comment="Clusters that had nothing to show; NULL: none."),
    Column("rank", Integer, nullable=False, comment="On its page, from 1."),
    Column("score", DOUBLE_PRECISION, comment="What the user was expected to think of the item."),
    PrimaryKeyConstraint("user_id", "impression_id"),
    Index("impressions_shown_at", "user_id", "shown_at"),
    Index("impressions_item", "user_id", "item_id"),
    info=BY_USER,
    comment="What was suggested to whom, and how it was chosen.",
)

arms = Table(
    "arms",
    metadata,
    Column("user_id", Text),
    Column("clustering", Text),
    Column("cluster", Integer),
    Column("likes", DOUBLE_PRECISION, nullable=False, comment="Sum of values above 0, as of as_of."),
    Column("dislikes", DOUBLE_PRECISION, nullable=False, comment="Sum of values below 0, without their sign."),
    Column("votes", BigInteger, nullable=False, comment="Items that the user has an opinion of."),
    Column("as_of", DateTime(timezone=True), nullable=False, comment="Older votes have decayed until then."),
    PrimaryKeyConstraint("user_id", "clustering", "cluster"),
    info=BY_USER,
    comment="What each user thinks of each cluster, derived from pix.interactions by pix.rebuild_arms.",
)

arm_priors = Table(
    "arm_priors",
    metadata,
    Column("clustering", Text),
    Column("cluster", Integer),
    Column("alpha", DOUBLE_PRECISION, nullable=False),
    Column("beta", DOUBLE_PRECISION, nullable=False),
    Column("likes", DOUBLE_PRECISION, nullable=False, comment="Of all users."),
    Column("dislikes", DOUBLE_PRECISION, nullable=False, comment="Of all users."),
    Column("users", BigInteger, nullable=False, comment="Who have votes in it."),
    Column("algorithm", Text, nullable=False, comment="moments or likelihood."),
    Column("strength_cap", DOUBLE_PRECISION, nullable=False),
    moment("refreshed_at"),
    PrimaryKeyConstraint("clustering", "cluster"),
    info=REPLICATED,
    comment="Pooled priors: Beta(alpha, beta) is what is expected of a user of whom nothing is known.",
)

simulations = Table(
    "simulations",
    metadata,
    Column("simulation_id", BigInteger, Identity(always=True), primary_key=True),
    Column("policy", Text, nullable=False),
    Column("prior", Text, nullable=False),
    Column("clustering", Text, nullable=False),
    Column("label_set", Text, nullable=False, comment="By which the users' tastes are known."),
    Column("users", Integer, nullable=False),
    Column("votes", Integer, nullable=False, comment="Of each user."),
    Column("liked_labels", Integer, nullable=False, comment="How many labels each user likes."),
    Column("taste_groups", Integer, comment="How many tastes there are; NULL: every user has one of their own."),
    Column("flipped", DOUBLE_PRECISION, nullable=False, comment="Fraction of votes that say the opposite."),
    Column("seed", Integer, nullable=False),
    Column("likes", DOUBLE_PRECISION, nullable=False, comment="Mean per user."),
    Column("likes_error", DOUBLE_PRECISION, nullable=False, comment="Standard error of that mean."),
    Column("seconds", DOUBLE_PRECISION, nullable=False),
    moment("simulated_at"),
    info=REPLICATED,
    comment="Runs of pix.simulate.",
)

simulation_curves = Table(
    "simulation_curves",
    metadata,
    Column("simulation_id", BigInteger),
    Column("vote", Integer, comment="From 1."),
    Column("likes", DOUBLE_PRECISION, nullable=False, comment="Up to this vote, mean per user."),
    Column("likes_error", DOUBLE_PRECISION, nullable=False, comment="Standard error of that mean."),
    Column(
        "regret",
        DOUBLE_PRECISION,
        nullable=False,
        comment="Likes up to this vote that only liked labels would have earned more, expected, mean per user.",
    ),
    Column("regret_error", DOUBLE_PRECISION, nullable=False),
    PrimaryKeyConstraint("simulation_id", "vote"),
    info=REPLICATED,
    comment="How likes and regret grow with votes.",
)
