"""What all algorithms that learn one user's taste have in common."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Choice, Range, complete
from pixelplum.core.users.common_taste import CommonTaste
from pixelplum.core.users.left_out import auc, calibrate
from pixelplum.core.users.models import Calibration, Model
from pixelplum.core.users.votes import Votes
from pixelplum.errors import TooFewVotes

SEED = 7
FOLDS = 3

CLASS_WEIGHT = Choice("balanced", ("balanced", "opposite", None))
"""What a like and a dislike count: see `votes.class_weights`."""


@dataclass(frozen=True)
class Trained:
    """A model, and how it does on votes that it has not seen.

    Parameters
    ----------
    model : Model
    calibration : Calibration or None
        None: its scores cannot be turned into probabilities.
    left_out : numpy.ndarray or None
        float64, shape (votes,): score of each vote by a model of others.
    auc : float or None
        How probably a like that the model has not seen has a higher score than a dislike that it has not seen.
    """

    model: Model
    calibration: Calibration | None
    left_out: np.ndarray | None
    auc: float | None


class Algorithm(ABC):
    """How to learn a user's taste from their votes.

    Attributes
    ----------
    name : str
        What it is called in SQL.
    parameters : dict of Range or Choice
        What can be chosen.
    grid : dict
        Values of parameters that are tried when algorithms are compared.
    needs_likes, needs_dislikes : bool
        Whether it cannot do without votes of that kind.
    needs_common_taste : bool
        Whether it builds on what users have in common; then it cannot be compared on the votes of one user.
    can_update : bool
        Whether a model takes new votes one by one; others are trained again.
    is_slow : bool
        Whether training takes longer than anybody waits for a recommendation.
    is_simple : bool
        Whether it is an algorithm of its own, which can be compared and be a member of an ensemble.
    """

    name: ClassVar[str]
    parameters: ClassVar[dict[str, Range | Choice]] = {}
    grid: ClassVar[dict[str, list]] = {}
    needs_likes: ClassVar[bool] = True
    needs_dislikes: ClassVar[bool] = True
    needs_common_taste: ClassVar[bool] = False
    can_update: ClassVar[bool] = False
    is_slow: ClassVar[bool] = False
    is_simple: ClassVar[bool] = True

    @property
    def has_class_weight(self) -> bool:
        """Whether likes and dislikes can count as much as one another, however many there are of each."""
        return "class_weight" in self.parameters

    def check(self, parameters: dict, dimensions: int | None = None) -> dict:
        """Return parameters, with defaults where none are given.

        Raises
        ------
        UnusableArgument
        """
        return complete(self.name, self.parameters, parameters)

    def update(self, model: Model, votes: Votes) -> Model:
        """Return a model that has seen some votes more, each once, the latest first; if it `can_update`."""
        raise NotImplementedError

    @abstractmethod
    def train(self, votes: Votes, parameters: dict, taste: CommonTaste | None = None, half: int = 0) -> Trained:
        """Train a model, and measure it on votes that it has not seen.

        Parameters
        ----------
        votes : Votes
            At least one.
        parameters : dict
            As `check` returns them.
        taste : CommonTaste, optional
            What users have in common, if `needs_common_taste`.
        half : int
            In which half of the users this one is, 0 or 1; see `CommonTaste`.

        Raises
        ------
        TooFewVotes
            If there are none of a kind that the algorithm needs.
        """


class SimpleAlgorithm(Algorithm):
    """An algorithm that trains a model on votes alone."""

    @abstractmethod
    def fit(self, votes: Votes, parameters: dict) -> Model:
        """Train a model on votes of the kinds that it needs."""

    def train(self, votes: Votes, parameters: dict, taste: CommonTaste | None = None, half: int = 0) -> Trained:
        if self.needs_likes and self.needs_dislikes and not 0 < votes.liked.sum() < len(votes.values):
            raise TooFewVotes(
                f"{self.name} needs likes and dislikes",
                hint="Use nearest, centroid or hierarchical for one kind alone.",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn, about convergence: it goes on with what it has
            return self.measured(votes, parameters)

    def measured(self, votes: Votes, parameters: dict) -> Trained:
        """Train a model, and score each vote by a model of others, a third of them at a time."""
        model = self.fit(votes, parameters)
        left_out, within = self._left_out(votes, parameters)
        return Trained(model, None if left_out is None else calibrate(left_out, votes.liked), left_out, within)

    def _left_out(self, votes: Votes, parameters: dict) -> tuple[np.ndarray | None, float | None]:
        """Return scores by models of others, and the mean AUC; None where there are too few votes."""
        from sklearn.model_selection import StratifiedKFold

        if min(votes.liked.sum(), (~votes.liked).sum()) < FOLDS:
            return None, None
        scores, within = np.empty(len(votes.values)), []
        for train_on, test_on in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(scores, votes.liked):
            scores[test_on] = self.fit(votes.take(train_on), parameters).scores(votes.directions[test_on])
            within.append(auc(scores[test_on], votes.liked[test_on]))
        return scores, float(np.mean(within))
