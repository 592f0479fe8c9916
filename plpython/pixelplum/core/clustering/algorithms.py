"""Algorithms that find clusters: what fits them, and what comes of it. A new one is an entry here, and its fit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClusteringAlgorithm:
    """How clusters are found.

    Parameters
    ----------
    name : str
        What it is called in SQL.
    summary : str
        What it is good for.
    by_rounds, by_batches, of_components : bool
        What it is fitted to: all vectors, again and again (`kmeans.KMeans`); batches of them
        (`kmeans.fit_minibatches`); or principal components (`mixtures.fit`).
    is_tree : bool
        Whether its clusters are joined, two by two, up to a single one (`clusters.join`).
    """

    name: str
    summary: str
    by_rounds: bool = False
    by_batches: bool = False
    of_components: bool = False
    is_tree: bool = False


ALGORITHMS: dict[str, ClusteringAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        ClusteringAlgorithm("kmeans", "k-means++, then Lloyd's rounds", by_rounds=True),
        ClusteringAlgorithm("minibatch_kmeans", "k-means by batches, for millions of items", by_batches=True),
        ClusteringAlgorithm("gaussian_mixture", "a mixture of Gaussians, by variational Bayes", of_components=True),
        ClusteringAlgorithm("ward", "k-means clusters joined to a tree", by_rounds=True, is_tree=True),
    )
}
