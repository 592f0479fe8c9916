"""Metrics: how vectors are compared. A new one is a class here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np


class Metric(ABC):
    """A distance between vectors; the smaller, the more alike.

    Attributes
    ----------
    name : str
        What it is called in SQL.
    compares_directions : bool
        Whether lengths do not count: then a vector of zeros cannot be searched with.
    added_dimensions : int
        Numbers that `euclidean` adds to a vector.
    """

    name: ClassVar[str]
    compares_directions: ClassVar[bool] = False
    added_dimensions: ClassVar[int] = 0

    @abstractmethod
    def distances(self, query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Compute distances in double precision.

        Parameters
        ----------
        query : numpy.ndarray
            float64, shape (..., dimensions).
        vectors : numpy.ndarray
            float64, shape (..., vectors, dimensions).

        Returns
        -------
        numpy.ndarray
            float64, shape (..., vectors).
        """

    @abstractmethod
    def proximities(self, products: np.ndarray, norms: np.ndarray) -> None:
        """Turn inner products into numbers that are the larger, the nearer: in place, within a query.

        Parameters
        ----------
        products : numpy.ndarray
            float32, shape (items,) or (queries, items).
        norms : numpy.ndarray
            float32, shape (items,): lengths of the items' vectors.
        """

    @abstractmethod
    def scale(self, lengths: np.ndarray, longest: float) -> np.ndarray:
        """Return what rounding errors of `proximities` are in proportion to, from the lengths of queries and items."""

    @abstractmethod
    def euclidean(self, vectors: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
        """Return vectors whose Euclidean distances are in the order of this metric.

        Parameters
        ----------
        vectors : numpy.ndarray
            float32, shape (vectors, dimensions).
        norms : numpy.ndarray
            float32, shape (vectors,): their lengths.
        longest : float
            The largest length in the catalogue; 0 for queries.
        """


class Cosine(Metric):
    """1 - cosine of the angle, from 0 to 2; a vector of zeros is at distance 1 from every other."""

    name = "cosine"
    compares_directions = True

    def distances(self, query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        squares = np.einsum("...j,...j->...", query, query)[..., np.newaxis]
        norms = np.sqrt(np.einsum("...ij,...ij->...i", vectors, vectors) * squares)
        products = np.einsum("...ij,...j->...i", vectors, query)
        cosines = np.divide(products, norms, out=np.zeros_like(products), where=norms != 0)
        return np.clip(1 - cosines, 0, 2)  # rounding must not make a distance negative

    def proximities(self, products: np.ndarray, norms: np.ndarray) -> None:
        # A vector of zeros is as far as one at right angles.
        np.divide(products, norms, out=products, where=norms > 0)

    def scale(self, lengths: np.ndarray, longest: float) -> np.ndarray:
        return lengths

    def euclidean(self, vectors: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
        return vectors / np.where(norms > 0, norms, 1)[:, np.newaxis]


class Euclidean(Metric):
    """The length of the difference."""

    name = "euclidean"

    def distances(self, query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        difference = vectors - query[..., np.newaxis, :]
        return np.sqrt(np.einsum("...ij,...ij->...i", difference, difference))

    def proximities(self, products: np.ndarray, norms: np.ndarray) -> None:
        products -= np.square(norms) / 2

    def scale(self, lengths: np.ndarray, longest: float) -> np.ndarray:
        return (lengths + longest) * longest

    def euclidean(self, vectors: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
        return vectors


class Dot(Metric):
    """The negative inner product.

    References
    ----------
    Bachrach et al. 2014, "Speeding up the Xbox recommender system": one more number makes all vectors equally long, and
    is zero in queries, so that Euclidean distances are in the order of inner products.
    """

    name = "dot"
    added_dimensions = 1

    def distances(self, query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        return -np.einsum("...ij,...j->...i", vectors, query)

    def proximities(self, products: np.ndarray, norms: np.ndarray) -> None:
        pass

    def scale(self, lengths: np.ndarray, longest: float) -> np.ndarray:
        return lengths * longest

    def euclidean(self, vectors: np.ndarray, norms: np.ndarray, longest: float) -> np.ndarray:
        return np.column_stack((vectors, np.sqrt(np.maximum(np.square(longest) - np.square(norms), 0))))


METRICS: dict[str, Metric] = {metric.name: metric for metric in (Cosine(), Euclidean(), Dot())}
