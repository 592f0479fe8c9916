"""What tables, columns and types are, as `\\d+` and BI tools show it: said again at each `pix migrate`.

Tables and their columns say so in `tables/`; functions and views in `sql/`. Here are the columns of
views, and the types.
"""

from __future__ import annotations

from collections.abc import Iterator

from pixload.migrations.columns import COLUMNS
from pixload.migrations.tables import metadata
from sqlalchemy import Connection, Table

VIEWS = {
    "algorithm_ranking": {
        "rank": "Among algorithms of this run and size, from 1, the best.",
        "balance": "How the rarer of likes and dislikes was made up for.",
        "mean_auc": "On votes that training has not seen, mean over users.",
        "cv_auc": "In cross-validation, mean over users.",
        "gap": "cv_auc less mean_auc: how much it fools itself.",
        "without_result": "Trainings without a result: too few votes of one kind.",
    },
    "algorithm_selection_progress": {"pending": "Splits of votes that are still to be tried."},
    "arm_posteriors": {"likes": "As they count today.", "dislikes": "As they count today."},
    "builds": {
        "pid": "The process that builds.",
        "percent": "How much of it is done.",
        "building": "What is being built.",
    },
    "classifier_ranking": {
        "auc": "Area under the ROC curve, one class against the others, mean over classes; 0.5 is chance.",
        "balanced": "Whether rare classes weighed as much as frequent ones.",
        "items": "Items that it was trained and measured on.",
        "accuracy": "Fraction of test items that are classified right.",
        "log_loss": "Mean negative logarithm of the true class's probability.",
        "cross_validated_accuracy": "Mean over the folds.",
        "cross_validated_deviation": "Standard deviation over the folds.",
        "usable": "Whether the model is still the one it was trained on.",
    },
    "clustering_status": {
        "k": "How many clusters.",
        "dimensions": "Dimensions that it looks at; NULL: all.",
        "items": "Items in its clusters.",
        "added": "Items that came or changed since: pix.refresh_clusters takes them in.",
        "moved": "Items that the last refit put into another cluster.",
        "usable": "Whether the model is still the one it was fitted on.",
    },
    "extraction_progress": {
        "images": "Images that there are: extracted, failed and pending.",
        "stale": "Images among the pending or failed that have features of an earlier image or model.",
        "pending": "Images that the next pix.extract_features will work on.",
        "images_per_second": "In the latest run.",
    },
    "identical_images": {"sha256": "Of the image file.", "items": "Items that have it.", "item_ids": "Which items."},
    "index_status": {
        "items": "Items that it finds.",
        "added": "Items that came or changed since, which are compared one by one.",
        "removed": "Items that it holds and that are deleted or changed.",
        "usable": "Whether the model is still the one it was built for.",
    },
    "item_anomalies": {
        "distance": "To the nearest neighbor.",
        "mean_distance": "To all neighbors in the graph.",
        "deviations": "By how many standard deviations that is above the mean of all items.",
        "fraction_nearer": "Fraction of items that are nearer to their neighbors.",
    },
    "map_status": {
        "clustering": "The map shows one of its clusters; NULL: everything.",
        "perplexity": "Neighbors that count, roughly; NULL for pca.",
        "items": "Points on the map.",
        "added": "Items that came or changed since: pix.refresh_map places them.",
        "usable": "Whether the model is still the one that the map shows.",
    },
    "opinions": {"value": "From -1, a dislike, to 1, a like.", "vote_id": "The vote that it comes from."},
    "pooled_arms": {
        "users": "Users who have votes in it.",
        "likes": "As they count today.",
        "dislikes": "As they count today.",
    },
    "projections": {
        "components": "How many.",
        "items": "Items that they were fitted on.",
        "usable": "Whether the model is still the one they were fitted on.",
    },
    "regret_curves": {
        "likes": "Up to this vote, mean per user.",
        "regret": "Likes that nothing but liked labels would have earned more, mean per user.",
        "users": "Users who were simulated.",
    },
    "taste_trend": {"week": "Its Monday.", "cluster": "The cluster that the item is in now."},
    "user_anomalies": {
        "contradiction_fraction": "Fraction of votes that the user's own model would not have expected.",
        "contradictions": "Items whose votes it would not have expected, the worst first.",
    },
}

