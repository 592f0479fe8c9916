"""Principal components: fitted to a sample, applied to vectors where they are."""

from __future__ import annotations

from pixelplum.core.clustering import projections
from pixelplum.core.clustering.clusters import looked_at
from pixelplum.core.search.vectors import FLOAT32, from_bytes, matrix
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver
from pixelplum.server.model_blocks import ModelBlocks
from pixelplum.server.vectors import matrix_of, places_of

SAMPLED = 10_000
"""Items that principal components are fitted on, at most."""
SEED = 7

STORE = """
INSERT INTO pix_internal.projections (model_name, model_checksum, components, mean, axes, explained_variance,
    explained_variance_ratio, items)
VALUES ($model_name::text, $checksum::text, $components::int, $mean::bytea, $axes::bytea, $variances::float8[],
    $ratios::float8[], $items::int8)
"""


@driver
def fit_pca(database: Database, model_name: str | None, components: int) -> None:
    """Fit principal components to a model's features, and store them: the body of ``pix.fit_pca``."""
    model = database.model(model_name)
    blocks = ModelBlocks(database, model)
    database.run(
        "SELECT pix_internal.check_range('components', $components::int8, 1, $most::int8)",
        components=components, most=min(model.dimensions, blocks.pack.items, SAMPLED),
    )  # fmt: skip
    sample = blocks.sample(SAMPLED, SEED)
    pca = database.work(lambda: projections.principal_components(sample.vectors, components, SEED))
    database.run(
        "DELETE FROM pix_internal.projections p WHERE p.model_name = $model_name::text", model_name=model.model_name
    )
    database.run(
        STORE, model_name=model.model_name, checksum=model.checksum, components=len(pca.components_),
        mean=pca.mean_.astype(FLOAT32).tobytes(), axes=pca.components_.astype(FLOAT32).tobytes(),
        variances=pca.explained_variance_.tolist(), ratios=pca.explained_variance_ratio_.tolist(),
        items=len(sample.item_ids),
    )  # fmt: skip


def project_vectors(
    plpy, cache: dict, vectors: bytes, items: int, dimensions: list[int] | None, mean: bytes, axes: bytes
) -> bytes:
    """Return the principal components of vectors that follow one another."""
    middle = from_bytes(mean)
    seen = looked_at(matrix_of(vectors, items), places_of(dimensions))
    return ((seen - middle) @ matrix(axes, len(middle)).T).tobytes()
