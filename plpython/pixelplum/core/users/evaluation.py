"""How well recommendations meet what users liked afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """How one user was served.

    Parameters
    ----------
    auc : float
        How probably an item that was liked afterwards has a higher score than one that was not.
    precision : float
        Fraction of liked ones among the first k.
    ndcg : float
        The same, the earlier the better, against the best that was possible.
    diversity : float or None
        Mean of 1 - cosine between the first k; None for a single one.
    first : numpy.ndarray
        int, positions of the first k.
    """

    auc: float
    precision: float
    ndcg: float
    diversity: float | None
    first: np.ndarray


def judge(scores: np.ndarray, liked: np.ndarray, first: np.ndarray, directions: np.ndarray, k: int) -> Outcome:
    """Judge the ranking of one user.

    Parameters
    ----------
    scores : numpy.ndarray
        float32, shape (items,); -inf for those that the user knew before.
    liked : numpy.ndarray
        int: positions of items that they liked afterwards, at least one.
    first : numpy.ndarray
        int: positions of the k highest scores, the highest first.
    directions : numpy.ndarray
        float32, shape (found, dimensions): of these, of length 1.
    k : int

    References
    ----------
    K. Järvelin and J. Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002.
    """
    others = np.ones(len(scores), bool)
    others[liked] = False
    others &= scores > -np.inf
    compared = np.sort(scores[others])
    below, up_to = np.searchsorted(compared, scores[liked]), np.searchsorted(compared, scores[liked], side="right")
    auc = float(((below + up_to) / 2).mean() / len(compared)) if len(compared) else 0.5
    hits = np.isin(first, liked)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = discounts[: min(k, len(liked))].sum()
    diversity = None
    if len(first) > 1:
        likeness = directions @ directions.T
        pairs = len(first) * (len(first) - 1)
        diversity = float(1 - (likeness.sum() - np.trace(likeness)) / pairs)
    return Outcome(auc, float(hits.sum() / k), float(discounts[: len(first)][hits].sum() / best), diversity, first)


def summary(outcomes: list[Outcome], items: int) -> list[dict]:
    """Return mean and 95 % interval of each metric over users, and the fraction of items that somebody was shown.

    Parameters
    ----------
    outcomes : list of Outcome
    items : int
        How many there are.

    Returns
    -------
    list of dict
        metric, value, low, high, users; None where there is nothing to say.
    """
    rows = []
    for metric in ("auc", "precision", "ndcg", "diversity"):
        values = np.array([own for own in (getattr(outcome, metric) for outcome in outcomes) if own is not None])
        mean = float(values.mean()) if len(values) else None
        error = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
        low, high = (None, None) if error is None else (mean - error, mean + error)
        rows.append({"metric": metric, "value": mean, "low": low, "high": high, "users": len(values)})
    shown = {int(position) for outcome in outcomes for position in outcome.first}
    rows.append(
        {"metric": "coverage", "value": len(shown) / items if outcomes else None, "low": None, "high": None,
         "users": len(outcomes)}
    )  # fmt: skip
    return rows
