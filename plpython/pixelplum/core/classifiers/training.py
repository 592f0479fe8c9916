"""Training the final layer on stored features, and measuring it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pixelplum.core.classifiers.final_layers import softmax

PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
"""Strengths of the L2 penalty that are tried, per item, on features of unit variance."""

USUAL_PENALTY = 0.03
SMALLEST_DEVIATION = 1e-30
"""A dimension that varies less is taken for constant: its weight would be no float32."""

MAX_ITERATIONS = 300
SEED = 7


@dataclass(frozen=True)
class ClassifierAlgorithm:
    """How a softmax layer is trained.

    Parameters
    ----------
    name : str
        What it is called in SQL.
    summary : str
        What it is good for.
    model : callable
        Takes items, classes, whether they are balanced, and the penalty: returns a linear model of scikit-learn, which
        is slow to import.
    has_penalty : bool
        Whether the strength of its penalty is chosen.
    fits_few : bool
        Whether it can be trained on no more items than there are classes.
    """

    name: str
    summary: str
    model: Callable[[int, int, bool, float], Any]
    has_penalty: bool = False
    fits_few: bool = False


def _logistic(items: int, classes: int, balanced: bool, penalty: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    weight = "balanced" if balanced else None
    return LogisticRegression(C=1 / (penalty * items), class_weight=weight, max_iter=MAX_ITERATIONS)


def _discriminant(items: int, classes: int, balanced: bool, penalty: float) -> Any:
    """Shrunk as Ledoit and Wolf do [1]_; its posterior is a softmax too.

    References
    ----------
    .. [1] O. Ledoit and M. Wolf, "Honey, I Shrunk the Sample Covariance
       Matrix", The Journal of Portfolio Management 30(4), 2004.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    priors = np.full(classes, 1 / classes) if balanced else None
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=priors)


ALGORITHMS: dict[str, ClassifierAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        ClassifierAlgorithm("softmax", "multinomial logistic regression", _logistic, has_penalty=True, fits_few=True),
        ClassifierAlgorithm("lda", "linear discriminant analysis, good with few items", _discriminant),
    )
}


@dataclass(frozen=True)
class Layer:
    """A trained softmax layer.

    Parameters
    ----------
    weights : numpy.ndarray
        float32, shape (classes, dimensions).
    intercepts : numpy.ndarray
        float64, shape (classes,).
    """

    weights: np.ndarray
    intercepts: np.ndarray

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return float64, shape (items, classes), rows that sum to 1."""
        return softmax(vectors @ self.weights.T + self.intercepts)


def fit(
    vectors: np.ndarray, classes: np.ndarray, algorithm: str, balanced: bool, penalty: float = USUAL_PENALTY
) -> Layer:
    """Train a softmax layer.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (items, dimensions).
    classes : numpy.ndarray
        int, shape (items,): 0 to the number of classes - 1, each at least once.
    algorithm : str, a key of `ALGORITHMS`
    balanced : bool
        Whether all classes weigh the same, however many items they have.
    penalty : float
        Strength of the penalty per item, if the algorithm has one.

    Returns
    -------
    Layer
    """
    mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    deviation[deviation < SMALLEST_DEVIATION] = 1
    standard = ((vectors - mean) / deviation).astype(np.float32)
    number = int(classes.max()) + 1
    model = ALGORITHMS[algorithm].model(len(vectors), number, balanced, penalty)
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # weak penalties need not win
        model.fit(standard, classes)
    weights, intercepts = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if number == 2:  # one row: the second class against the first
        weights, intercepts = np.vstack([np.zeros_like(weights), weights]), np.append(0, intercepts)
    weights = weights / deviation
    return Layer(weights.astype(np.float32), intercepts - weights @ mean)


def choose_penalty(
    vectors: np.ndarray, classes: np.ndarray, held_out: np.ndarray, held_out_classes: np.ndarray, balanced: bool
) -> tuple[float, Layer]:
    """Try penalties from strong to weak, until the log loss of held-out items has risen twice.

    Parameters
    ----------
    vectors, classes, balanced
        As for `fit`.
    held_out, held_out_classes : numpy.ndarray
        Items to measure on, of the same form. If there are none, the usual
        penalty is taken.

    Returns
    -------
    tuple of (float, Layer)
        The best penalty, and the layer that was trained with it.
    """
    if not len(held_out):
        return USUAL_PENALTY, fit(vectors, classes, "softmax", balanced)
    tried = []
    for penalty in PENALTIES:
        layer = fit(vectors, classes, "softmax", balanced, penalty)
        tried.append((log_loss(layer.probabilities(held_out), held_out_classes), penalty, layer))
        best = min(range(len(tried)), key=lambda number: tried[number][0])
        if best <= len(tried) - 3:
            break
    _, penalty, layer = tried[best]
    return penalty, layer


def log_loss(probabilities: np.ndarray, classes: np.ndarray) -> float:
    """Return the mean negative logarithm of the true classes' probabilities."""
    true = probabilities[np.arange(len(classes)), classes]
    return float(-np.log(np.maximum(true, np.finfo(float).tiny)).mean())


