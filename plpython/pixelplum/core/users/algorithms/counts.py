"""Algorithms that add votes up, or keep them: a new vote is one more."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Range
from pixelplum.core.users.algorithms.base import SimpleAlgorithm
from pixelplum.core.users.models import Centroid, NaiveBayes, Nearest
from pixelplum.core.users.votes import Votes

NEAREST_VOTES = 200
"""Of each kind, the latest, that `nearest` looks at."""


class OfEitherKind(SimpleAlgorithm):
    """An algorithm that can do with likes or dislikes alone, and takes new votes one by one."""

    needs_likes = False
    needs_dislikes = False
    can_update = True


class BernoulliNaiveBayes(SimpleAlgorithm):
    """Bernoulli naive Bayes on whether each number is above its mean among the votes."""

    name = "naive_bayes"
    parameters: ClassVar = {"alpha": Range(1.0, 1e-3, 1e3, is_whole=False)}
    grid: ClassVar = {"alpha": [0.3, 1.0, 3.0]}
    can_update = True

    def fit(self, votes: Votes, parameters: dict) -> NaiveBayes:
        thresholds = votes.directions.mean(axis=0)
        empty = NaiveBayes(thresholds, np.zeros((2, len(thresholds))), np.zeros(2), parameters["alpha"])
        return self.update(empty, votes)

    def update(self, model: NaiveBayes, votes: Votes) -> NaiveBayes:
        """Return naive Bayes with some votes more."""
        above = (votes.directions > model.thresholds).astype(np.float64)
        kinds = np.stack([~votes.liked, votes.liked]) * votes.strengths
        return replace(model, above=model.above + kinds @ above, counts=model.counts + kinds.sum(axis=1))


class CentroidOfVotes(OfEitherKind):
    """The mean of likes, less that of dislikes."""

    name = "centroid"

    def fit(self, votes: Votes, parameters: dict) -> Centroid:
        nothing = np.zeros(votes.directions.shape[1], np.float32)
        return self.update(Centroid(nothing, nothing, 0.0, 0.0), votes)

    def update(self, model: Centroid, votes: Votes) -> Centroid:
        """Return the centroid with some votes more."""
        likes, dislikes = (votes.strengths * kind for kind in (votes.liked, ~votes.liked))
        return Centroid(
            (model.likes + likes @ votes.directions).astype(np.float32),
            (model.dislikes + dislikes @ votes.directions).astype(np.float32),
            model.like_count + float(likes.sum()), model.dislike_count + float(dislikes.sum()),
        )  # fmt: skip


class NearestVotes(OfEitherKind):
    """Similarity to the nearest votes."""

    name = "nearest"

    def fit(self, votes: Votes, parameters: dict) -> Nearest:
        positions = np.concatenate([np.flatnonzero(kind)[:NEAREST_VOTES] for kind in (votes.liked, ~votes.liked)])
        return Nearest(votes.directions[positions], votes.values[positions])

    def update(self, model: Nearest, votes: Votes) -> Nearest:
        joined = Votes(np.concatenate([votes.directions, model.voted]), np.concatenate([votes.values, model.values]))
        return self.fit(joined, {})
