"""Classifiers on stored features."""

from __future__ import annotations

from collections import OrderedDict

from pixelplum.core.classifiers.final_layers import SoftmaxLayer

LAYERS_KEPT = 16


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
