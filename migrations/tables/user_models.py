"""Tables of user models, recommendations and comparisons of algorithms."""

from __future__ import annotations

from pixload.migrations.tables.base import BY_USER, INTERNAL, REPLICATED, USER_ID_CHECK, metadata, moment
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, PrimaryKeyConstraint, Table, Text, false
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB

user_models = Table(
    "user_models",
    metadata,
    Column("user_id", Text),
    Column("model_name", Text, comment="Whose features it was trained on."),
    Column("algorithm", Text),
    Column("model_checksum", Text, comment="It is refused unless this equals the model's checksum."),
    Column("parameters", JSONB, nullable=False, comment="Of the algorithm, defaults included."),
    Column("common_taste_version", Text, comment="Of pix.common_taste, where the algorithm is hierarchical."),
    Column("likes", Integer, nullable=False, comment="That it has seen."),
    Column("dislikes", Integer, nullable=False),
    Column("watermark", BigInteger, nullable=False, comment="The newest vote that it has seen."),
    Column("votes_hash", Text, nullable=False, comment="Of all votes that it has seen, in any order."),
    Column("since_training", Integer, nullable=False, comment="Votes that were folded in since it was trained."),
    Column("described", JSONB, nullable=False, comment="What it is: its numbers, and the shapes of its arrays."),
    Column("content", BYTEA, nullable=False, comment="Its arrays, little-endian, one after another."),
    Column("slope", DOUBLE_PRECISION, comment="Probability of a like: 1 / (1 + exp(-(slope · score + intercept)))."),
    Column("intercept", DOUBLE_PRECISION, comment="In the formula of slope."),
    Column("auc", DOUBLE_PRECISION, comment="On its user's own votes, each scored without having been seen."),
    Column("contradictions", ARRAY(Text), comment="Items whose votes it would not have expected, the worst first."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="That training took."),
    moment("trained_at"),
    moment("updated_at"),
    PrimaryKeyConstraint("user_id", "model_name", "algorithm"),
    CheckConstraint(USER_ID_CHECK, name="user_models_user_id_length"),
    info=BY_USER,
    comment="What has been learned of each user's taste, derived from pix.interactions.",
)

user_model_failures = Table(
    "user_model_failures",
    metadata,
    Column("user_id", Text),
    Column("model_name", Text),
    Column("algorithm", Text),
    Column("sqlstate", Text, nullable=False),
    Column("reason", Text, nullable=False),
    moment("failed_at"),
    PrimaryKeyConstraint("user_id", "model_name", "algorithm"),
    info=BY_USER,
    comment="Users whose model could not be trained, and why; gone when it can.",
)

algorithm_rules = Table(
    "algorithm_rules",
    metadata,
    Column("priority", Integer, primary_key=True, autoincrement=False, comment="The first row that fits is taken."),
    Column("algorithm", Text, nullable=False),
    Column(
        "needs_common_taste",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether it needs pix.common_taste.",
    ),
    Column("min_votes", Integer, comment="NULL, here and below: any number."),
    Column("max_votes", Integer),
    Column("min_likes", Integer),
    Column("max_likes", Integer),
    Column("min_dislikes", Integer),
    Column("max_dislikes", Integer),
    Column("min_fraction", DOUBLE_PRECISION, comment="Of likes among the votes."),
    Column("max_fraction", DOUBLE_PRECISION, comment="Which it is below."),
    Column(
        "run", Text, comment="The comparison of algorithms that says so; NULL: it is one of the rules that come along."
    ),
    Column("reason", Text, nullable=False),
    info=REPLICATED,
    comment="Which algorithm suits how many likes and dislikes.",
)

