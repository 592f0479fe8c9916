"""Clusters with their numbers, which refits keep, and those above them in a tree."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pixelplum.core.clustering.clusters import FittedState, join, match


@dataclass(frozen=True)
class NumberedClusters:
    """All clusters of a clustering, upper ones included.

    Attributes
    ----------
    numbers : list of int
    parents : list of (int or None)
        Number of the cluster above each.
    heights : list of (float or None)
        The inertia that joining a cluster's two parts added; None: items belong to it.
    centers : numpy.ndarray
        float32, shape (clusters, dimensions).
    """

    numbers: list[int]
    parents: list[int | None]
    heights: list[float | None]
    centers: np.ndarray

    def of_height(self, is_upper: bool) -> tuple[list[int], np.ndarray]:
        """Return numbers and centers of upper clusters, or of those that items belong to."""
        rows = [row for row, height in enumerate(self.heights) if (height is not None) == is_upper]
        return [self.numbers[row] for row in rows], self.centers[rows]

    def nearest_leaves(self) -> list[int]:
        """Return for each cluster the one below it, or itself, that items belong to and whose center is nearest."""
        position = {number: row for row, number in enumerate(self.numbers)}
        below: list[list[int]] = [[] for _ in self.numbers]
        for leaf in np.flatnonzero([height is None for height in self.heights]).tolist():
            node = leaf
            while node is not None:
                below[node].append(leaf)
                node = None if self.parents[node] is None else position[self.parents[node]]
        apart = [np.square(self.centers[rows] - self.centers[row]).sum(axis=1) for row, rows in enumerate(below)]
        return [self.numbers[rows[int(some.argmin())]] for rows, some in zip(below, apart, strict=True)]


def identify(
    state: FittedState, is_tree: bool, before: NumberedClusters | None
) -> tuple[FittedState, NumberedClusters]:
    """Number clusters, and those above them, so that they keep the numbers they had.

    Parameters
    ----------
    state : FittedState
    is_tree : bool
        Whether to join them, two by two.
    before : NumberedClusters or None
        What there was, in the same dimensions.

    Returns
    -------
    state : FittedState
        The same, with numbers.
    clusters : NumberedClusters
    """
    k, size = state.centers.shape
    nothing = [], np.empty((0, size), np.float32)
    old, old_centers = before.of_height(False) if before else nothing
    old_upper, old_upper_centers = before.of_height(True) if before else nothing
    numbers = match(state.centers, state.weights, old, old_centers, first=1, taken=old_upper)
    centers, parents, heights = state.centers, [None] * k, [None] * k
    if is_tree:
        tree = join(state.centers, state.weights)
        centers, heights = tree.centers, tree.heights
        numbers += match(centers[k:], tree.weights[k:], old_upper, old_upper_centers, first=1, taken=numbers)
        parents = [None if parent is None else numbers[parent] for parent in tree.parents]
    named = replace(state, numbers=np.array(numbers[:k]))
    return named, NumberedClusters(numbers, parents, heights, np.ascontiguousarray(centers))
