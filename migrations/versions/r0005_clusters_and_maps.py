"""Clusters, principal components, maps."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

ITEM_ID_CHECK = "octet_length(item_id) BETWEEN 1 AND 2000"
CLUSTERING_CHECK = "octet_length(clustering) BETWEEN 1 AND 200"
MAP_CHECK = "octet_length(map) BETWEEN 1 AND 200"

feature_vector = postgresql.DOMAIN("feature_vector", postgresql.BYTEA, schema="pix", create_type=False)

TABLES = [
    "clusterings",
    "clustering_designs",
    "clusters",
    "cluster_members",
    "cluster_curves",
    "projections",
    "maps",
    "map_points",
]


TYPES = """
CREATE TYPE pix.cluster_cut AS (leaf integer, cluster integer);
COMMENT ON TYPE pix.cluster_cut IS
    'A cluster that items belong to, and the one that it is in at some level of a hierarchy.';
"""


def upgrade() -> None:
    op.execute(TYPES)
    op.execute("ALTER TYPE pix.item_filter ADD ATTRIBUTE clustering text, ADD ATTRIBUTE cluster integer")
    create_tables()
    op.execute("ALTER TABLE pix.clustering_designs ALTER COLUMN content SET STORAGE EXTERNAL")


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema="pix")
    op.execute("ALTER TYPE pix.item_filter DROP ATTRIBUTE cluster, DROP ATTRIBUTE clustering")
    op.execute("DROP TYPE pix.cluster_cut")


def moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def create_tables() -> None:
    op.create_table(
        "clusterings",
        sa.Column("clustering", sa.Text, primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column(
            "algorithm", sa.Text, nullable=False, comment="kmeans, minibatch_kmeans, gaussian_mixture, or hierarchical."
        ),
        sa.Column(
            "k", sa.Integer, nullable=False, comment="Clusters that items belong to; not the upper ones of a hierarchy."
        ),
        sa.Column(
            "dimensions",
            postgresql.ARRAY(sa.Integer),
            comment="Of the features, from 1, that were looked at; NULL: all.",
        ),
        sa.Column(
            "parameters",
            postgresql.JSONB,
            nullable=False,
            comment="What was asked for, and what the algorithm says of its fit.",
        ),
        sa.Column("packed_in", sa.Integer, nullable=False, comment="The packing whose items are all assigned."),
        sa.Column("items", sa.BigInteger, nullable=False, comment="That it was fitted on."),
        sa.Column(
            "inertia",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="Sum of their squared distances to the centres.",
        ),
        sa.Column(
            "moved",
            sa.BigInteger,
            comment="Items that the last refit put into another cluster; NULL: it was the first.",
        ),
        sa.Column("seconds", postgresql.DOUBLE_PRECISION, nullable=False, comment="What the fit took."),
        moment("fitted_at"),
        sa.CheckConstraint(CLUSTERING_CHECK, name="clusterings_clustering_length"),
        schema="pix",
        comment="Groupings of the catalogue by how items look.",
    )
    op.create_table(
        "clustering_designs",
        sa.Column("clustering", sa.Text, primary_key=True),
        sa.Column("content", postgresql.BYTEA, nullable=False, comment="Arrays, as numpy.savez writes them."),
        schema="pix",
        comment="What puts an item into a cluster.",
    )
    op.create_table(
        "clusters",
        sa.Column("clustering", sa.Text),
        sa.Column("cluster", sa.Integer, comment="From 1; refits keep the numbers of clusters that stay."),
        sa.Column("parent", sa.Integer, comment="The cluster above it, in a hierarchy; NULL: there is none."),
        sa.Column(
            "height",
            postgresql.DOUBLE_PRECISION,
            comment="How much its two parts differ: the inertia that joining them added.",
        ),
        sa.Column("items", sa.BigInteger, nullable=False),
        sa.Column(
            "centre", feature_vector, nullable=False, comment="Mean features, in the dimensions that were looked at."
        ),
        sa.Column("medoid", sa.Text, comment="The item that is nearest to the centre; NULL: it has no items."),
        sa.Column(
            "words",
            postgresql.ARRAY(sa.Text),
            nullable=False,
            comment="Words of its items' titles that are rarer elsewhere.",
        ),
        sa.Column("mean_price", sa.Numeric),
        sa.PrimaryKeyConstraint("clustering", "cluster"),
        schema="pix",
        comment="The clusters of each clustering.",
    )
    op.create_table(
        "cluster_members",
        sa.Column("item_id", sa.Text),
        sa.Column("clustering", sa.Text),
        sa.Column("cluster", sa.Integer, nullable=False),
        sa.Column("distance", postgresql.DOUBLE_PRECISION, nullable=False, comment="Euclidean, to the centre."),
        sa.PrimaryKeyConstraint("item_id", "clustering"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="cluster_members_item_id_length"),
        schema="pix",
        comment="Which cluster an item is in; in a hierarchy, the lowest.",
    )
    op.create_index("cluster_members_cluster", "cluster_members", ["clustering", "cluster"], schema="pix")
    op.create_table(
        "cluster_curves",
        sa.Column("clustering", sa.Text),
        sa.Column("k", sa.Integer),
        sa.Column(
            "silhouette",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="Mean over a sample of items; the larger the better.",
        ),
        sa.Column("inertia", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.PrimaryKeyConstraint("clustering", "k"),
        schema="pix",
        comment="How good other numbers of clusters were, where the number was chosen.",
    )
    op.create_table(
        "projections",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column("components", sa.Integer, nullable=False),
        sa.Column("mean", feature_vector, nullable=False),
        sa.Column("axes", feature_vector, nullable=False, comment="The principal axes, one after another."),
        sa.Column(
            "explained_variance",
            postgresql.ARRAY(postgresql.DOUBLE_PRECISION),
            nullable=False,
            comment="Of each component.",
        ),
        sa.Column(
            "explained_variance_ratio",
            postgresql.ARRAY(postgresql.DOUBLE_PRECISION),
            nullable=False,
            comment="The same, of all variance.",
        ),
        sa.Column("items", sa.BigInteger, nullable=False, comment="That it was fitted on."),
        moment("fitted_at"),
        schema="pix",
        comment="Principal components of the features of each model.",
    )
    op.create_table(
        "maps",
        sa.Column("map", sa.Text, primary_key=True),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column("method", sa.Text, nullable=False, comment="tsne, umap, or pca."),
        sa.Column("clustering", sa.Text, comment="The map shows one of its clusters; NULL: everything."),
        sa.Column("cluster", sa.Integer, comment="That cluster."),
        sa.Column("perplexity", postgresql.DOUBLE_PRECISION, comment="Neighbours that count, roughly; NULL for pca."),
        sa.Column("seed", sa.Integer, nullable=False),
        sa.Column("packed_in", sa.Integer, nullable=False, comment="The packing whose items are all on it."),
        sa.Column("items", sa.BigInteger, nullable=False, comment="That it was fitted on."),
        sa.Column(
            "trustworthiness",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="Of five neighbours on the map, from 0 to 1; 1: all are near in fact.",
        ),
        sa.Column("seconds", postgresql.DOUBLE_PRECISION, nullable=False, comment="What the fit took."),
        moment("fitted_at"),
        sa.CheckConstraint(MAP_CHECK, name="maps_map_length"),
        schema="pix",
        comment="Maps of the catalogue: what looks alike is near.",
    )
    op.create_table(
        "map_points",
        sa.Column("item_id", sa.Text),
        sa.Column("map", sa.Text),
        sa.Column("x", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.Column("y", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.PrimaryKeyConstraint("item_id", "map"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="map_points_item_id_length"),
        schema="pix",
        comment="Where each item is on a map.",
    )
    op.create_index("map_points_map", "map_points", ["map"], schema="pix")
