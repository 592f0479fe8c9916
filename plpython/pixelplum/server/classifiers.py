"""Classifiers on stored features."""

from __future__ import annotations

from collections import OrderedDict

from pixelplum.core.classifiers.final_layers import SoftmaxLayer
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

LAYERS_KEPT = 16

CLASSIFIER = """
SELECT c.classifier, c.checksum, c.model_name, c.model_checksum FROM pix_internal.find_classifier($classifier::text) c
"""
# A process that does not keep the classifier yet reads it for its first vector; for the others PL/pgSQL would only cost
# time.
CLASSIFIED = """
SELECT f.item_id, coalesce(pix_internal.kept_best_class(f.vector, $checksum::text),
    pix_internal.best_class(f.vector, $classifier::text, $checksum)) AS best
FROM pix.features f
WHERE f.model_name = $model_name::text AND f.model_checksum IS NOT DISTINCT FROM $model_checksum::text
"""
IS_SAME = """
SELECT EXISTS (
    SELECT FROM pix.classifiers c WHERE c.classifier = $classifier::text AND c.checksum = $checksum::text
)
"""
FORGET = """
DELETE FROM pix.predictions p WHERE p.classifier = $classifier::text
    AND NOT EXISTS (SELECT FROM pg_temp.pix_classified c WHERE c.item_id = p.item_id)
"""
STORE = """
INSERT INTO pix.predictions (item_id, classifier, label, score, classifier_checksum)
SELECT c.item_id, $classifier::text, (c.best).label, (c.best).score, $checksum::text FROM pg_temp.pix_classified c
WHERE NOT EXISTS (
    SELECT FROM pix.predictions p WHERE p.item_id = c.item_id AND p.classifier = $classifier
        AND p.label = (c.best).label AND p.score = (c.best).score AND p.classifier_checksum = $checksum
)
ORDER BY c.item_id
ON CONFLICT ON CONSTRAINT predictions_pkey DO UPDATE SET
    label = excluded.label, score = excluded.score, classifier_checksum = excluded.classifier_checksum,
    classified_at = excluded.classified_at
"""


@driver
def classify_all(database: Database, classifier: str | None) -> int:
    """Classify every item, and return how many: the body of ``pix.classify_all``."""
    chosen = database.row(CLASSIFIER, classifier=classifier)
    with database.workers():
        database.create_temporary("pix_classified", CLASSIFIED, "item_id", **chosen)
    database.lock("classifiers", "all")  # from here on, nobody drops or trains it, nor writes predictions of it
    if not database.value(IS_SAME, **chosen):
        database.row("SELECT pix_internal.raise_classifier_changed($classifier::text)", classifier=classifier)
    database.run(FORGET, **chosen)
    database.run(STORE, **chosen)
    return database.value("SELECT count(*) FROM pg_temp.pix_classified")


def keep_classifier(
    plpy, cache: dict, checksum: str, labels: list[str], weights: bytes, intercepts: list[float]
) -> None:
    """Keep a classifier in this backend, under its checksum; those loaded last are kept."""
    layers = cache.setdefault("classifiers", OrderedDict())
    layers[checksum] = SoftmaxLayer(labels, weights, intercepts)
    while len(layers) > LAYERS_KEPT:
        layers.popitem(last=False)


def kept_best_class(plpy, cache: dict, vector: bytes, checksum: str) -> tuple[int, str, float] | None:
    """Return the most probable class of a vector as a `pix.class_score`; None if this backend lacks the classifier."""
    layer = cache.get("classifiers", {}).get(checksum)
    return None if layer is None else (1, *layer.best(vector))


def kept_probabilities(plpy, cache: dict, vector: bytes, checksum: str) -> list[float] | None:
    """Return the probability of each class; None if this backend lacks the classifier."""
    layer = cache.get("classifiers", {}).get(checksum)
    return None if layer is None else layer.probabilities(vector).tolist()
