"""The one description of Pixelplum's tables, a module for each subject: migrations are checked against it."""

from pixload.migrations.columns import COLUMNS
from pixload.migrations.tables import catalogue, classifiers, clusters, features, search, user_models, votes
from pixload.migrations.tables.base import SCHEMA, metadata

__all__ = [
    "SCHEMA", "catalogue", "classifiers", "clusters", "features", "metadata", "search", "user_models", "votes",
]  # fmt: skip

for _table in metadata.tables.values():
    for _column in _table.columns:
        _column.comment = _column.comment or COLUMNS.get(_column.name)