TYPES = {
    "channel_map": "Where a channel of a layer is active, as a PNG; strength: mean activation, rank 1 the strongest.",
    "class_score": "A class and its probability: rank 1 is the most probable.",
    "cluster_cut": "A cluster that items belong to, and the one that it is in at some level of a tree.",
    "common_taste_summary": "What pix.fit_common_taste has looked at.",
    "duplicate_pair": "Two items that look the same; item_id is the first of them by name.",
    "explanation": "A part of why a user model scores an item as it does.",
    "finding": "What pix.doctor says of a host: segment is NULL for the coordinator, and where there are no segments.",
    "item_filter": "Which items may be answers, as pix.items_where makes it; what is NULL is not a condition.",
    "layer": "A tensor that a model computes, by which operation, and its shape for one image.",
    "nearest_item": "A look-alike: rank 1 is the nearest.",
    "nearest_pair": "A look-alike of one of several items: rank 1 is the nearest to item_id.",
    "packing": "Vectors that went into blocks and out of them, and the vectors that the blocks hold now.",
    "policy_value": "What a policy is worth, from a log of other policies.",
    "projection_summary": "Principal components of a model's features, and how much they explain.",
    "recall": "Fraction of the k nearest that an index finds, and quantiles of times of queries with it and without.",
    "recommended_item": "An item that a user will like, and why.",
    "suggestion": "An item that a user might like, and how it was chosen.",
    "synthetic_users": "Users for pix.simulate, as pix.users_who_like makes them.",
    "user_model_summary": "What pix.train_user_model has made.",
    "vote_result": "What became of a vote of pix.vote_batch.",
}
DOMAINS = {"feature_vector": "A feature vector: little-endian float32, four bytes a dimension. pix.to_array reads it."}

SCHEMAS = {
    "pix": "Pixelplum: what to query and to call. docs/reference/sql.md lists it, and \\df+ pix.* explains it.",
    "pix_internal": "Pixelplum's own: nothing here is to be called or read, and all of it may change.",
}

COLUMNS_OF_VIEWS = """
SELECT c.relname, a.attname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pix' AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum
"""


def comments(connection: Connection) -> Iterator[str]:
    """Write the statements that say what everything is, but for functions and views themselves."""
    for table in metadata.sorted_tables:
        yield from _of_table(table)
    for name, comment in SCHEMAS.items():
        yield _comment(f"SCHEMA {name}", comment)
    yield _comment("COLUMN pix.alembic_version.version_num", COLUMNS["version_num"])
    yield _comment("TABLE pix.alembic_version", "The revision of the tables, which pix migrate brings up to date.")
    for kind, texts in (("TYPE", TYPES), ("DOMAIN", DOMAINS)):
        for name, comment in texts.items():
            yield _comment(f"{kind} pix.{name}", comment)
    with connection.connection.cursor() as cursor:
        cursor.execute(COLUMNS_OF_VIEWS)
        for view, column in cursor.fetchall():
            if comment := VIEWS.get(view, {}).get(column, COLUMNS.get(column)):
                yield _comment(f"COLUMN pix.{view}.{column}", comment)


def _of_table(table: Table) -> Iterator[str]:
    yield _comment(f"TABLE {table}", table.comment)
    for column in table.columns:
        if column.comment:
            yield _comment(f"COLUMN {table}.{column.name}", column.comment)


def _comment(what: str, comment: str) -> str:
    literal = comment.replace("'", "''")
    return f"COMMENT ON {what} IS '{literal}'"
