"""Tables of clusterings, projections and maps."""

from __future__ import annotations

from pixload.migrations.tables.base import (
    BY_ITEM,
    CLUSTERING_CHECK,
    INTERNAL,
    ITEM_ID_CHECK,
    MAP_CHECK,
    REPLICATED,
    feature_vector,
    metadata,
    moment,
)
from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Numeric, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB

clusterings = Table(
    "clusterings",
    metadata,
    Column("clustering", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("algorithm", Text, nullable=False, comment="Which one; pix.algorithms('clustering') lists them."),
    Column("k", Integer, nullable=False, comment="Clusters that items belong to; not the upper ones of a tree."),
    Column("dimensions", ARRAY(Integer), comment="Of the features, from 1, that were looked at; NULL: all."),
    Column("parameters", JSONB, nullable=False, comment="What was asked for, and what the algorithm says of its fit."),
    Column("packed_in", Integer, nullable=False, comment="The packing whose items are all assigned."),
    Column("items", BigInteger, nullable=False, comment="That it was fitted on."),
    Column("inertia", DOUBLE_PRECISION, nullable=False, comment="Sum of their squared distances to the centers."),
    Column("moved", BigInteger, comment="Items that the last refit put into another cluster; NULL: it was the first."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="What the fit took."),
    moment("fitted_at"),
    CheckConstraint(CLUSTERING_CHECK, name="clusterings_clustering_length"),
    info=REPLICATED,
    comment="Groupings of the catalogue by how items look.",
)

clustering_states = Table(
    "clustering_states",
    metadata,
    Column("clustering", Text, primary_key=True),
    Column("content", BYTEA, nullable=False, comment="Arrays, as numpy.savez writes them."),
    schema=INTERNAL,
    info=REPLICATED,
    comment="What puts an item into a cluster.",
)

clusters = Table(
    "clusters",
    metadata,
    Column("clustering", Text),
    Column("cluster", Integer, comment="From 1; refits keep the numbers of clusters that stay."),
    Column("parent", Integer, comment="The cluster above it, in a tree; NULL: there is none."),
    Column("height", DOUBLE_PRECISION, comment="How much its two parts differ: the inertia that joining them added."),
    Column("items", BigInteger, nullable=False),
    Column("center", feature_vector, nullable=False, comment="Mean features, in the dimensions that were looked at."),
    Column("medoid", Text, comment="The item that is nearest to the center; NULL: it has no items."),
    Column("words", ARRAY(Text), nullable=False, comment="Words of its items' titles that are rarer elsewhere."),
    Column("mean_price", Numeric(12, 2)),
    PrimaryKeyConstraint("clustering", "cluster"),
    info=REPLICATED,
    comment="The clusters of each clustering.",
)

cluster_members = Table(
    "cluster_members",
    metadata,
    Column("item_id", Text),
    Column("clustering", Text),
    Column("cluster", Integer, nullable=False),
    Column("distance", DOUBLE_PRECISION, nullable=False, comment="Euclidean, to the center."),
    PrimaryKeyConstraint("item_id", "clustering"),
    CheckConstraint(ITEM_ID_CHECK, name="cluster_members_item_id_length"),
    Index("cluster_members_cluster", "clustering", "cluster"),
    info=BY_ITEM,
    comment="Which cluster an item is in; in a tree, the lowest.",
)

cluster_curves = Table(
    "cluster_curves",
    metadata,
    Column("clustering", Text),
    Column("k", Integer, comment="How many clusters."),
    Column(
        "silhouette", DOUBLE_PRECISION, nullable=False, comment="Mean over a sample of items; the larger the better."
    ),
    Column("inertia", DOUBLE_PRECISION, nullable=False),
    PrimaryKeyConstraint("clustering", "k"),
    info=REPLICATED,
    comment="How good other numbers of clusters were, where the number was chosen.",
)

projections = Table(
    "projections",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("components", Integer, nullable=False),
    Column("mean", feature_vector, nullable=False),
    Column("axes", feature_vector, nullable=False, comment="The principal axes, one after another."),
    Column("explained_variance", ARRAY(DOUBLE_PRECISION), nullable=False, comment="Of each component."),
    Column("explained_variance_ratio", ARRAY(DOUBLE_PRECISION), nullable=False, comment="The same, of all variance."),
    Column("items", BigInteger, nullable=False, comment="That it was fitted on."),
    moment("fitted_at"),
    schema=INTERNAL,
    info=REPLICATED,
    comment="Principal components of the features of each model.",
)

maps = Table(
    "maps",
    metadata,
    Column("map", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("algorithm", Text, nullable=False, comment="tsne, umap, or pca."),
    Column("clustering", Text, comment="The map shows one of its clusters; NULL: everything."),
    Column("cluster", Integer, comment="That cluster."),
    Column("perplexity", DOUBLE_PRECISION, comment="Neighbors that count, roughly; NULL for pca."),
    Column("seed", Integer, nullable=False),
    Column("packed_in", Integer, nullable=False, comment="The packing whose items are all on it."),
    Column("items", BigInteger, nullable=False, comment="That it was fitted on."),
    Column(
        "trustworthiness",
        DOUBLE_PRECISION,
        nullable=False,
        comment="Of five neighbors on the map, from 0 to 1; 1: all are near in fact.",
    ),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="What the fit took."),
    moment("fitted_at"),
    CheckConstraint(MAP_CHECK, name="maps_map_length"),
    info=REPLICATED,
    comment="Maps of the catalogue: what looks alike is near.",
)

map_points = Table(
    "map_points",
    metadata,
    Column("item_id", Text),
    Column("map", Text),
    Column("x", DOUBLE_PRECISION, nullable=False),
    Column("y", DOUBLE_PRECISION, nullable=False),
    PrimaryKeyConstraint("item_id", "map"),
    CheckConstraint(ITEM_ID_CHECK, name="map_points_item_id_length"),
    Index("map_points_map", "map"),
    info=BY_ITEM,
    comment="Where each item is on a map.",
)
