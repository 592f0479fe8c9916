"""One model per user: models, what users have in common, recommendations, model selection, evaluations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

ALGORITHM_CHECK = (
    "algorithm IN ('sgd_hinge', 'sgd_log', 'logistic', 'svm', 'naive_bayes', 'random_forest', 'xgboost', 'nearest', "
    "'centroid', 'one_class', 'hierarchical', 'ensemble')"
)

TABLES = [
    "user_models",
    "user_model_failures",
    "user_model_policy",
    "tastes",
    "recommendations",
    "model_selections",
    "model_selection_tasks",
    "model_selection_results",
    "recommender_evaluations",
]

TYPES = """
CREATE TYPE pix.user_votes AS (
    item_ids text[], blocks integer[], block_rows integer[], vals double precision[], vote_ids bigint[],
    hashes bigint[], packed_in integer, blocks_key text, packed_items bigint
);
COMMENT ON TYPE pix.user_votes IS 'What a user thinks of items, and where the vectors of these are; the latest first.';
CREATE TYPE pix.fitted_model AS (
    algorithm text, parameters text, likes integer, dislikes integer, watermark bigint, votes_hash numeric,
    described text, content bytea, slope double precision, intercept double precision, auc double precision,
    contradictions text[], seconds double precision, sqlstate text, reason text
);
COMMENT ON TYPE pix.fitted_model IS 'A model that was trained, or why it could not be.';
CREATE TYPE pix.user_model_summary AS (
    user_id text, model_name text, algorithm text, likes integer, dislikes integer, auc double precision,
    is_calibrated boolean, seconds double precision
);
COMMENT ON TYPE pix.user_model_summary IS 'What pix.train_user_model has made.';
CREATE TYPE pix.taste_summary AS (model_name text, users integer, votes integer, seconds double precision);
COMMENT ON TYPE pix.taste_summary IS 'What pix.learn_tastes has looked at.';
CREATE TYPE pix.recommendation AS (
    rank integer, item_id text, score double precision, probability double precision, algorithm text, reason text,
    liked_ids text[]
);
COMMENT ON TYPE pix.recommendation IS 'An item that a user will like, and why.';
CREATE TYPE pix.explanation AS (aspect text, item_id text, value double precision, note text);
COMMENT ON TYPE pix.explanation IS 'A part of why a model thinks what it does of an item.';
"""

POLICY = """
INSERT INTO pix.user_model_policy (
    priority, algorithm, needs_taste, min_votes, max_likes, min_likes, max_dislikes, reason
) VALUES
    (1000, 'hierarchical', true, 1, NULL, NULL, NULL, 'What users have in common helps from the first vote on'),
    (1010, 'one_class', false, NULL, NULL, 3, 0, 'Likes only: what they look like'),
    (1900, 'nearest', false, 1, 4, NULL, NULL, 'Fewer than five likes: similarity, less that to dislikes'),
    (1910, 'nearest', false, 1, NULL, NULL, 4, 'Fewer than five dislikes: the same'),
    (1920, 'logistic', false, 1, NULL, NULL, NULL, 'Enough of both to draw a line between')
