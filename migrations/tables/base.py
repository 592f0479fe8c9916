"""What the tables of all subjects have in common."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData, func
from sqlalchemy.dialects.postgresql import BYTEA, DOMAIN

SCHEMA = "pix"
INTERNAL = "pix_internal"

# How Greenplum and Cloudberry lay a table out; `distribution.py` makes clauses of it. What belongs to an
# item or a user is on their segment, whatever has to be read on every segment is on all of them.
BY_ITEM = {"distributed_by": ("item_id",)}
BY_USER = {"distributed_by": ("user_id",)}
REPLICATED = {"distributed_by": ()}

metadata = MetaData(schema=SCHEMA)

# A key must fit into an index entry (2,704 bytes) together with a model's or label set's name.
ITEM_ID_CHECK = "octet_length(item_id) BETWEEN 1 AND 2000"
USER_ID_CHECK = "octet_length(user_id) BETWEEN 1 AND 200"
MODEL_NAME_CHECK = "octet_length(model_name) BETWEEN 1 AND 200"
LABEL_SET_CHECK = "octet_length(label_set) BETWEEN 1 AND 200"
CLASSIFIER_CHECK = "octet_length(classifier) BETWEEN 1 AND 200"
CLUSTERING_CHECK = "octet_length(clustering) BETWEEN 1 AND 200"
MAP_CHECK = "octet_length(map) BETWEEN 1 AND 200"
VECTOR_CHECK = "octet_length(VALUE) > 0 AND octet_length(VALUE) % 4 = 0"

feature_vector = DOMAIN("feature_vector", BYTEA, schema=SCHEMA, create_type=False)


def moment(name: str) -> Column:
    """A column for the moment at which its row was written."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())
