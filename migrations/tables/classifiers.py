"""Tables of classifiers, what they are worth and what they predict."""

from __future__ import annotations

from pixload.migrations.tables.base import (
    BY_ITEM,
    CLASSIFIER_CHECK,
    ITEM_ID_CHECK,
    REPLICATED,
    feature_vector,
    metadata,
    moment,
)
from sqlalchemy import CheckConstraint, Column, Integer, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import DOUBLE_PRECISION, JSONB, REAL

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
    moment("trained_at"),
    CheckConstraint(CLASSIFIER_CHECK, name="classifiers_classifier_length"),
    info=REPLICATED,
    comment="Final layers on stored features: class probabilities are softmax(weights · features + intercepts).",
)

classifier_classes = Table(
    "classifier_classes",
    metadata,
    Column("classifier", Text),
    Column("class", Integer, comment="From 1."),
    Column("label", Text, nullable=False, comment="Name of the class."),
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
    Column("label", Text, comment="Name of the class."),
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
    moment("classified_at"),
    PrimaryKeyConstraint("item_id", "classifier"),
    CheckConstraint(ITEM_ID_CHECK, name="predictions_item_id_length"),
    info=BY_ITEM,
    comment="The most probable class of each item, as pix.classify_all left it.",
)
