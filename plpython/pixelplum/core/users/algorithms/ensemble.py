"""Several models that vote."""

from __future__ import annotations

import numpy as np

from pixelplum.core.parameters import refuse_unknown
from pixelplum.core.users.algorithms.base import Algorithm, Trained
from pixelplum.core.users.common_taste import CommonTaste
from pixelplum.core.users.left_out import auc, calibrate
from pixelplum.core.users.models import Calibration, Ensemble
from pixelplum.core.users.votes import SMALLEST_SPREAD, Votes
from pixelplum.errors import UnusableArgument

MEMBERS = ("logistic", "svm", "naive_bayes")
"""Where none are named."""


class EnsembleOf(Algorithm):
    """The mean of the probabilities of several models.

    Parameters
    ----------
    simple : dict of Algorithm
        Algorithms that can be members, by name.
    """

    name = "ensemble"
    is_slow = True
    is_simple = False

    def __init__(self, simple: dict[str, Algorithm]):
        self.simple = simple

    def check(self, parameters: dict, dimensions: int | None = None) -> dict:
        refuse_unknown(self.name, ("members",), parameters)
        members = parameters.get("members", list(MEMBERS))
        is_list = isinstance(members, list) and all(isinstance(member, str) for member in members)
        if not is_list or not members or len(set(members)) < len(members):
            raise UnusableArgument(
                "members must be a list of different algorithms", hint='For example {"members": ["logistic", "svm"]}.'
            )
        for member in members:
            if member not in self.simple:
                raise UnusableArgument(
                    f"members must be some of {', '.join(self.simple)}, not {member!r}",
                    hint="SELECT * FROM pix.algorithms('user model') lists algorithms.",
                )
        return {"members": members}

    def train(self, votes: Votes, parameters: dict, taste: CommonTaste | None = None, half: int = 0) -> Trained:
        """Train all members; those whose scores are not probabilities vote by how far from their mean these are."""
        trained = [self.simple[member].train(votes, self.simple[member].check({})) for member in parameters["members"]]
        calibrations = []
        for each in trained:
            scores = each.model.scores(votes.directions)
            spread = max(float(scores.std()), SMALLEST_SPREAD)
            calibrations.append(each.calibration or Calibration(1 / spread, -float(scores.mean()) / spread))
        model = Ensemble(
            tuple(each.model for each in trained), np.array([each.slope for each in calibrations]),
            np.array([each.offset for each in calibrations]),
        )  # fmt: skip
        if any(each.left_out is None for each in trained):
            return Trained(model, None, None, None)
        left_out = np.mean(
            [how.probabilities(each.left_out) for how, each in zip(calibrations, trained, strict=True)], axis=0
        )
        return Trained(model, calibrate(left_out, votes.liked), left_out, auc(left_out, votes.liked))
