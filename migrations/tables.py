"""The one description of Pixelplum's tables: migrations are checked against it."""

from __future__ import annotations

from pixload.migrations.columns import COLUMNS
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    false,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOMAIN, DOUBLE_PRECISION, JSONB, REAL

SCHEMA = "pix"
INTERNAL = "pix_internal"

# How a cluster (Greenplum, Cloudberry) lays a table out; `distribution.py` makes clauses of it. What belongs to an
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


def _moment(name: str) -> Column:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


locks = Table(
    "locks",
    metadata,
    Column("subject", Text, comment="The table that is written."),
    Column("name", Text, comment="What of it: of which model, clustering, map, …"),
    PrimaryKeyConstraint("subject", "name"),
    schema=INTERNAL,
    info=REPLICATED,
    comment="Rows that whoever writes for long locks: nobody else can, as they could an advisory lock.",
)

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    info=REPLICATED,
    comment="Settings of this database, one a row: default_model, default_clustering, half_life_days, model_memory_mb, "
    "tensorflow_threads, tensorflow_memory_mb.",
)

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("title", Text),
    Column("brand", Text),
    Column("price", Numeric(12, 2)),
    Column("image_url", Text),
    Column("categories", JSONB),
    Column("sales_rank", JSONB),
    Column("related", JSONB),
    Column("description", Text),
    Column("attributes", JSONB, comment="Whatever else the source said of the item."),
    _moment("loaded_at"),
    CheckConstraint(ITEM_ID_CHECK, name="items_item_id_length"),
    info=BY_ITEM,
    comment="The catalogue: one row per item, with or without an image.",
)

images = Table(
    "images",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("content", BYTEA, nullable=False, comment="The image's file, byte for byte."),
    Column(
        "sha256",
        Text,
        Computed("encode(sha256(content), 'hex')", persisted=True),
        comment="Tells whether features were computed from this very image.",
    ),
    Column("format", Text, comment="JPEG, PNG, … as Pillow names it."),
    Column("width", Integer),
    Column("height", Integer),
    Column("source", Text, comment="The path or URL that the image was loaded from."),
    _moment("loaded_at"),
    CheckConstraint(ITEM_ID_CHECK, name="images_item_id_length"),
    info=BY_ITEM,
    comment="One image per item.",
)

labels = Table(
    "labels",
    metadata,
    Column("item_id", Text),
    Column("label_set", Text),
    Column("label", Text, nullable=False),
    PrimaryKeyConstraint("item_id", "label_set"),
    CheckConstraint(ITEM_ID_CHECK, name="labels_item_id_length"),
    CheckConstraint(LABEL_SET_CHECK, name="labels_label_set_length"),
    info=BY_ITEM,
    comment="What people say an item is: one label per item and label set.",
)

models = Table(
    "models",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column(
        "checksum",
        Text,
        comment="sha256 of the ONNX file, or of what pix.fit_metadata made; NULL where features came from elsewhere.",
    ),
    Column("dimensions", Integer, nullable=False),
    Column("size_bytes", BigInteger, comment="Size of the ONNX file."),
    Column("spec", JSONB, comment="Input, output and preprocessing, as the ONNX file itself states them."),
    Column("source", Text, nullable=False, comment="What the model was made from."),
    Column("agreement", REAL, comment="Largest difference to the original engine, relative to the features."),
    _moment("imported_at"),
    Column("tensorflow_checksum", Text, comment="sha256 of the TensorFlow graph, where it was kept."),
    CheckConstraint(MODEL_NAME_CHECK, name="models_model_name_length"),
    info=REPLICATED,
    comment="The models (and foreign sources) that features come from.",
)

model_parts = Table(
    "model_parts",
    metadata,
    Column("checksum", Text),
    Column("part", Integer),
    Column("content", BYTEA, nullable=False),
    PrimaryKeyConstraint("checksum", "part"),
    schema=INTERNAL,
    info=REPLICATED,
    comment="ONNX files and TensorFlow graphs in parts, addressed by their sha256.",
)

