"""Labels of items: what a classifier can be trained on, and what not."""

from __future__ import annotations

from dataclasses import dataclass

from pixelplum.errors import (
    FeaturesMissing,
    LabelsUnknown,
    PixelplumError,
    TooFewItems,
    TooManyFeatures,
    literal,
)  # fmt: skip
from pixelplum.server.database import Database, Model

OF_SET = "l.label_set = $label_set::text"
WITH_FEATURES = """
pix.labels l JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = $model_name::text
"""


@dataclass(frozen=True)
class Problem:
    """What labels must not be.

    Parameters
    ----------
    query : str
        Has a row if they are.
    error : type of PixelplumError
    message, hint : str
        With ``{names}`` of the row's columns, and of label_set, model_name and dimensions.
    """

    query: str
    error: type[PixelplumError]
    message: str
    hint: str


EXTRACT = "CALL pix.extract_features({model_name});"
PROBLEMS = (
    Problem(
        f"SELECT 1 FROM pix.labels l WHERE {OF_SET} HAVING count(DISTINCT l.label) = 1", TooFewItems,
        "Label set {label_set} has one class only", "Label items of at least two kinds.",
    ),
    Problem(
        f"SELECT l.item_id FROM pix.labels l WHERE {OF_SET} AND octet_length(l.label) > 500 ORDER BY l.item_id LIMIT 1",
        TooFewItems, "The label of item {item_id} in label set {label_set} is longer than 500 bytes",
        "Name classes shortly; what describes an item belongs into pix.items.",
    ),
    Problem(
        f"""
        SELECT count(*) AS unknown, min(l.item_id) AS item_id,
            (SELECT count(*) FROM pix.labels l WHERE {OF_SET}) AS total
        FROM pix.labels l LEFT JOIN pix.items i ON i.item_id = l.item_id LEFT JOIN pix.images p ON p.item_id = l.item_id
        WHERE {OF_SET} AND i.item_id IS NULL AND p.item_id IS NULL HAVING count(*) > 0
        """,
        LabelsUnknown,
        "Label set {label_set} labels {unknown} of {total} items that are not in the catalogue, such as {item_id}",
        "Load them, or remove their labels: DELETE FROM pix.labels l WHERE l.label_set = {label_set} AND NOT EXISTS "
        "(SELECT FROM pix.items i WHERE i.item_id = l.item_id) AND NOT EXISTS "
        "(SELECT FROM pix.images i WHERE i.item_id = l.item_id)",
    ),
    Problem(
        f"""
        SELECT count(*) AS items, min(l.item_id) AS item_id FROM {WITH_FEATURES}
        WHERE {OF_SET} AND f.model_checksum IS DISTINCT FROM $checksum::text HAVING count(*) > 0
        """,
        FeaturesMissing,
        "{items} labeled items have features of an earlier version of model {model_name}, such as {item_id}", EXTRACT,
    ),
    Problem(
        f"""
        SELECT count(*) AS items, min(l.item_id) AS item_id FROM pix.labels l
        JOIN pix.pending_images p ON p.item_id = l.item_id AND p.model_name = $model_name::text
        WHERE {OF_SET} HAVING count(*) > 0
        """,
        FeaturesMissing,
        "{items} labeled images have no up-to-date features of model {model_name}, such as {item_id}", EXTRACT,
    ),
    Problem(
        f"""
        SELECT min(l.item_id) AS item_id FROM {WITH_FEATURES}
        WHERE {OF_SET} AND octet_length(f.vector) <> 4 * $dimensions::int HAVING count(*) > 0
        """,
        FeaturesMissing, "The features of item {item_id} do not have the {dimensions} dimensions of model {model_name}",
        "Extract or load them again; vectors of different models need different model names.",
    ),
    Problem(
        f"""
        SELECT sum(octet_length(f.vector)::int8)::int8 / 1000000 AS megabytes FROM {WITH_FEATURES}
        WHERE {OF_SET} HAVING sum(octet_length(f.vector)::int8) > 1000000000
        """,
        TooManyFeatures,
        "The labeled items have {megabytes} MB of features, more than the 1,000 MB that one training can take",
        "Train on a label set of fewer items: a random part of this one will do nearly as well.",
    ),
    Problem(
        f"SELECT 1 FROM {WITH_FEATURES} WHERE {OF_SET} HAVING count(*) = 0", FeaturesMissing,
        "No item of label set {label_set} has features of model {model_name}",
        "Load images and extract their features, or name another model.",
    ),
    Problem(
        f"""
        SELECT l.label FROM pix.labels l
        LEFT JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = $model_name::text
        WHERE {OF_SET} GROUP BY l.label HAVING count(f.item_id) < 2 ORDER BY l.label LIMIT 1
        """,
        TooFewItems,
        "Class {label} of label set {label_set} has fewer than two items with features of model {model_name}",
        "Label more of its kind, or remove the class: DELETE FROM pix.labels WHERE label_set = {label_set} AND "
        "label = {label};",
    ),
    Problem(
        f"""
        SELECT l.label FROM {WITH_FEATURES} WHERE {OF_SET}
        GROUP BY l.label HAVING count(*) FILTER (WHERE pix.split_of(l.item_id) = 'train') = 0 ORDER BY l.label LIMIT 1
        """,
        TooFewItems, "Class {label} of label set {label_set} has no items in the part that is trained on",
        "Label more of its kind: 80 % of all items are trained on, see pix.split_of.",
    ),
)  # fmt: skip


def check_labels(database: Database, label_set: str | None, model: Model) -> None:
    """Refuse a label set that nothing can be learned from, by the features of a model.

    Raises
    ------
    PixelplumError
        Of the problem that it has.
    """
    if not database.value(f"SELECT EXISTS (SELECT FROM pix.labels l WHERE {OF_SET})", label_set=label_set):
        database.row("SELECT pix_internal.raise_no_label_set($label_set::text)", label_set=label_set)
    about = {"label_set": label_set, **vars(model)}
    for problem in PROBLEMS:
        row = database.row(problem.query, **about)
        if row is not None:
            names = {name: literal(value) if isinstance(value, str) else value for name, value in (about | row).items()}
            raise problem.error(problem.message.format(**names), hint=problem.hint.format(**names))
