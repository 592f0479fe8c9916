"""Principal components: fitted to a sample, applied to vectors where they are."""

from __future__ import annotations

from pixelplum.core.clustering import projections
from pixelplum.core.clustering.clusters import looked_at
from pixelplum.core.search.vectors import FLOAT32, from_bytes, matrix
from pixelplum.server.canceling import cancellable
from pixelplum.server.clusters import matrix_of, places_of


@cancellable
def fit_projection(
    plpy, cache: dict, sample: bytes, number: int, dimensions: list[int] | None, components: int, seed: int
) -> dict:
    """Fit principal components to sampled vectors: mean, axes, explained variances and their ratios."""
    pca = projections.principal_components(
        looked_at(matrix_of(sample, number), places_of(dimensions)), components, seed
    )
    return {
        "mean": pca.mean_.astype(FLOAT32).tobytes(),
        "axes": pca.components_.astype(FLOAT32).tobytes(),
        "variances": pca.explained_variance_.tolist(),
        "ratios": pca.explained_variance_ratio_.tolist(),
    }


def project_vectors(
    plpy, cache: dict, vectors: bytes, items: int, dimensions: list[int] | None, mean: bytes, axes: bytes
) -> bytes:
    """Return the principal components of vectors that follow one another."""
    middle = from_bytes(mean)
    seen = looked_at(matrix_of(vectors, items), places_of(dimensions))
    return ((seen - middle) @ matrix(axes, len(middle)).T).tobytes()