features = Table(
    "features",
    metadata,
    Column("item_id", Text),
    Column("model_name", Text),
    Column("model_checksum", Text, comment="Stale unless it equals the model's checksum."),
    Column("image_sha256", Text, comment="Stale unless it equals the image's sha256."),
    Column("vector", feature_vector, nullable=False),
    _moment("extracted_at"),
    Column("packed_in", Integer, comment="The packing that put this vector into a block; NULL: none has yet."),
    Column("block", Integer, comment="The block it is in, unless packed_in is NULL."),
    Column("position", Integer, comment="Its row there, from 1."),
    PrimaryKeyConstraint("item_id", "model_name"),
    CheckConstraint(ITEM_ID_CHECK, name="features_item_id_length"),
    Index("features_packed_in", "model_name", "packed_in"),
    info=BY_ITEM,
    comment="One vector per item and model.",
)

extraction_failures = Table(
    "extraction_failures",
    metadata,
    Column("item_id", Text),
    Column("model_name", Text),
    Column("model_checksum", Text, nullable=False),
    Column("image_sha256", Text, nullable=False),
    Column("sqlstate", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _moment("failed_at"),
    PrimaryKeyConstraint("item_id", "model_name"),
    info=BY_ITEM,
    comment="Images that could not be read, and why; retried when the image or the model changes.",
)

extraction_runs = Table(
    "extraction_runs",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("model_name", Text, nullable=False),
    _moment("started_at"),
    Column("extracted", BigInteger, nullable=False, server_default="0"),
    Column("failed", BigInteger, nullable=False, server_default="0"),
    Column("seconds", DOUBLE_PRECISION, nullable=False, server_default="0"),
    info=REPLICATED,
    comment="Calls of pix.extract_features: images done and seconds taken so far.",
)

quantizations = Table(
    "quantizations",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("quantized_from", Text, nullable=False),
    Column("model_checksum", Text, nullable=False, comment="Of the INT8 model that was measured."),
    Column("float_checksum", Text, nullable=False, comment="Of the model that it was made from."),
    Column("calibrated_on", Integer, nullable=False, comment="Images."),
    Column("compared_on", Integer, nullable=False, comment="Other images, where there are enough."),
    Column(
        "overlap", DOUBLE_PRECISION, nullable=False, comment="Fraction of the ten nearest neighbors that stay the same."
    ),
    Column("classifier", Text, comment="The classifier whose accuracy was compared, if there is one."),
    Column("float_accuracy", DOUBLE_PRECISION, comment="Of the classifier on compared images of its test part."),
    Column("int8_accuracy", DOUBLE_PRECISION, comment="The same with features of the INT8 model."),
    Column("float_ms", DOUBLE_PRECISION, nullable=False, comment="Milliseconds per image on one core."),
    Column("int8_ms", DOUBLE_PRECISION, nullable=False),
    Column("float_mb", DOUBLE_PRECISION, nullable=False, comment="What a process grows by to run it, in MiB."),
    Column("int8_mb", DOUBLE_PRECISION, nullable=False),
    _moment("quantized_at"),
    info=REPLICATED,
    comment="What quantizing a model to INT8 costs, and what it gains.",
)

metadata_models = Table(
    "metadata_models",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("base_model", Text, nullable=False, comment="Whose vectors metadata are appended to."),
    Column("base_checksum", Text, comment="It cannot be extended unless this equals the base model's checksum."),
    Column("fields", ARRAY(Text), nullable=False),
    Column("weight", DOUBLE_PRECISION, nullable=False, comment="Of metadata; 1: as much as the base model's vectors."),
    Column("terms", Integer, nullable=False, comment="Values of each field that have a number, at most."),
    Column("dimensions", Integer, nullable=False, comment="Numbers of metadata in each vector, its last ones."),
    Column("items", BigInteger, nullable=False, comment="That have vectors."),
    Column(
        "fitted_state",
        JSONB,
        nullable=False,
        comment="scale; blocks, what the numbers of each field are; empty, fields that have none.",
    ),
    _moment("fitted_at"),
    info=REPLICATED,
    comment="Models whose vectors are those of another with metadata appended, and how these are encoded.",
)

classifiers = Table(
    "classifiers",
    metadata,
    Column("classifier", Text, primary_key=True),
    Column("checksum", Text, nullable=False, comment="sha256 of labels, weights and intercepts."),
    Column("label_set", Text, comment="What it was trained on; NULL for classes that came with a model."),
    Column("model_name", Text, nullable=False, comment="Whose features it takes."),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("dimensions", Integer, nullable=False),
    Column("algorithm", Text, nullable=False, comment="softmax, lda, or imported."),
    Column(
        "parameters", JSONB, nullable=False, comment="balanced, folds, and the strength of the penalty that was chosen."
    ),
    Column("fingerprint", Text, comment="sha256 of the items, their labels and images that it was trained on."),
    Column("items", Integer, comment="Labeled items with features."),
    Column("left_out", Integer, comment="Labeled items without features: no image, or one that cannot be read."),
    Column("seconds", DOUBLE_PRECISION, comment="What the training took."),
    _moment("trained_at"),
    CheckConstraint(CLASSIFIER_CHECK, name="classifiers_classifier_length"),
    info=REPLICATED,
    comment="Final layers on stored features: class probabilities are softmax(weights · features + intercepts).",
)

classifier_classes = Table(
    "classifier_classes",
    metadata,
    Column("classifier", Text),
    Column("class", Integer, comment="From 1."),
    Column("label", Text, nullable=False),
    Column("intercept", DOUBLE_PRECISION, nullable=False),
    Column("weights", feature_vector, nullable=False, comment="pix.to_array reads it."),
    PrimaryKeyConstraint("classifier", "class"),
    info=REPLICATED,
    comment="The classes of a classifier, and their weights.",
)

EVALUATION = "validation, test, or fold 1, fold 2, … of the cross-validation."

classifier_metrics = Table(
    "classifier_metrics",
    metadata,
    Column("classifier", Text),
    Column("evaluation", Text, comment=EVALUATION),
    Column("items", Integer, nullable=False),
    Column("accuracy", DOUBLE_PRECISION, nullable=False),
    Column(
        "log_loss", DOUBLE_PRECISION, nullable=False, comment="Mean negative logarithm of the true class's probability."
    ),
    Column("auc", DOUBLE_PRECISION, comment="Mean over classes, each against the rest."),
    PrimaryKeyConstraint("classifier", "evaluation"),
    info=REPLICATED,
    comment="How good a classifier is on items that it was not trained on.",
)

classifier_class_metrics = Table(
    "classifier_class_metrics",
    metadata,
    Column("classifier", Text),
    Column("evaluation", Text, comment=EVALUATION),
    Column("label", Text),
    Column("items", Integer, nullable=False, comment="Items of this class."),
    Column("precision", DOUBLE_PRECISION, comment="Fraction of those called so that are; NULL if none is called so."),
    Column("recall", DOUBLE_PRECISION, comment="Fraction of its items that are called so; NULL if there are none."),
    Column("auc", DOUBLE_PRECISION, comment="Against all other classes; NULL without items of both kinds."),
    PrimaryKeyConstraint("classifier", "evaluation", "label"),
    info=REPLICATED,
    comment="How good a classifier is for each class.",
)

classifier_confusion = Table(
    "classifier_confusion",
    metadata,
    Column("classifier", Text),
    Column("evaluation", Text, comment=EVALUATION),
    Column("actual", Text),
    Column("predicted", Text),
    Column("items", Integer, nullable=False),
    PrimaryKeyConstraint("classifier", "evaluation", "actual", "predicted"),
    info=REPLICATED,
    comment="The confusion matrix of a classifier, cells with items only.",
)

predictions = Table(
    "predictions",
    metadata,
    Column("item_id", Text),
    Column("classifier", Text),
    Column("label", Text, nullable=False),
    Column("score", REAL, nullable=False, comment="Probability of the label, as the classifier has it."),
    Column("classifier_checksum", Text, nullable=False, comment="Stale unless it equals the classifier's checksum."),
    _moment("classified_at"),
    PrimaryKeyConstraint("item_id", "classifier"),
    CheckConstraint(ITEM_ID_CHECK, name="predictions_item_id_length"),
    info=BY_ITEM,
    comment="The most probable class of each item, as pix.classify_all left it.",
)

packs = Table(
    "packs",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="The blocks are out of date unless it equals the model's checksum."),
    Column("packed_in", Integer, nullable=False, comment="Number of the latest packing."),
    Column("items", BigInteger, nullable=False, comment="Vectors in all blocks."),
    Column("blocks", Integer, nullable=False),
    Column("checksum", Text, nullable=False, comment="sha256 of the blocks' checksums: names all of them at once."),
    _moment("packed_at"),
    schema=INTERNAL,
    info=REPLICATED,
    comment="Which packing the blocks of a model are as of.",
)

