"""Principal components: the directions in which features vary most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pixelplum.core.threads import all_cores
from pixelplum.errors import TooFewPoints

if TYPE_CHECKING:
    from sklearn.decomposition import PCA


def principal_components(vectors: np.ndarray, components: int, seed: int) -> PCA:
    """Fit principal components.

    Parameters
    ----------
    vectors : numpy.ndarray
        float32, shape (vectors, dimensions).
    components : int
        How many, at most: there are no more than vectors or dimensions.
    seed : int
        Random seed.

    Raises
    ------
    TooFewPoints
        If the vectors are all the same.
    """
    from sklearn.decomposition import PCA  # slow to import

    pca = PCA(min(components, *vectors.shape), random_state=seed)
    with np.errstate(invalid="ignore"), all_cores():
        pca.fit(vectors)
    if not pca.explained_variance_.sum() > 0:
        raise TooFewPoints("All features are the same", hint="See whether their model tells images apart.")
    return pca