"""


def upgrade() -> None:
    op.execute(TYPES)
    create_tables()
    op.execute("ALTER TABLE pix.user_models ALTER COLUMN content SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE pix.tastes ALTER COLUMN content SET STORAGE EXTERNAL")
    # Few rows to a page, and as many workers as are asked for: parallel scans hand out pages, and a user takes a while.
    op.execute("ALTER TABLE pix.users SET (fillfactor = 10, parallel_workers = 64)")
    op.execute("ALTER TABLE pix.model_selection_tasks SET (fillfactor = 10, parallel_workers = 64)")
    op.execute(POLICY)


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema="pix")
    op.execute("ALTER TABLE pix.users RESET (fillfactor, parallel_workers)")
    for name in ("explanation", "recommendation", "taste_summary", "user_model_summary", "fitted_model", "user_votes"):
        op.execute(f"DROP TYPE pix.{name}")


def create_tables() -> None:
    op.create_table(
        "user_models",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False, comment="Whose features it was trained on."),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, comment="It is refused unless this equals the model's checksum."),
        sa.Column(
            "parameters",
            postgresql.JSONB,
            nullable=False,
            comment="Of the algorithm, those that were left out included.",
        ),
        sa.Column("taste_version", sa.Text, comment="Of pix.tastes, where the algorithm is hierarchical."),
        sa.Column("likes", sa.Integer, nullable=False, comment="That it has seen."),
        sa.Column("dislikes", sa.Integer, nullable=False),
        sa.Column("watermark", sa.BigInteger, nullable=False, comment="The newest vote that it has seen."),
        sa.Column("votes_hash", sa.Numeric, nullable=False, comment="Of all votes that it has seen, in any order."),
        sa.Column(
            "since_training", sa.Integer, nullable=False, comment="Votes that were folded in since it was trained."
        ),
        sa.Column(
            "described",
            postgresql.JSONB,
            nullable=False,
            comment="What it is: its numbers, and the shapes of its arrays.",
        ),
        sa.Column("content", postgresql.BYTEA, nullable=False, comment="Its arrays, little-endian, one after another."),
        sa.Column(
            "slope", sa.DOUBLE_PRECISION, comment="Probability of a like: 1 / (1 + exp(-(slope · score + intercept)))."
        ),
        sa.Column("intercept", sa.DOUBLE_PRECISION),
        sa.Column("auc", sa.DOUBLE_PRECISION, comment="On its user's own votes, each scored without having been seen."),
        sa.Column(
            "contradictions",
            sa.ARRAY(sa.Text),
            comment="Items whose votes it would not have expected, the worst first.",
        ),
        sa.Column("seconds", sa.DOUBLE_PRECISION, nullable=False, comment="That training took."),
        sa.Column("trained_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("octet_length(user_id) BETWEEN 1 AND 200", name="user_models_user_id_length"),
        sa.PrimaryKeyConstraint("user_id", "model_name", "algorithm"),
        schema="pix",
        comment="What has been learned of each user's taste, derived from pix.interactions.",
    )
    op.create_table(
        "user_model_failures",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("sqlstate", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "model_name", "algorithm"),
        schema="pix",
        comment="Users whose model could not be trained, and why; gone when it can.",
    )
    op.create_table(
        "user_model_policy",
        sa.Column(
            "priority", sa.Integer, autoincrement=False, nullable=False, comment="The first row that fits is taken."
        ),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column(
            "needs_taste", sa.Boolean, server_default=sa.false(), nullable=False, comment="Whether it needs pix.tastes."
        ),
        sa.Column("min_votes", sa.Integer, comment="NULL, here and below: any number."),
        sa.Column("max_votes", sa.Integer),
        sa.Column("min_likes", sa.Integer),
        sa.Column("max_likes", sa.Integer),
        sa.Column("min_dislikes", sa.Integer),
        sa.Column("max_dislikes", sa.Integer),
        sa.Column("min_share", sa.DOUBLE_PRECISION, comment="Of likes among the votes."),
        sa.Column("max_share", sa.DOUBLE_PRECISION, comment="Which it is below."),
        sa.Column(
            "run", sa.Text, comment="The model selection that says so; NULL: it is one of the rules that come along."
        ),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint(ALGORITHM_CHECK, name="user_model_policy_algorithm_known"),
        sa.PrimaryKeyConstraint("priority"),
        schema="pix",
        comment="Which algorithm suits how many likes and dislikes.",
    )
    op.create_table(
        "tastes",
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column("version", sa.Text, nullable=False, comment="sha256 of what it holds."),
        sa.Column("users", sa.Integer, nullable=False, comment="Whose votes it was learned from."),
        sa.Column("votes", sa.Integer, nullable=False),
        sa.Column("described", postgresql.JSONB, nullable=False),
        sa.Column(
            "content",
            postgresql.BYTEA,
            nullable=False,
            comment="Mean and covariance of tastes, over principal components.",
        ),
        sa.Column("seconds", sa.DOUBLE_PRECISION, nullable=False),
        sa.Column("learned_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("model_name"),
        schema="pix",
        comment="What users have in common: the prior that hierarchical models are shrunk to.",
    )
    op.create_table(
        "recommendations",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False, comment="From 1."),
        sa.Column("item_id", sa.Text, nullable=False),
        sa.Column("score", sa.DOUBLE_PRECISION, nullable=False),
        sa.Column("probability", sa.DOUBLE_PRECISION, comment="Of a like; NULL: not known."),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("liked_ids", sa.ARRAY(sa.Text), comment="What the user liked that is most like it."),
        sa.Column("recommended_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "model_name", "rank"),
        schema="pix",
        comment="What pix.recommend_all has found, for BI tools and e-mail.",
    )
    op.create_table(
        "model_selections",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text),
        sa.Column("parameters", postgresql.JSONB, nullable=False, comment="What was asked for."),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("octet_length(run) BETWEEN 1 AND 200", name="model_selections_run_length"),
        sa.PrimaryKeyConstraint("run"),
        schema="pix",
        comment="Runs of pix.select_models.",
    )
    op.create_table(
        "model_selection_tasks",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False, comment="Votes to train on."),
        sa.Column("repeat", sa.Integer, nullable=False, comment="From 1."),
        sa.Column("place", sa.Integer, nullable=False, comment="The order in which tasks are done."),
        sa.PrimaryKeyConstraint("run", "user_id", "size", "repeat"),
        schema="pix",
        comment="What is left to do of each run.",
    )
    op.create_table(
        "model_selection_results",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("repeat", sa.Integer, nullable=False),
        sa.Column("balance", sa.Text, nullable=False, comment="none, oversample, or class_weight."),
        sa.Column("algorithm", sa.Text, nullable=False),
        sa.Column("likes", sa.Integer, comment="Among the votes that were trained on."),
        sa.Column("test_auc", sa.DOUBLE_PRECISION, comment="On votes that neither training nor the search has seen."),
        sa.Column("cv_auc", sa.DOUBLE_PRECISION, comment="Of the best parameters, in cross-validation."),
        sa.Column("fit_seconds", sa.DOUBLE_PRECISION),
        sa.Column("predict_seconds", sa.DOUBLE_PRECISION),
        sa.Column("parameters", postgresql.JSONB, comment="That were chosen."),
        sa.Column("reason", sa.Text, comment="Why there is no AUC."),
        sa.PrimaryKeyConstraint("run", "user_id", "size", "repeat", "balance", "algorithm"),
        schema="pix",
        comment="How well each algorithm did, for each user.",
    )
    op.create_table(
        "recommender_evaluations",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("recommender", sa.Text, nullable=False, comment="An algorithm, ladder, popularity, or random."),
        sa.Column("metric", sa.Text, nullable=False, comment="auc, precision, ndcg, coverage, or diversity."),
        sa.Column("value", sa.DOUBLE_PRECISION, comment="NULL: nothing to measure."),
        sa.Column("low", sa.DOUBLE_PRECISION, comment="95 % interval, over users."),
        sa.Column("high", sa.DOUBLE_PRECISION),
        sa.Column("users", sa.Integer, nullable=False, comment="On whom it was measured."),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("split", sa.Text, nullable=False, comment="last: each user's last like; time: the newest votes."),
        sa.Column("k", sa.Integer, nullable=False),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("run", "recommender", "metric"),
        schema="pix",
        comment="How well recommendations would have met what users liked afterwards.",
    )