feature_blocks = Table(
    "feature_blocks",
    metadata,
    Column("model_name", Text),
    Column("block", Integer),
    Column("items", Integer, nullable=False),
    Column("item_ids", ARRAY(Text), nullable=False),
    Column("vectors", BYTEA, nullable=False, comment="The items' feature vectors, one after another."),
    Column("norms", BYTEA, nullable=False, comment="Their Euclidean lengths, little-endian float32."),
    Column("checksum", Text, nullable=False, comment="sha256 of the block's file, as hosts keep it."),
    PrimaryKeyConstraint("model_name", "block"),
    schema=INTERNAL,
    info={"distributed_by": ("model_name", "block")},
    comment="Feature vectors in blocks of about a thousand: what is searched, and indexes are built from.",
)

indexes = Table(
    "indexes",
    metadata,
    Column("index_name", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text, comment="It cannot be used unless this equals the model's checksum."),
    Column("algorithm", Text, nullable=False, comment="exact, annoy, or hnsw."),
    Column("metric", Text, nullable=False, comment="cosine, euclidean, or dot."),
    Column("parameters", JSONB, nullable=False, comment="Of the algorithm, defaults included."),
    Column("project_to", Integer, comment="Principal components that it holds, instead of whole vectors."),
    Column("packed_in", Integer, nullable=False, comment="The packing that it was built after."),
    Column("items", BigInteger, nullable=False, comment="Vectors that it finds."),
    Column("checksum", Text, nullable=False, comment="sha256 of its file."),
    Column("state_checksum", Text, nullable=False, comment="sha256 of the file that says how to read it."),
    Column("size_bytes", BigInteger, nullable=False, comment="Of both files."),
    Column("build_seconds", DOUBLE_PRECISION, nullable=False),
    Column("recall", DOUBLE_PRECISION, nullable=False, comment="Fraction of the ten nearest that it finds."),
    Column("recall_queries", Integer, nullable=False, comment="Items that recall was measured with."),
    _moment("built_at"),
    CheckConstraint("octet_length(index_name) BETWEEN 1 AND 200", name="indexes_index_name_length"),
    info=REPLICATED,
    comment="Indexes for approximate nearest neighbors.",
)

