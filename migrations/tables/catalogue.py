"""Tables of what people bring, and of the database itself."""

from __future__ import annotations

from pixload.migrations.tables.base import (
    BY_ITEM,
    INTERNAL,
    ITEM_ID_CHECK,
    LABEL_SET_CHECK,
    REPLICATED,
    metadata,
    moment,
)
from sqlalchemy import CheckConstraint, Column, Computed, Integer, Numeric, PrimaryKeyConstraint, Table, Text
from sqlalchemy.dialects.postgresql import BYTEA, JSONB

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
    moment("loaded_at"),
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
    moment("loaded_at"),
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