common_taste = Table(
    "common_taste",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("version", Text, nullable=False, comment="sha256 of what it holds."),
    Column("users", Integer, nullable=False, comment="Whose votes it was learned from."),
    Column("votes", Integer, nullable=False),
    Column("described", JSONB, nullable=False),
    Column("content", BYTEA, nullable=False, comment="Mean and covariance of tastes, over principal components."),
    Column("seconds", DOUBLE_PRECISION, nullable=False),
    moment("fitted_at"),
    info=REPLICATED,
    comment="What users have in common: the prior that hierarchical models are shrunk to.",
)

recommendations = Table(
    "recommendations",
    metadata,
    Column("user_id", Text),
    Column("model_name", Text),
    Column("rank", Integer, comment="From 1."),
    Column("item_id", Text, nullable=False),
    Column("score", DOUBLE_PRECISION, nullable=False),
    Column("probability", DOUBLE_PRECISION, comment="Of a like; NULL: not known."),
    Column("algorithm", Text, nullable=False),
    Column("liked_ids", ARRAY(Text), comment="What the user liked that is most like it."),
    moment("recommended_at"),
    PrimaryKeyConstraint("user_id", "model_name", "rank"),
    info=BY_USER,
    comment="What pix.recommend_all has found, for BI tools and e-mail.",
)

algorithm_selections = Table(
    "algorithm_selections",
    metadata,
    Column("run", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text),
    Column("parameters", JSONB, nullable=False, comment="What was asked for."),
    moment("begun_at"),
    CheckConstraint("octet_length(run) BETWEEN 1 AND 200", name="algorithm_selections_run_length"),
    info=REPLICATED,
    comment="Runs of pix.select_algorithms.",
)

algorithm_selection_tasks = Table(
    "algorithm_selection_tasks",
    metadata,
    Column("run", Text),
    Column("user_id", Text),
    Column("size", Integer, comment="Votes to train on."),
    Column("repeat", Integer, comment="From 1."),
    Column("ordinal", Integer, nullable=False, comment="The order in which tasks are done."),
    PrimaryKeyConstraint("run", "user_id", "size", "repeat"),
    schema=INTERNAL,
    info=BY_USER,
    comment="What is left to do of each run.",
)

algorithm_selection_results = Table(
    "algorithm_selection_results",
    metadata,
    Column("run", Text),
    Column("user_id", Text),
    Column("size", Integer),
    Column("repeat", Integer),
    Column("balance", Text, comment="none, oversample, or class_weight."),
    Column("algorithm", Text),
    Column("likes", Integer, comment="Among the votes that were trained on."),
    Column("test_auc", DOUBLE_PRECISION, comment="On votes that neither training nor the search has seen."),
    Column("cv_auc", DOUBLE_PRECISION, comment="Of the best parameters, in cross-validation."),
    Column("fit_seconds", DOUBLE_PRECISION),
    Column("predict_seconds", DOUBLE_PRECISION),
    Column("parameters", JSONB, comment="That were chosen."),
    Column("reason", Text, comment="Why there is no AUC."),
    PrimaryKeyConstraint("run", "user_id", "size", "repeat", "balance", "algorithm"),
    info=BY_USER,
    comment="How well each algorithm did, for each user.",
)

recommender_evaluations = Table(
    "recommender_evaluations",
    metadata,
    Column("run", Text),
    Column("recommender", Text, comment="An algorithm, rules, popularity, or random."),
    Column("metric", Text, comment="auc, precision, ndcg, coverage, or diversity."),
    Column("value", DOUBLE_PRECISION, comment="NULL: nothing to measure."),
    Column("low", DOUBLE_PRECISION, comment="95 % interval, over users."),
    Column("high", DOUBLE_PRECISION),
    Column("users", Integer, nullable=False, comment="On whom it was measured."),
    Column("model_name", Text, nullable=False),
    Column("split", Text, nullable=False, comment="last: each user's last like; time: the newest votes."),
    Column("k", Integer, nullable=False),
    moment("evaluated_at"),
    PrimaryKeyConstraint("run", "recommender", "metric"),
    info=REPLICATED,
    comment="How well recommendations would have met what users liked afterwards.",
)
