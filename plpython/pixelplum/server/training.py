"""Training classifiers on stored features; scikit-learn, which takes a second to import, is needed here only."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.classifiers import training
from pixelplum.core.search.vectors import from_bytes
from pixelplum.errors import TooFewItems, VectorError
from pixelplum.server.canceling import cancellable


@cancellable
def fit_classifier(
    plpy, cache: dict, labels: list[str], splits: list[str], vectors: bytes, algorithm: str, balanced: bool, folds: int
) -> dict:
    """Train and measure a classifier.

    Parameters
    ----------
    plpy : module
        PL/Python's access to the database.
    cache : dict
        The backend's GD.
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
    dict
        ``labels`` (list), ``weights`` (bytes), ``intercepts`` (list), and as
        JSON texts ``parameters`` and ``evaluations``.

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
    return {
        "labels": names,
        "weights": layer.weights.astype("<f4").tobytes(),
        "intercepts": layer.intercepts.tolist(),
        "parameters": json.dumps(parameters),
        "evaluations": json.dumps([{"evaluation": name, **measured} for name, measured in evaluations.items()]),
    }
