"""Principal components that an index may hold instead of whole vectors."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search.blocks import Block
from pixelplum.core.search.metrics import Metric
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.errors import UnusableArgument

SAMPLE = 20_000
"""Vectors that a projection is fitted on."""


class Projection:
    """The principal components of vectors.

    Parameters
    ----------
    mean : numpy.ndarray
        float32, shape (dimensions,).
    components : numpy.ndarray
        float32, shape (projected dimensions, dimensions).
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray):
        self.mean = mean
        self.components = components

    @classmethod
    def fit(cls, blocks: list[Block], metric: Metric, dimensions: int) -> Projection:
        """Fit by scikit-learn's PCA, on vectors spread over the blocks.

        Raises
        ------
        UnusableArgument
            If there are not more vectors and numbers in each than dimensions asked for.
        """
        from sklearn.decomposition import PCA  # slow to import

        step = -(-sum(len(block.norms) for block in blocks) // SAMPLE)
        longest = longest_of(blocks)
        sample = np.concatenate(
            [metric.euclidean(block.vectors[::step], block.norms[::step], longest) for block in blocks]
        )
        if not 1 <= dimensions < min(sample.shape):
            raise UnusableArgument(
                f"project_to must be from 1 to {min(sample.shape) - 1:,}, not {dimensions}: there are {len(sample)} "
                f"vectors of {sample.shape[1]} dimensions",
                hint="Leave it out to keep whole vectors.",
            )
        pca = PCA(dimensions, svd_solver="covariance_eigh").fit(sample)
        return cls(pca.mean_.astype(FLOAT32), pca.components_.astype(FLOAT32))

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Project vectors: float32, shape (vectors, projected dimensions)."""
        return (vectors - self.mean) @ self.components.T


def longest_of(blocks: list[Block]) -> float:
    """Return the largest length of a vector in some blocks."""
    return max(float(block.norms.max()) for block in blocks)
