"""Two schemas, one for people and one for what functions need; and one word for one thing."""

from alembic import op

from pixload.migration import ALL_REPLAYED

revision = "0010"
down_revision = "0009"

# Functions and views are replayed after the last revision: here they would only be in the way.
INTERNAL_TABLES = {
    "model_parts": "model_parts",
    "index_parts": "index_parts",
    "feature_blocks": "feature_blocks",
    "packs": "packs",
    "clustering_designs": "clustering_states",
    "projections": "projections",
    "model_selection_tasks": "algorithm_selection_tasks",
    "locks": "locks",
}
TABLES = {
    "metadata_designs": "metadata_models",
    "user_model_policy": "algorithm_rules",
    "tastes": "common_taste",
    "model_selections": "algorithm_selections",
    "model_selection_results": "algorithm_selection_results",
}
COLUMNS = {
    "pix.features": {"block_row": "position"},
    "pix.indexes": {"method": "algorithm", "design_checksum": "state_checksum"},
    "pix.clusters": {"centre": "center"},
    "pix.maps": {"method": "algorithm"},
    "pix.arm_priors": {"method": "algorithm"},
    "pix.metadata_models": {"design": "fitted_state", "designed_at": "fitted_at"},
    "pix.algorithm_rules": {
        "needs_taste": "needs_common_taste",
        "min_share": "min_fraction",
        "max_share": "max_fraction",
    },
    "pix.common_taste": {"learned_at": "fitted_at"},
    "pix.user_models": {"taste_version": "common_taste_version"},
    "pix_internal.algorithm_selection_tasks": {"place": "ordinal"},
}
TYPES = {
    "neighbor": "nearest_item",
    "neighbor_pair": "nearest_pair",
    "duplicate": "duplicate_pair",
    "feature_map": "channel_map",
    "recommendation": "recommended_item",
    "taste_summary": "common_taste_summary",
}
INTERNAL_TYPES = ["embedding", "user_votes", "fitted_model"]
ATTRIBUTES = {
    "pix.channel_map": {"picture": "image"},
    "pix.vote_result": {"place": "ordinal"},
    "pix_internal.user_votes": {"block_rows": "positions"},
}
CONSTRAINTS = {
    "model_selections_run_length": ("algorithm_selections", "algorithm_selections_run_length"),
}
VALUES = [
    ("pix.clusterings", "algorithm", "hierarchical", "ward"),
    ("pix.impressions", "prior", "hierarchical", "tree"),
    ("pix.simulations", "prior", "hierarchical", "tree"),
    ("pix.recommender_evaluations", "recommender", "ladder", "rules"),
    ("pix.settings", "key", "network_memory_mb", "model_memory_mb"),
]

# What was learned names its kind and its arrays.
SPELLINGS = [
    ("pix.user_models", "centre", "center"),
    ("pix.common_taste", "centre", "center"),
    ("pix.common_taste", "Taste", "CommonTaste"),
]
SPELLED = """
UPDATE {table} SET described = replace(described::text, '"{old}"', '"{new}"')::jsonb
WHERE described::text LIKE '%"{old}"%'
"""

# A price of more than ten digits is no price; it is kept among the attributes, as the source wrote it.
UNLIKELY_PRICES = """
UPDATE pix.items SET attributes = coalesce(attributes, '{}') || jsonb_build_object('price', price)
WHERE NOT abs(price) < 9999999999.995;
ALTER TABLE pix.items ALTER COLUMN price TYPE numeric(12, 2)
    USING CASE WHEN abs(price) < 9999999999.995 THEN round(price, 2) END;
ALTER TABLE pix.clusters ALTER COLUMN mean_price TYPE numeric(12, 2)
    USING CASE WHEN abs(mean_price) < 9999999999.995 THEN round(mean_price, 2) END;
"""

NEW_FILTER = """
CREATE TYPE pix.item_filter AS (
    only_ids text[], except_ids text[], label text, label_set text, brand text, category text,
    min_price double precision, max_price double precision, clustering text, cluster bigint
);
"""
NEW_TYPES = """
CREATE TYPE pix.projection_summary AS (
    model_name text, components integer, mean pix.feature_vector, axes pix.feature_vector,
    explained_variance double precision[], explained_variance_ratio double precision[], items bigint,
    fitted_at timestamptz
);
CREATE TYPE pix.synthetic_users AS (
    truth text, users bigint, liked_labels bigint, taste_groups bigint, flipped double precision
);
CREATE TYPE pix_internal.located_items AS (item_ids text[], blocks integer[], positions integer[]);
"""
OLD_FILTER = """
CREATE TYPE pix.item_filter AS (
    candidates text[], excluded text[], label text, brand text, category text, min_price numeric, max_price numeric,
    clustering text, cluster integer
);
"""

