"""Classifiers, predictions, INT8 networks, TensorFlow graphs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"

ITEM_ID_CHECK = "octet_length(item_id) BETWEEN 1 AND 2000"
CLASSIFIER_CHECK = "octet_length(classifier) BETWEEN 1 AND 200"
EVALUATION = "validation, test, or fold 1, fold 2, … of the cross-validation."

TABLES = [
    "quantizations",
    "classifiers",
    "classifier_classes",
    "classifier_metrics",
    "classifier_class_metrics",
    "classifier_confusion",
    "predictions",
]

TYPES = """
CREATE TYPE pix.class_score AS (rank integer, label text, score real);
COMMENT ON TYPE pix.class_score IS 'A class and its probability: rank 1 is the most probable.';

CREATE TYPE pix.layer AS (layer text, operation text, shape integer[]);
COMMENT ON TYPE pix.layer IS 'A tensor that a network computes, by which operation, and its shape for one picture.';

CREATE TYPE pix.feature_map AS (rank integer, channel integer, strength real, picture bytea);
COMMENT ON TYPE pix.feature_map IS
    'Where a channel of a layer is active, as a PNG; strength: its mean activation, rank 1 is the strongest.';
"""

SETTINGS = "COMMENT ON TABLE pix.settings IS 'Settings of this database, one a row: default_model{more}.'"
PARTS = "COMMENT ON TABLE pix.model_parts IS '{what} in parts, addressed by their sha256.'"


def moment(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    op.execute(TYPES)
    op.add_column(
        "models",
        sa.Column("tensorflow_checksum", sa.Text, comment="sha256 of the TensorFlow graph, where it was kept."),
        schema="pix",
    )
    op.execute(SETTINGS.format(more=", network_memory_mb, tensorflow_threads, tensorflow_memory_mb"))
    op.execute(PARTS.format(what="ONNX files and TensorFlow graphs"))
    create_tables()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table, schema="pix")
    op.drop_column("models", "tensorflow_checksum", schema="pix")
    op.execute(SETTINGS.format(more=""))
    op.execute(PARTS.format(what="ONNX files"))
    op.execute("DROP TYPE pix.feature_map; DROP TYPE pix.layer; DROP TYPE pix.class_score")


def create_tables() -> None:
    feature_vector = postgresql.DOMAIN("feature_vector", postgresql.BYTEA, schema="pix", create_type=False)
    op.create_table(
        "quantizations",
        sa.Column("model_name", sa.Text, primary_key=True),
        sa.Column("quantized_from", sa.Text, nullable=False),
        sa.Column("model_checksum", sa.Text, nullable=False, comment="Of the INT8 network that was measured."),
        sa.Column("float_checksum", sa.Text, nullable=False, comment="Of the network that it was made from."),
        sa.Column("calibrated_on", sa.Integer, nullable=False, comment="Pictures."),
        sa.Column("compared_on", sa.Integer, nullable=False, comment="Other pictures, where there are enough."),
        sa.Column(
            "overlap",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="Share of the ten nearest neighbours that stay the same.",
        ),
        sa.Column("classifier", sa.Text, comment="The classifier whose accuracy was compared, if there is one."),
        sa.Column(
            "float_accuracy",
            postgresql.DOUBLE_PRECISION,
            comment="Of the classifier on compared pictures of its test part.",
        ),
        sa.Column("int8_accuracy", postgresql.DOUBLE_PRECISION, comment="The same with features of the INT8 network."),
        sa.Column(
            "float_ms", postgresql.DOUBLE_PRECISION, nullable=False, comment="Milliseconds per picture on one core."
        ),
        sa.Column("int8_ms", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.Column(
            "float_mb",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="What a process grows by to run it, in MiB.",
        ),
        sa.Column("int8_mb", postgresql.DOUBLE_PRECISION, nullable=False),
        moment("quantized_at"),
        schema="pix",
        comment="What quantizing a network to INT8 costs, and what it gains.",
    )
    op.create_table(
        "classifiers",
        sa.Column("classifier", sa.Text, primary_key=True),
        sa.Column("checksum", sa.Text, nullable=False, comment="sha256 of labels, weights and intercepts."),
        sa.Column("label_set", sa.Text, comment="What it was trained on; NULL for classes that came with a network."),
        sa.Column("model_name", sa.Text, nullable=False, comment="Whose features it takes."),
        sa.Column("model_checksum", sa.Text, comment="It is out of date unless this equals the model's checksum."),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("algorithm", sa.Text, nullable=False, comment="softmax, lda, or imported."),
        sa.Column(
            "parameters",
            postgresql.JSONB,
            nullable=False,
            comment="balanced, folds, and the strength of the penalty that was chosen.",
        ),
        sa.Column(
            "fingerprint", sa.Text, comment="sha256 of the items, their labels and pictures that it was trained on."
        ),
        sa.Column("items", sa.Integer, comment="Labelled items with features."),
        sa.Column(
            "left_out", sa.Integer, comment="Labelled items without features: no picture, or one that cannot be read."
        ),
        sa.Column("seconds", postgresql.DOUBLE_PRECISION, comment="What the training took."),
        moment("trained_at"),
        sa.CheckConstraint(CLASSIFIER_CHECK, name="classifiers_classifier_length"),
        schema="pix",
        comment="Final layers on stored features: class probabilities are softmax(weights · features + intercepts).",
    )
    op.create_table(
        "classifier_classes",
        sa.Column("classifier", sa.Text),
        sa.Column("class", sa.Integer, comment="From 1."),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("intercept", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.Column("weights", feature_vector, nullable=False, comment="pix.to_array reads it."),
        sa.PrimaryKeyConstraint("classifier", "class"),
        schema="pix",
        comment="The classes of a classifier, and their weights.",
    )
    op.create_table(
        "classifier_metrics",
        sa.Column("classifier", sa.Text),
        sa.Column("evaluation", sa.Text, comment=EVALUATION),
        sa.Column("items", sa.Integer, nullable=False),
        sa.Column("accuracy", postgresql.DOUBLE_PRECISION, nullable=False),
        sa.Column(
            "log_loss",
            postgresql.DOUBLE_PRECISION,
            nullable=False,
            comment="Mean negative logarithm of the true class's probability.",
        ),
        sa.Column("auc", postgresql.DOUBLE_PRECISION, comment="Mean over classes, each against the rest."),
        sa.PrimaryKeyConstraint("classifier", "evaluation"),
        schema="pix",
        comment="How good a classifier is on items that it was not trained on.",
    )
    op.create_table(
        "classifier_class_metrics",
        sa.Column("classifier", sa.Text),
        sa.Column("evaluation", sa.Text, comment=EVALUATION),
        sa.Column("label", sa.Text),
        sa.Column("items", sa.Integer, nullable=False, comment="Items of this class."),
        sa.Column(
            "precision",
            postgresql.DOUBLE_PRECISION,
            comment="Share of those called so that are; NULL if none is called so.",
        ),
        sa.Column(
            "recall",
            postgresql.DOUBLE_PRECISION,
            comment="Share of its items that are called so; NULL if there are none.",
        ),
        sa.Column(
            "auc", postgresql.DOUBLE_PRECISION, comment="Against all other classes; NULL without items of both kinds."
        ),
        sa.PrimaryKeyConstraint("classifier", "evaluation", "label"),
        schema="pix",
        comment="How good a classifier is for each class.",
    )
    op.create_table(
        "classifier_confusion",
        sa.Column("classifier", sa.Text),
        sa.Column("evaluation", sa.Text, comment=EVALUATION),
        sa.Column("actual", sa.Text),
        sa.Column("predicted", sa.Text),
        sa.Column("items", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("classifier", "evaluation", "actual", "predicted"),
        schema="pix",
        comment="The confusion matrix of a classifier, cells with items only.",
    )
    op.create_table(
        "predictions",
        sa.Column("item_id", sa.Text),
        sa.Column("classifier", sa.Text),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column(
            "score", postgresql.REAL, nullable=False, comment="Probability of the label, as the classifier has it."
        ),
        sa.Column(
            "classifier_checksum", sa.Text, nullable=False, comment="Stale unless it equals the classifier's checksum."
        ),
        moment("classified_at"),
        sa.PrimaryKeyConstraint("item_id", "classifier"),
        sa.CheckConstraint(ITEM_ID_CHECK, name="predictions_item_id_length"),
        schema="pix",
        comment="The most probable class of each item, as pix.classify_all left it.",
    )
