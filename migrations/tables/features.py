"""Tables of models and the features that they make."""

from __future__ import annotations

from pixload.migrations.tables.base import (
    BY_ITEM,
    INTERNAL,
    ITEM_ID_CHECK,
    MODEL_NAME_CHECK,
    REPLICATED,
    feature_vector,
    metadata,
    moment,
)
from sqlalchemy import BigInteger, CheckConstraint, Column, Identity, Index, Integer, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB, REAL

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
    moment("imported_at"),
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
    moment("extracted_at"),
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
    moment("failed_at"),
    PrimaryKeyConstraint("item_id", "model_name"),
    info=BY_ITEM,
    comment="Images that could not be read, and why; retried when the image or the model changes.",
)

extraction_runs = Table(
    "extraction_runs",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("model_name", Text, nullable=False),
    moment("started_at"),
    Column(
        "extracted",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="Images whose features this run has computed.",
    ),
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
    moment("quantized_at"),
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
    moment("fitted_at"),
    info=REPLICATED,
    comment="Models whose vectors are those of another with metadata appended, and how these are encoded.",
)
