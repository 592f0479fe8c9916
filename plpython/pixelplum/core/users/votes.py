"""What a user thinks of some items, as algorithms see it.

Where scale matters they see directions less their mean, scaled to a mean square of 1, so that the same parameters suit
every model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pixelplum.core.users.models import Linear

SMALLEST_SPREAD = 1e-6


@dataclass(frozen=True)
class Votes:
    """What a user thinks of some items.

    Parameters
    ----------
    directions : numpy.ndarray
        float32, shape (votes, dimensions): feature vectors of length 1, the latest vote first.
    values : numpy.ndarray
        float64, shape (votes,): above 0 liked, below 0 disliked, none is 0; how much.
    """

    directions: np.ndarray
    values: np.ndarray

    @property
    def liked(self) -> np.ndarray:
        """bool, shape (votes,)."""
        return self.values > 0

    @property
    def strengths(self) -> np.ndarray:
        """float64, shape (votes,)."""
        return np.abs(self.values)

    def take(self, positions: np.ndarray) -> Votes:
        """Return some of them."""
        return Votes(self.directions[positions], self.values[positions])


@dataclass(frozen=True)
class Scaling:
    """Directions less a center, divided by a scale."""

    center: np.ndarray
    scale: float

    @classmethod
    def of(cls, directions: np.ndarray) -> Scaling:
        """Return the scaling after which directions have mean 0 and a mean square of 1."""
        center = directions.mean(axis=0)
        spread = float(np.square(directions - center).sum(axis=1).mean()) ** 0.5
        return cls(center, spread if spread > SMALLEST_SPREAD else 1.0)

    def __call__(self, directions: np.ndarray) -> np.ndarray:
        return (directions - self.center) / np.float32(self.scale)

    def linear(self, weights: np.ndarray, intercept: float) -> Linear:
        """Return what a linear model of scaled directions is of directions themselves."""
        full = (weights / self.scale).astype(np.float32)
        return Linear(full, float(intercept - full.astype(np.float64) @ self.center))


def class_weights(votes: Votes, how: str | None) -> tuple[float, float]:
    """Return what a like and a dislike count.

    Parameters
    ----------
    votes : Votes
    how : {'balanced', 'opposite', None}
        Both kinds count the same in all; a like counts as much as there are dislikes and the other way round; or 1.
    """
    likes, dislikes = (float(votes.strengths[kind].sum()) for kind in (votes.liked, ~votes.liked))
    if how == "balanced":
        return (likes + dislikes) / (2 * likes), (likes + dislikes) / (2 * dislikes)
    return (dislikes, likes) if how == "opposite" else (1.0, 1.0)


def weights_of(votes: Votes, how: str | None) -> np.ndarray:
    """Return what each vote counts: float64, shape (votes,)."""
    like, dislike = class_weights(votes, how)
    return votes.strengths * np.where(votes.liked, like, dislike)