def evaluate(probabilities: np.ndarray, classes: np.ndarray, labels: list[str]) -> dict:
    """Measure predictions.

    Parameters
    ----------
    probabilities : numpy.ndarray
        Shape (items, classes).
    classes : numpy.ndarray
        The true ones: int, shape (items,), at least one.
    labels : list of str
        Names of the classes.

    Returns
    -------
    dict
        ``items``, ``accuracy``, ``log_loss``, ``auc``; ``classes``, a list
        of ``label``, ``items``, ``precision``, ``recall``, ``auc``; and
        ``confusion``, a list of ``actual``, ``predicted``, ``items``. What
        is not defined is None: see the tables of these names.
    """
    from sklearn.metrics import roc_auc_score

    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (classes, predicted), 1)
    by_class = []
    for number, label in enumerate(labels):
        is_it = classes == number
        right = int(confusion[number, number])
        by_class.append(
            {
                "label": label,
                "items": int(is_it.sum()),
                "precision": _share(right, int(confusion[:, number].sum())),
                "recall": _share(right, int(is_it.sum())),
                "auc": float(roc_auc_score(is_it, probabilities[:, number])) if 0 < is_it.sum() < len(is_it) else None,
            }
        )
    aucs = [row["auc"] for row in by_class if row["auc"] is not None]
    cells = zip(*confusion.nonzero(), strict=True)
    return {
        "items": len(classes),
        "accuracy": float((predicted == classes).mean()),
        "log_loss": log_loss(probabilities, classes),
        "auc": float(np.mean(aucs)) if aucs else None,
        "classes": by_class,
        "confusion": [{"actual": labels[a], "predicted": labels[p], "items": int(confusion[a, p])} for a, p in cells],
    }


def cross_validate(
    vectors: np.ndarray, classes: np.ndarray, labels: list[str], algorithm: str, balanced: bool, penalty: float,
    folds: int,
) -> list[dict]:  # fmt: skip
    """Train and measure once per fold; each item is measured once, each fold has its fraction of each class.

    Parameters
    ----------
    vectors, classes, algorithm, balanced, penalty
        As for `fit`.
    labels : list of str
        Names of the classes.
    folds : int
        At least 2; no class may have fewer items.

    Returns
    -------
    list of dict
        As `evaluate` returns, one per fold.
    """
    from sklearn.model_selection import StratifiedKFold

    splits = StratifiedKFold(folds, shuffle=True, random_state=SEED).split(vectors, classes)
    folds_scores = []
    for train, test in splits:
        layer = fit(vectors[train], classes[train], algorithm, balanced, penalty)
        folds_scores.append(evaluate(layer.probabilities(vectors[test]), classes[test], labels))
    return folds_scores


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
