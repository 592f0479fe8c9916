"""Training classifiers on stored features; scikit-learn, which takes a second to import, is needed here only."""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np

from pixelplum.core.classifiers import training
from pixelplum.core.search.vectors import FLOAT32, from_bytes
from pixelplum.errors import TooFewItems, VectorError, literal
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver
from pixelplum.server.labels import check_labels

LABELED = """
SELECT array_agg(l.label ORDER BY l.item_id) AS labels, array_agg(pix.split_of(l.item_id) ORDER BY l.item_id) AS splits,
    string_agg(f.vector, ''::bytea ORDER BY l.item_id) AS vectors,
    encode(sha256(convert_to(string_agg(
        jsonb_build_array(l.item_id, l.label, f.model_checksum, f.image_sha256)::text, E'\\n' ORDER BY l.item_id
    ), 'UTF8')), 'hex') AS fingerprint
FROM pix.labels l JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = $model_name::text
WHERE l.label_set = $label_set::text
"""
COUNT = "SELECT count(*) FROM pix.labels l WHERE l.label_set = $label_set::text"
CHECK_NAME = "SELECT pix_internal.check_classifier_name($classifier::text, false)"
STORE = """
SELECT pix_internal.store_classifier($classifier::text, pix.find_model($model_name::text), $label_set::text,
    $algorithm::text, $parameters::jsonb, $labels::text[], $weights::bytea, $intercepts::float8[])
"""
STORE_TRAINING = """
UPDATE pix.classifiers c SET fingerprint = $fingerprint::text, items = $items::int, left_out = $left_out::int,
    seconds = $seconds::float8
WHERE c.classifier = $classifier::text
"""
METRICS = """
INSERT INTO pix.classifier_metrics (classifier, evaluation, items, accuracy, log_loss, auc)
SELECT $classifier::text, e.evaluation, e.items, e.accuracy, e.log_loss, e.auc
FROM jsonb_to_recordset($evaluations::jsonb) e (
    evaluation text, items integer, accuracy double precision, log_loss double precision, auc double precision)
"""
CLASS_METRICS = """
INSERT INTO pix.classifier_class_metrics (classifier, evaluation, label, items, precision, recall, auc)
SELECT $classifier::text, e.evaluation, c.label, c.items, c."precision", c.recall, c.auc
FROM jsonb_to_recordset($evaluations::jsonb) e (evaluation text, classes jsonb), jsonb_to_recordset(e.classes)
    c (label text, items integer, "precision" double precision, recall double precision, auc double precision)
"""
CONFUSION = """
INSERT INTO pix.classifier_confusion (classifier, evaluation, actual, predicted, items)
SELECT $classifier::text, e.evaluation, c.actual, c.predicted, c.items
FROM jsonb_to_recordset($evaluations::jsonb) e (evaluation text, confusion jsonb),
    jsonb_to_recordset(e.confusion) c (actual text, predicted text, items integer)
"""


@driver
def train_classifier(
    database: Database, classifier: str, label_set: str | None, model_name: str | None, algorithm: str, balanced: bool,
    folds: int,
) -> None:  # fmt: skip
    """Train a classifier and measure it: the body of ``pix.train_classifier``."""
    begun = time.monotonic()
    model = database.model(model_name)
    database.run(CHECK_NAME, classifier=classifier)
    check_labels(database, label_set, model)
    labeled = database.row(LABELED, model_name=model.model_name, label_set=label_set)
    labels, splits, vectors = labeled["labels"], labeled["splits"], labeled["vectors"]
    smallest = min(Counter(labels).values())
    if folds > smallest:
        raise TooFewItems(
            f"The smallest class of label set {literal(label_set)} has {smallest} items, too few for {folds} folds",
            hint=f"Use at most {smallest} folds, or label more of its kind.",
        )
    left_out = database.value(COUNT, label_set=label_set) - len(labels)
    layer, names, parameters, evaluations = database.work(
        lambda: fit(labels, splits, vectors, algorithm, balanced, folds)
    )
    database.lock("classifiers", "all")  # not before: others need not wait for the training
    database.run(CHECK_NAME, classifier=classifier)
    database.run(
        STORE, classifier=classifier, model_name=model.model_name, label_set=label_set, algorithm=algorithm,
        parameters=json.dumps(parameters), labels=names, weights=layer.weights.astype(FLOAT32).tobytes(),
        intercepts=layer.intercepts.tolist(),
    )  # fmt: skip
    database.run(
        STORE_TRAINING, classifier=classifier, fingerprint=labeled["fingerprint"], items=len(labels),
        left_out=left_out, seconds=time.monotonic() - begun,
    )  # fmt: skip
    scores = json.dumps([{"evaluation": name, **measured} for name, measured in evaluations.items()])
    for statement in (METRICS, CLASS_METRICS, CONFUSION):
        database.run(statement, classifier=classifier, evaluations=scores)


def fit(
    labels: list[str], splits: list[str], vectors: bytes, algorithm: str, balanced: bool, folds: int
) -> tuple[training.Layer, list[str], dict, dict[str, dict]]:
    """Train and measure a softmax layer.

    Parameters
    ----------
    labels, splits : list of str
        Per item: its label, and its split (train, validation, test).
    vectors : bytes
        The items' vectors, one after another.
    algorithm : str
        See `pixelplum.core.classifiers.training.fit`.
    balanced : bool
        Whether all classes weigh the same.
    folds : int
        Of the cross-validation; 0: none.

    Returns
    -------
    layer : Layer
    names : list of str
        Of its classes.
    parameters : dict
    evaluations : dict of str to dict
        What `training.evaluate` returns, by split and fold.

    Raises
    ------
    VectorError
        If a vector holds a number that is not finite.
    TooFewItems
        If there are no more items than classes for discriminant analysis.
    """
    matrix = from_bytes(vectors).reshape(len(labels), -1)
    if not np.isfinite(matrix).all():
        position = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise VectorError(
            f"The features of an item that is labeled {labels[position]!r} hold a number that is not finite",
            hint="Extract or load the features of these items again.",
        )
    names = sorted(set(labels))
    numbers = {name: number for number, name in enumerate(names)}
    classes = np.array([numbers[label] for label in labels])
    parts = {split: np.array(splits) == split for split in ("train", "validation", "test")}
    train, validation = parts["train"], parts["validation"]
    smallest = min(train.sum(), len(labels) - -(-len(labels) // folds) if folds else len(labels))
    record = training.ALGORITHMS[algorithm]
    if not record.fits_few and smallest <= len(names):
        raise TooFewItems(
            f"Discriminant analysis of {len(names)} classes needs more than the {smallest} items to train on"
        )
    parameters = {"balanced": balanced, "folds": folds}
    penalty = training.USUAL_PENALTY
    if record.has_penalty:
        penalty, layer = training.choose_penalty(
            matrix[train], classes[train], matrix[validation], classes[validation], balanced
        )
        parameters["penalty"] = penalty
    else:
        layer = training.fit(matrix[train], classes[train], algorithm, balanced)
    evaluations = {
        split: training.evaluate(layer.probabilities(matrix[parts[split]]), classes[parts[split]], names)
        for split in ("validation", "test")
        if parts[split].any()
    }
    if folds:
        scores = training.cross_validate(matrix, classes, names, algorithm, balanced, penalty, folds)
        evaluations |= {f"fold {number}": measured for number, measured in enumerate(scores, 1)}
    return layer, names, parameters, evaluations
