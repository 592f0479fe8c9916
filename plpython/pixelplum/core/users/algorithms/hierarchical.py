"""A user's taste, shrunk to what users have in common."""

from __future__ import annotations

from pixelplum.core.users.algorithms.base import Algorithm, Trained
from pixelplum.core.users.common_taste import CommonTaste, posterior
from pixelplum.core.users.left_out import calibrate, without_each_by_covariance
from pixelplum.core.users.votes import Votes


class Hierarchical(Algorithm):
    """The posterior of a linear model, whose prior is what users have in common."""

    name = "hierarchical"
    needs_likes = False
    needs_dislikes = False
    needs_common_taste = True
    is_simple = False

    def train(self, votes: Votes, parameters: dict, taste: CommonTaste | None = None, half: int = 0) -> Trained:
        """Shrink a user's taste towards what is expected of them."""
        coordinates = taste.coordinates(votes.directions)
        data = (coordinates, votes.liked, votes.strengths)
        fitted = posterior(*data, taste.mean, taste.covariance)
        # What users have in common was learned from this one too: the other half of them has not seen these votes.
        others = posterior(*data, taste.half_means[1 - half], taste.half_covariances[1 - half])
        left_out, pairs = without_each_by_covariance(others.spread, votes.strengths, others.scores, votes.liked)
        return Trained(taste.linear(fitted.mean), calibrate(left_out, votes.liked), left_out, pairs)
