"""Clusters as they are stored: what puts a vector into one, their numbers, and the tree above them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from pixelplum.core.search.vectors import FLOAT32
from pixelplum.errors import VectorError

NAMES = {"centers": "centres", "weights": "weights", "numbers": "numbers", "dimensions": "dimensions"}
"""What files, which are older than this spelling, call the fields."""


@dataclass(frozen=True)
class FittedState:
    """What puts vectors into clusters: the nearest center, or the most probable component of a mixture.

    Parameters
    ----------
    centers : numpy.ndarray
        float32, shape (k, dimensions that are looked at).
    weights : numpy.ndarray
        float64, shape (k,): vectors that belong to each.
    numbers : numpy.ndarray or None
        int, shape (k,): what the clusters are called; None: not yet.
    dimensions : numpy.ndarray or None
        int, positions of the dimensions that are looked at, from 0; None: all.
    mixture : dict of numpy.ndarray or None
        Of a mixture, float64: ``mean`` and ``axes`` of the projection that it was fitted in, and there, with a row
        for each component, ``means``, ``precisions`` and ``constants``: the logarithm of its density is its constant
        less half the sum of precisions times squared differences.
    """

    centers: np.ndarray
    weights: np.ndarray
    numbers: np.ndarray | None = None
    dimensions: np.ndarray | None = None
    mixture: dict[str, np.ndarray] | None = None

    def pack(self) -> bytes:
        """Return a file of arrays, as numpy.savez writes it."""
        arrays = {name: getattr(self, field) for field, name in NAMES.items()} | (self.mixture or {})
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})
        return stream.getvalue()

    @classmethod
    def unpack(cls, content: bytes) -> FittedState:
        """Read what `pack` returned; nothing in it is executed.

        Raises
        ------
        VectorError
            If it is damaged.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                arrays = dict(stored)
            return cls(*(arrays.pop(name, None) for name in NAMES.values()), arrays or None)
        except Exception as error:  # whatever zipfile and numpy raise
            raise VectorError(f"The clustering is damaged: {error}", hint="Fit it again.") from error

    def select(self, order: np.ndarray) -> FittedState:
        """Return the same with some clusters, in an order."""
        mixture = self.mixture and {
            name: array if name in ("mean", "axes") else array[order] for name, array in self.mixture.items()
        }
        return replace(self, centers=self.centers[order], weights=self.weights[order], mixture=mixture)

    def assign(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put vectors into clusters.

        Parameters
        ----------
        vectors : numpy.ndarray
            float32, shape (vectors, all dimensions).

        Returns
        -------
        labels : numpy.ndarray
            int, shape (vectors,): rows of `centers`.
        distances : numpy.ndarray
            float64, shape (vectors,): Euclidean, to that center.
        """
        seen = looked_at(vectors, self.dimensions)
        if self.mixture is None:
            shifted = self.centers - self.centers[0]  # small numbers are squared precisely
            offsets = np.einsum("ij,ij->i", shifted, shifted) + 2 * shifted @ self.centers[0]
            labels = (offsets - 2 * (seen @ shifted.T)).argmin(axis=1)
        else:
            labels = self.components((seen - self.mixture["mean"]) @ self.mixture["axes"].T).argmax(axis=1)
        difference = seen - self.centers[labels]
        return labels, np.sqrt(np.einsum("ij,ij->i", difference, difference, dtype=np.float64))

    def components(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the logarithms of a mixture's densities: shape (items, components), but for a constant of each row.

        Parameters
        ----------
        coordinates : numpy.ndarray
            Shape (items, principal components).
        """
        means, precisions = self.mixture["means"], self.mixture["precisions"]
        coordinates = coordinates.astype(np.float64)
        weighed = means * precisions
        squares = coordinates**2 @ precisions.T - 2 * coordinates @ weighed.T + (weighed * means).sum(axis=1)
        return self.mixture["constants"] - squares / 2


def looked_at(vectors: np.ndarray, dimensions: np.ndarray | None) -> np.ndarray:
    """Return the dimensions of vectors that are looked at."""
    return vectors if dimensions is None else np.ascontiguousarray(vectors[:, dimensions])


@dataclass(frozen=True)
class Tree:
    """A binary tree above clusters.

    Attributes
    ----------
    centers : numpy.ndarray
        float32, shape (nodes, dimensions): those of the clusters, then those of joined ones in the order of joining.
    weights : numpy.ndarray
        float64, shape (nodes,).
    parents : list of (int or None)
        Place of the node above each.
    heights : list of (float or None)
        The inertia that joining a node's two parts added; None: it has no parts.
    """

    centers: np.ndarray
    weights: np.ndarray
    parents: list[int | None]
    heights: list[float | None]


def join(centers: np.ndarray, weights: np.ndarray) -> Tree:
    """Join clusters two by two, those first whose joining adds least to the inertia.

    Parameters
    ----------
    centers : numpy.ndarray
        float32, shape (k, dimensions).
    weights : numpy.ndarray
        float64, shape (k,): vectors in each.

    References
    ----------
    Ward 1963, "Hierarchical grouping to optimize an objective function".
    """
    from scipy.spatial.distance import cdist  # slow to import

    means, sizes = [row.astype(np.float64) for row in centers], [float(weight) for weight in weights]
    parents: list[int | None] = [None] * len(means)
    heights: list[float | None] = [None] * len(means)
    squares = cdist(centers, centers, "sqeuclidean")
    open_places = list(range(len(means)))
    costs = squares * np.outer(weights, weights) / np.maximum(np.add.outer(weights, weights), 1)
    np.fill_diagonal(costs, np.inf)
    while len(open_places) > 1:
        a, b = np.unravel_index(costs.argmin(), costs.shape)
        a, b = min(a, b), max(a, b)
        first, second = open_places[a], open_places[b]
        position = len(means)
        parents[first] = parents[second] = position
        parents.append(None)
        heights.append(float(costs[a, b]))
        sizes.append(sizes[first] + sizes[second])
        means.append((sizes[first] * means[first] + sizes[second] * means[second]) / sizes[position])
        open_places[a] = position
        del open_places[b]
        costs = np.delete(np.delete(costs, b, 0), b, 1)
        others = np.array([sizes[other] for other in open_places])
        apart = np.array([((means[other] - means[position]) ** 2).sum() for other in open_places])
        costs[a] = costs[:, a] = apart * others * sizes[position] / (others + sizes[position])
        costs[a, a] = np.inf
    return Tree(np.stack(means).astype(FLOAT32), np.array(sizes), parents, heights)


def match(
    centers: np.ndarray,
    weights: np.ndarray,
    old_numbers: list[int],
    old_centers: np.ndarray,
    first: int,
    taken: Iterable[int] = (),
) -> list[int]:
    """Number clusters: those that were there before keep their numbers.

    Each is matched with the old one that it is nearest to, so that the squared distances are least in all.

    Parameters
    ----------
    centers : numpy.ndarray
        float32, shape (k, dimensions).
    weights : numpy.ndarray
        Shape (k,): of those that are new, the heaviest gets the smallest number.
    old_numbers : list of int
        Numbers of the clusters before.
    old_centers : numpy.ndarray
        float32, shape (clusters before, dimensions).
    first : int
        The smallest number that may be given.
    taken : iterable of int, default ()
        Numbers that may not be given.

    Returns
    -------
    list of int
        A number for each center.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, like the next
    from scipy.spatial.distance import cdist

    numbers: list[int | None] = [None] * len(centers)
    taken = set(taken)
    candidates = [position for position, number in enumerate(old_numbers) if number not in taken]
    if candidates and len(centers):
        apart = cdist(centers, old_centers[candidates], "sqeuclidean")
        for position, old in zip(*linear_sum_assignment(apart), strict=True):
            numbers[position] = old_numbers[candidates[old]]
            taken.add(numbers[position])
    free = (number for number in count(first) if number not in taken)
    for position in np.argsort(-weights, kind="stable"):
        if numbers[position] is None:
            numbers[position] = next(free)
    return numbers


def measure(vectors: np.ndarray, state: FittedState) -> tuple[float, float]:
    """Return the silhouette of vectors in their clusters, and their mean squared distance to the centers."""
    labels, distances = state.assign(vectors)
    return silhouette(vectors, labels), float(np.square(distances).mean())


def silhouette(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Return how much nearer vectors are to their own cluster than to the next: from -1 to 1.

    0 where nothing can be compared: a single cluster, or one for each vector.

    References
    ----------
    Rousseeuw 1987, "Silhouettes".
    """
    from sklearn.metrics import silhouette_score  # slow to import

    return float(silhouette_score(vectors, labels)) if 1 < len(np.unique(labels)) < len(labels) else 0.0


def davies_bouldin(vectors: np.ndarray, labels: np.ndarray) -> float | None:
    """Return how wide clusters are, compared to how far apart: from 0, the smaller the better.

    None where nothing can be compared: a single cluster, or one for each vector.

    References
    ----------
    Davies and Bouldin 1979, "A cluster separation measure".
    """
    from sklearn.metrics import davies_bouldin_score  # slow to import

    return float(davies_bouldin_score(vectors, labels)) if 1 < len(np.unique(labels)) < len(labels) else None


MEASURES = {"silhouette": silhouette, "davies_bouldin": davies_bouldin}
