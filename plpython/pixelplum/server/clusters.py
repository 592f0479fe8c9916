"""Clusterings: fitted over blocks, numbered, and asked which cluster a vector is in.

K-means goes round by round: where blocks are mapped, threads share them; on Greenplum, segments compare those that they
store. In between its state is kept in the backend.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pixelplum.core.clustering import clusters, kmeans, mixtures
from pixelplum.core.search.vectors import from_bytes, matrix
from pixelplum.core.threads import CORES, in_parallel
from pixelplum.errors import VectorError
from pixelplum.server.blocks import Packed, kept
from pixelplum.server.canceling import cancellable


class Fit:
    """A k-means fit that is under way."""

    def __init__(self, sample: np.ndarray, dimensions: np.ndarray | None, ks: list[int], seed: int):
        self.dimensions = dimensions
        self.sample = clusters.looked_at(sample, dimensions)
        self.kmeans = kmeans.KMeans(self.sample, ks, seed)

    def state(self, k: int) -> clusters.FittedState:
        """Return what the best run of k clusters has found."""
        run = self.kmeans.best(k)
        return clusters.FittedState(run.centers, run.members, dimensions=self.dimensions)


@cancellable
def start_kmeans(
    plpy, cache: dict, sample: bytes, number: int, dimensions: list[int] | None, ks: list[int], seed: int
) -> None:
    """Seed runs of k-means, one for each of ``ks``, from sampled vectors."""
    cache["kmeans"] = Fit(matrix_of(sample, number), places_of(dimensions), ks, seed)


@cancellable
def possible_ks(
    plpy, cache: dict, sample: bytes, number: int, dimensions: list[int] | None, ks: list[int]
) -> list[int]:
    """Return those numbers of clusters that there are enough different vectors for."""
    distinct = kmeans.count_distinct(clusters.looked_at(matrix_of(sample, number), places_of(dimensions)))
    return [k for k in ks if k <= distinct]


def kmeans_round(plpy, cache: dict, key: str) -> bool:
    """Do a round over blocks that are mapped; tell whether there are more to do."""
    fit: Fit = cache["kmeans"]
    trial = fit.kmeans.trial()
    blocks = kept(cache, key).blocks
    parts = [np.zeros(trial.size) for _ in range(CORES)]

    def work(core: int) -> None:
        for number, block in enumerate(blocks[core::CORES]):
            for rows in range(0, len(block.norms), kmeans.ROWS):
                some = clusters.looked_at(block.vectors[rows : rows + kmeans.ROWS], fit.dimensions)
                parts[core] += trial.sums(some)
            if number % 3:  # pages take time to find again, but with all of them the process is as large as the vectors
                block.let_go()

    in_parallel(work, CORES)
    return fit.kmeans.advance(sum(parts))


def kmeans_trial(plpy, cache: dict) -> dict:
    """Return the centers that segments compare vectors with."""
    trial = cache["kmeans"].kmeans.trial()
    return {"centers": trial.centers.tobytes(), "counts": trial.counts, "origin": trial.origin.tobytes()}


def kmeans_sums(
    plpy, cache: dict, vectors: bytes, items: int, dimensions: list[int] | None, centers: bytes, counts: list[int],
    origin: bytes,
) -> bytes:  # fmt: skip
    """Compare a block with centers; see `kmeans.Trial.sums`."""
    point = from_bytes(origin)
    trial = kmeans.Trial(matrix(centers, len(point)), counts, point)
    return trial.sums(clusters.looked_at(matrix_of(vectors, items), places_of(dimensions))).tobytes()


def add_kmeans_sums(plpy, cache: dict, a: bytes, b: bytes) -> bytes:
    """Add up what was found in different blocks."""
    return (np.frombuffer(a) + np.frombuffer(b)).tobytes()


def advance_kmeans(plpy, cache: dict, sums: bytes) -> bool:
    """End a round with the sums of all blocks; tell whether there are more to do."""
    return cache["kmeans"].kmeans.advance(np.frombuffer(sums))


@cancellable
def kmeans_curve(plpy, cache: dict, items: int) -> dict:
    """Measure the runs of a fit on sampled vectors: ks, silhouettes, inertias."""
    fit: Fit = cache["kmeans"]
    ks = sorted(len(run.centers) for run in fit.kmeans.runs)
    curve = [clusters.measure(fit.sample, replace(fit.state(k), dimensions=None)) for k in ks]
    return {
        "ks": ks,
        "silhouettes": [silhouette for silhouette, _ in curve],
        "inertias": [spread * items for _, spread in curve],
    }


def kmeans_result(plpy, cache: dict, k: int) -> dict:
    """Return the state of the best run, and what is said of it; the fit is over."""
    fit: Fit = cache.pop("kmeans")
    run = fit.kmeans.best(k)
    return {
        "state": fit.state(k).pack(),
        "seeds": (run.seeds + 1).tolist(),
        "rounds": run.rounds,
        "has_converged": not run.is_active and run.rounds < kmeans.MOST_ROUNDS,
    }


@cancellable
def fit_minibatches(
    plpy, cache: dict, key: str, sample: bytes, number: int, dimensions: list[int] | None, k: int, n_init: int,
    seed: int,
) -> dict:  # fmt: skip
    """Fit k-means by mini-batches from blocks that are mapped; return its state and rounds."""
    packed: Packed = kept(cache, key)
    positions = places_of(dimensions)
    parts = [clusters.looked_at(block.vectors, positions) for block in packed.blocks]
    centers, batches = kmeans.fit_minibatches(
        parts, clusters.looked_at(matrix_of(sample, number), positions), k, n_init, seed
    )
    return {"state": clusters.FittedState(centers, np.ones(k), dimensions=positions).pack(), "rounds": batches}


@cancellable
def fit_mixture(
    plpy, cache: dict, coordinates: bytes, number: int, dimensions: list[int] | None, mean: bytes, axes: bytes, k: int,
    n_init: int, seed: int,
) -> dict:  # fmt: skip
    """Fit a mixture to principal components; return its state, rounds, and whether it has converged."""
    middle = from_bytes(mean)
    mixture, rounds, has_converged = mixtures.fit(
        matrix_of(coordinates, number), middle, matrix(axes, len(middle)), k, n_init, seed
    )
    state = replace(mixture, dimensions=places_of(dimensions)).pack()
    return {"state": state, "rounds": rounds, "has_converged": has_converged}


def identify_clusters(
    plpy, cache: dict, state: bytes, is_tree: bool, old_numbers: list[int], old_centers: bytes,
    old_upper_numbers: list[int], old_upper_centers: bytes,
) -> dict:  # fmt: skip
    """Number the clusters of a state, and those above them, so that they keep the numbers they had.

    Returns
    -------
    dict
        The numbered ``state``; and of all clusters, those above included, ``cluster_ids``, ``parents``, ``heights`` and
        ``centers`` (bytes, one after another).
    """
    fitted = clusters.FittedState.unpack(state)
    k, size = fitted.centers.shape
    named = clusters.match(
        fitted.centers, fitted.weights, old_numbers, matrix(old_centers, size), first=1, taken=old_upper_numbers
    )
    centers, parents, heights = fitted.centers, [None] * k, [None] * k
    if is_tree:
        tree = clusters.join(fitted.centers, fitted.weights)
        centers, heights = tree.centers, tree.heights
        named += clusters.match(
            centers[k:], tree.weights[k:], old_upper_numbers, matrix(old_upper_centers, size), first=1, taken=named
        )
        parents = [None if parent is None else named[parent] for parent in tree.parents]
    return {
        "numbered": replace(fitted, numbers=np.array(named[:k])).pack(),
        "cluster_ids": named,
        "parents": parents,
        "heights": heights,
        "centers": np.ascontiguousarray(centers).tobytes(),
    }


def nearest_leaves(plpy, cache: dict, numbers: list[int], parents: list[int | None], centers: bytes) -> list[int]:
    """Return for each cluster the one below it, or itself, that items belong to and whose center is nearest."""
    points = matrix_of(centers, len(numbers))
    position = {name: number for number, name in enumerate(numbers)}
    upper = {parent for parent in parents if parent is not None}
    below: list[list[int]] = [[] for _ in numbers]
    for leaf, name in enumerate(numbers):
        node = None if name in upper else leaf
        while node is not None:
            below[node].append(leaf)
            node = None if parents[node] is None else position[parents[node]]
    apart = [np.square(points[leaves] - point).sum(axis=1) for leaves, point in zip(below, points, strict=True)]
    return [numbers[leaves[int(distances.argmin())]] for leaves, distances in zip(below, apart, strict=True)]


def assign_to_clusters(plpy, cache: dict, vectors: bytes, items: int, state: bytes) -> dict:
    """Return the cluster of each vector of a block, and its distance to the center."""
    fitted = clusters.FittedState.unpack(state)
    labels, distances = fitted.assign(matrix_of(vectors, items))
    return {"clusters": fitted.numbers[labels].tolist(), "distances": distances.tolist()}


@cancellable
def measure_quality(
    plpy, cache: dict, vectors: bytes, labels: list[int], dimensions: list[int] | None, measure: str
) -> float | None:
    """Measure how well clusters are apart: 'silhouette' or 'davies_bouldin'."""
    seen = clusters.looked_at(matrix_of(vectors, len(labels)), places_of(dimensions))
    return clusters.MEASURES[measure](seen, np.array(labels))


def matrix_of(vectors: bytes, number: int) -> np.ndarray:
    rows = from_bytes(vectors).reshape(number, -1)
    if not np.isfinite(rows).all():
        raise VectorError("A feature vector holds a number that is not finite", hint="Extract the features again.")
    return rows


def places_of(dimensions: list[int] | None) -> np.ndarray | None:
    return None if dimensions is None else np.array(dimensions) - 1