ALGORITHM_CHECK = (
    "algorithm IN ('sgd_hinge', 'sgd_log', 'logistic', 'svm', 'naive_bayes', 'random_forest', 'xgboost', 'nearest', "
    "'centroid', 'one_class', 'hierarchical', 'ensemble')"
)


def upgrade() -> None:
    op.execute(ALL_REPLAYED)
    op.execute("CREATE SCHEMA pix_internal")
    for old, new in INTERNAL_TABLES.items():
        op.execute(f"ALTER TABLE pix.{old} SET SCHEMA pix_internal")
        rename("pix_internal", old, new)
    for old, new in TABLES.items():
        rename("pix", old, new)
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for old, new in TYPES.items():
        op.execute(f"ALTER TYPE pix.{old} RENAME TO {new}")
    for name in INTERNAL_TYPES:
        op.execute(f"ALTER TYPE pix.{name} SET SCHEMA pix_internal")
    for name, attributes in ATTRIBUTES.items():
        for old, new in attributes.items():
            op.execute(f"ALTER TYPE {name} RENAME ATTRIBUTE {old} TO {new}")
    for old, (table, new) in CONSTRAINTS.items():
        op.execute(f"ALTER TABLE pix.{table} RENAME CONSTRAINT {old} TO {new}")
    op.execute("DROP TYPE pix.item_filter")
    op.execute(NEW_FILTER)
    op.execute(NEW_TYPES)
    op.execute("ALTER TABLE pix.algorithm_rules DROP CONSTRAINT user_model_policy_algorithm_known")
    op.execute(UNLIKELY_PRICES)
    op.execute("ALTER TABLE pix.user_models ALTER COLUMN votes_hash TYPE text USING votes_hash::text")
    op.execute("ALTER TYPE pix_internal.fitted_model ALTER ATTRIBUTE votes_hash TYPE text")
    op.execute(
        "ALTER TABLE pix.interactions ADD CONSTRAINT interactions_value_range CHECK (value BETWEEN -1 AND 1) NOT VALID"
    )
    for table, column, old, new in VALUES:
        op.execute(f"UPDATE {table} SET {column} = '{new}' WHERE {column} = '{old}'")
    for table, old, new in SPELLINGS:
        op.execute(SPELLED.format(table=table, old=old, new=new))


def downgrade() -> None:
    for table, old, new in SPELLINGS:
        op.execute(SPELLED.format(table=table, old=new, new=old))
    for table, column, old, new in VALUES:
        op.execute(f"UPDATE {table} SET {column} = '{old}' WHERE {column} = '{new}'")
    op.execute("ALTER TABLE pix.interactions DROP CONSTRAINT interactions_value_range")
    op.execute("ALTER TYPE pix_internal.fitted_model ALTER ATTRIBUTE votes_hash TYPE numeric")
    op.execute("ALTER TABLE pix.user_models ALTER COLUMN votes_hash TYPE numeric USING votes_hash::numeric")
    op.execute("ALTER TABLE pix.clusters ALTER COLUMN mean_price TYPE numeric")
    op.execute("ALTER TABLE pix.items ALTER COLUMN price TYPE numeric")
    op.execute(
        f"ALTER TABLE pix.algorithm_rules ADD CONSTRAINT user_model_policy_algorithm_known CHECK ({ALGORITHM_CHECK})"
    )
    op.execute("DROP TYPE pix_internal.located_items")
    op.execute("DROP TYPE pix.synthetic_users")
    op.execute("DROP TYPE pix.projection_summary")
    op.execute("DROP TYPE pix.item_filter")
    op.execute(OLD_FILTER)
    for old, (table, new) in CONSTRAINTS.items():
        op.execute(f"ALTER TABLE pix.{table} RENAME CONSTRAINT {new} TO {old}")
    for name, attributes in ATTRIBUTES.items():
        for old, new in attributes.items():
            op.execute(f"ALTER TYPE {name} RENAME ATTRIBUTE {new} TO {old}")
    for name in INTERNAL_TYPES:
        op.execute(f"ALTER TYPE pix_internal.{name} SET SCHEMA pix")
    for old, new in TYPES.items():
        op.execute(f"ALTER TYPE pix.{new} RENAME TO {old}")
    for table, columns in COLUMNS.items():
        for old, new in columns.items():
            op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    for old, new in TABLES.items():
        rename("pix", new, old)
    for old, new in INTERNAL_TABLES.items():
        rename("pix_internal", new, old)
        op.execute(f"ALTER TABLE pix_internal.{old} SET SCHEMA pix")
    op.execute("DROP SCHEMA pix_internal")


def rename(schema: str, old: str, new: str) -> None:
    """Rename a table and its primary key."""
    if old != new:
        op.execute(f"ALTER TABLE {schema}.{old} RENAME TO {new}")
        op.execute(f"ALTER TABLE {schema}.{new} RENAME CONSTRAINT {old}_pkey TO {new}_pkey")