index_parts = Table(
    "index_parts",
    metadata,
    Column("checksum", Text),
    Column("part", Integer),
    Column("content", BYTEA, nullable=False),
    PrimaryKeyConstraint("checksum", "part"),
    schema=INTERNAL,
    info={"distributed_by": ("checksum", "part")},
    comment="Files of indexes in parts, addressed by their sha256.",
)

neighbors = Table(
    "neighbors",
    metadata,
    Column("item_id", Text),
    Column("model_name", Text),
    Column("rank", Integer, comment="From 1, the nearest."),
    Column("neighbor_id", Text, nullable=False),
    Column("distance", DOUBLE_PRECISION, nullable=False, comment="As pix.distance."),
    PrimaryKeyConstraint("item_id", "model_name", "rank"),
    info=BY_ITEM,
    comment="The neighbor graph: the nearest neighbors of every item, as pix.build_neighbor_graph left them.",
)

neighbor_graphs = Table(
    "neighbor_graphs",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("packed_in", Integer, nullable=False, comment="The packing that it was built after."),
    Column("k", Integer, nullable=False),
    Column("metric", Text, nullable=False),
    Column("done", ARRAY(Integer), nullable=False, comment="Blocks whose items have their neighbors."),
    Column("blocks", Integer, nullable=False),
    Column("items", BigInteger, nullable=False, comment="In all blocks."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="What it took so far."),
    Column("finished_at", DateTime(timezone=True), comment="NULL while blocks are missing."),
    info=REPLICATED,
    comment="How far the neighbor graph of a model is; a call that was stopped is taken up where it was.",
)

