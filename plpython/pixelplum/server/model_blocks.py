"""The packed vectors of a model, as fits see them: a sample of them, sums over all, and what a function makes of each.

Where tables are distributed, segments work on the blocks that they store; elsewhere, threads on those that are mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pixelplum.core.clustering import kmeans
from pixelplum.core.clustering.clusters import looked_at
from pixelplum.errors import UnusableArgument, shown_list
from pixelplum.server import packing
from pixelplum.server.blocks import Packed, open_blocks
from pixelplum.server.database import Database, Model
from pixelplum.server.vectors import matrix_of, places_of


@dataclass(frozen=True)
class Sample:
    """Items drawn at random, and their vectors: float32, shape (items, dimensions that are looked at)."""

    item_ids: list[str]
    vectors: np.ndarray


@dataclass(frozen=True)
class ClustersOf:
    """Clusters of a clustering, which is of a model."""

    clustering: str
    leaves: list[int]
    model_name: str


IN_CLUSTERS = """AND f.item_id IN (
    SELECT m.item_id FROM pix.cluster_members m
    WHERE m.clustering = $clustering::text AND m.cluster = ANY ($leaves::int[])
)"""
BLOCKS = "pix_internal.feature_blocks b WHERE b.model_name = $model_name::text"
PARTS_OF_BLOCKS = f"""(
    SELECT f.block, array_agg(f.item_id ORDER BY f.position) AS item_ids,
        string_agg(f.vector, ''::bytea ORDER BY f.position) AS vectors
    FROM pix.features f WHERE f.model_name = $model_name::text AND f.packed_in IS NOT NULL {IN_CLUSTERS}
    GROUP BY f.block OFFSET 0
) b"""


class ModelBlocks:
    """The blocks of a model, with all its features, which stay as they are until the end of the transaction.

    Parameters
    ----------
    database : Database
    model : Model
    dimensions : list of int or None
        Numbers, from 1, of the dimensions that are looked at; None: all.

    Attributes
    ----------
    pack : Pack
        What they are.
    places : numpy.ndarray or None
        Positions of those dimensions, from 0.

    Raises
    ------
    UnusableArgument
        If `dimensions` are not different ones of the model's.
    """

    def __init__(self, database: Database, model: Model, dimensions: list[int] | None = None):
        check_dimensions(dimensions, model)
        self.database = database
        self.model = model
        self.dimensions = dimensions
        self.places = places_of(dimensions)
        self.pack = packing.pack(database, model)

    def sample(self, count: int, seed: int, clusters: ClustersOf | None = None) -> Sample:
        """Draw vectors at random, of some clusters or of all items: the same for the same seed.

        Raises
        ------
        VectorError
            If a number in them is not finite.
        """
        drawn = self.database.row(
            f"""
            SELECT array_agg(s.item_id ORDER BY s.item_id) AS item_ids,
                string_agg(s.vector, ''::bytea ORDER BY s.item_id) AS vectors
            FROM (
                SELECT f.item_id, f.vector FROM pix.features f
                WHERE f.model_name = $model_name::text AND f.packed_in IS NOT NULL {IN_CLUSTERS if clusters else ""}
                ORDER BY md5($seed::int8 || f.item_id), f.item_id LIMIT $count::int8
            ) s
            """,
            model_name=self.model.model_name, seed=seed, count=count, **parameters_of(clusters),
        )  # fmt: skip
        vectors = matrix_of(drawn["vectors"], len(drawn["item_ids"]))
        return Sample(drawn["item_ids"], looked_at(vectors, self.places))

    def count(self, clusters: ClustersOf | None = None) -> int:
        """Return how many items there are, or are in some clusters."""
        if clusters is None:
            return self.pack.items
        return self.database.value(
            f"""
            SELECT count(*) FROM pix.features f
            WHERE f.model_name = $model_name::text AND f.packed_in IS NOT NULL {IN_CLUSTERS}
            """,
            model_name=self.model.model_name, **parameters_of(clusters),
        )  # fmt: skip

    @cached_property
    def mapped(self) -> Packed:
        """The blocks, mapped by this backend."""
        return open_blocks(self.database, self.model.model_name, self.pack.checksum)

    def parts(self) -> list[np.ndarray]:
        """Return the vectors of each block that is mapped, as far as they are looked at."""
        return [looked_at(block.vectors, self.places) for block in self.mapped.blocks]

    def sums(self, trial: kmeans.Trial) -> np.ndarray:
        """Return what `kmeans.Trial.sums` does, of all vectors."""
        if not self.database.is_distributed:
            blocks = self.mapped.blocks
            return self.database.work(lambda: kmeans.total_sums(trial, blocks, self.places))
        return np.frombuffer(
            self.database.value(
                f"""
                SELECT pix_internal.total_kmeans_sums(pix_internal.kmeans_sums(
                    b.vectors, b.items, $dimensions::int[], $centers::bytea, $counts::int[], $origin::bytea
                ))
                FROM {BLOCKS}
                """,
                model_name=self.model.model_name, dimensions=self.dimensions, centers=trial.centers.tobytes(),
                counts=trial.counts, origin=trial.origin.tobytes(),
            )
        )  # fmt: skip

    def coordinates(self, mean: np.ndarray, axes: np.ndarray, clusters: ClustersOf | None = None) -> Sample:
        """Return the principal components of all items, or of those of some clusters, in the order of blocks.

        Parameters
        ----------
        mean, axes : numpy.ndarray
            float32, shapes (dimensions,) and (components, dimensions), of those that are looked at.
        """
        blocks = self.database.rows(
            f"""
            SELECT b.item_ids, pix_internal.project_vectors(
                b.vectors, cardinality(b.item_ids), $dimensions::int[], $mean::bytea, $axes::bytea
            ) AS coordinates
            FROM {PARTS_OF_BLOCKS if clusters else BLOCKS} ORDER BY b.block
            """,
            model_name=self.model.model_name, dimensions=self.dimensions, mean=mean.tobytes(), axes=axes.tobytes(),
            **parameters_of(clusters),
        )  # fmt: skip
        item_ids = [item_id for block in blocks for item_id in block["item_ids"]]
        return Sample(item_ids, matrix_of(b"".join(block["coordinates"] for block in blocks), len(item_ids)))


def parameters_of(clusters: ClustersOf | None) -> dict:
    """Return what `IN_CLUSTERS` names."""
    return {"clustering": clusters.clustering, "leaves": clusters.leaves} if clusters else {}


def check_dimensions(dimensions: list[int] | None, model: Model) -> None:
    """Refuse what are not different dimensions of a model."""
    if dimensions is None:
        return
    among = set(dimensions) & set(range(1, model.dimensions + 1))
    if not dimensions or len(among) < len(dimensions):
        raise UnusableArgument(
            f"dimensions must be different numbers from 1 to {model.dimensions}, not {shown_list(dimensions)}",
            hint="Leave it out to look at all of them.",
        )