clusterings = Table(
    "clusterings",
    metadata,
    Column("clustering", Text, primary_key=True),
    Column("model_name", Text, nullable=False),
    Column("model_checksum", Text, comment="It is out of date unless this equals the model's checksum."),
    Column("algorithm", Text, nullable=False, comment="kmeans, minibatch_kmeans, gaussian_mixture, or hierarchical."),
    Column("k", Integer, nullable=False, comment="Clusters that items belong to; not the upper ones of a hierarchy."),
    Column("dimensions", ARRAY(Integer), comment="Of the features, from 1, that were looked at; NULL: all."),
    Column("parameters", JSONB, nullable=False, comment="What was asked for, and what the algorithm says of its fit."),
    Column("packed_in", Integer, nullable=False, comment="The packing whose items are all assigned."),
    Column("items", BigInteger, nullable=False, comment="That it was fitted on."),
    Column("inertia", DOUBLE_PRECISION, nullable=False, comment="Sum of their squared distances to the centers."),
    Column("moved", BigInteger, comment="Items that the last refit put into another cluster; NULL: it was the first."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="What the fit took."),
    _moment("fitted_at"),
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
    Column("parent", Integer, comment="The cluster above it, in a hierarchy; NULL: there is none."),
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
    comment="Which cluster an item is in; in a hierarchy, the lowest.",
)

cluster_curves = Table(
    "cluster_curves",
    metadata,
    Column("clustering", Text),
    Column("k", Integer),
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
    _moment("fitted_at"),
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
    _moment("fitted_at"),
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

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    _moment("created_at"),
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
    _moment("shown_at"),
    Column("policy", Text, nullable=False),
    Column("prior", Text, nullable=False, comment="flat, pooled, or hierarchical."),
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
    Column("dislikes", DOUBLE_PRECISION, nullable=False),
    Column("users", BigInteger, nullable=False, comment="Who have votes in it."),
    Column("algorithm", Text, nullable=False, comment="moments or likelihood."),
    Column("strength_cap", DOUBLE_PRECISION, nullable=False),
    _moment("refreshed_at"),
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
    _moment("simulated_at"),
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
    Column("intercept", DOUBLE_PRECISION),
    Column("auc", DOUBLE_PRECISION, comment="On its user's own votes, each scored without having been seen."),
    Column("contradictions", ARRAY(Text), comment="Items whose votes it would not have expected, the worst first."),
    Column("seconds", DOUBLE_PRECISION, nullable=False, comment="That training took."),
    _moment("trained_at"),
    _moment("updated_at"),
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
    _moment("failed_at"),
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
    Column("run", Text, comment="The model selection that says so; NULL: it is one of the rules that come along."),
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
    _moment("fitted_at"),
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
    _moment("recommended_at"),
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
    _moment("begun_at"),
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
    Column("recommender", Text, comment="An algorithm, ladder, popularity, or random."),
    Column("metric", Text, comment="auc, precision, ndcg, coverage, or diversity."),
    Column("value", DOUBLE_PRECISION, comment="NULL: nothing to measure."),
    Column("low", DOUBLE_PRECISION, comment="95 % interval, over users."),
    Column("high", DOUBLE_PRECISION),
    Column("users", Integer, nullable=False, comment="On whom it was measured."),
    Column("model_name", Text, nullable=False),
    Column("split", Text, nullable=False, comment="last: each user's last like; time: the newest votes."),
    Column("k", Integer, nullable=False),
    _moment("evaluated_at"),
    PrimaryKeyConstraint("run", "recommender", "metric"),
    info=REPLICATED,
    comment="How well recommendations would have met what users liked afterwards.",
)

for _table in metadata.tables.values():
    for _column in _table.columns:
        _column.comment = _column.comment or COLUMNS.get(_column.name)
