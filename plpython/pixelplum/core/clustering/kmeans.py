"""K-means over blocks: several runs at once, so that each vector is read once a round for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pixelplum.core.clustering.clusters import looked_at
from pixelplum.core.search.blocks import Block
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.core.threads import CORES, in_parallel
from pixelplum.errors import TooFewDistinct

MOST_ROUNDS = 300
TOLERANCE = 1e-4
"""A run has ended when its centers move less than this fraction of the vectors' variance, as in scikit-learn."""
ROWS = 1000
"""Vectors that are compared together."""
SMALLEST_VARIANCE = 1e-30
BATCH = 1024
MOST_PASSES = 10
"""Of mini-batches over all vectors."""


class Trial:
    """Centers of one or more runs that vectors are compared with in one matrix product.

    Parameters
    ----------
    centers : numpy.ndarray
        float32, shape (centers, dimensions): those of one run after another.
    counts : list of int
        How many centers each run has.
    origin : numpy.ndarray
        float32, shape (dimensions,): a point near the vectors. Products are taken of centers as seen from there,
        which keeps them precise where vectors are far from zero.
    """

    def __init__(self, centers: np.ndarray, counts: list[int], origin: np.ndarray):
        self.counts = counts
        self.centers = np.ascontiguousarray(centers)
        self.origin = origin
        shifted = centers.astype(np.float64) - origin
        self._shifted = np.ascontiguousarray((-2 * shifted).T.astype(FLOAT32))
        self._offsets = (np.einsum("ij,ij->i", shifted, shifted) + 2 * shifted @ origin.astype(np.float64)).astype(
            FLOAT32
        )
        ends = np.cumsum(counts).tolist()
        self._runs = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]

    @property
    def size(self) -> int:
        """Length of what `sums` returns."""
        return len(self.counts) + len(self.centers) * (1 + self.centers.shape[1])

    def sums(self, vectors: np.ndarray) -> np.ndarray:
        """Assign vectors to their nearest centers, and sum up what belongs to each.

        Parameters
        ----------
        vectors : numpy.ndarray
            float32, shape (vectors, dimensions).

        Returns
        -------
        numpy.ndarray
            float64, shape (size,): per run, the sum of squared distances, but for a constant that is the same for all
            runs; per center, how many vectors belong to it; per center, their sum. Parts of different vectors add up.
        """
        from scipy.sparse import csr_array  # slow to import

        sums = np.zeros(self.size)
        inertias, members, totals = self.parts(sums)
        runs = len(self._runs)
        for start in range(0, len(vectors), ROWS):
            some = vectors[start : start + ROWS]
            scores = some @ self._shifted
            scores += self._offsets
            belongs = np.empty((len(some), runs), np.int32)
            for number, run in enumerate(self._runs):
                belongs[:, number] = run.start + scores[:, run].argmin(axis=1)
            inertias += np.take_along_axis(scores, belongs, axis=1).sum(axis=0, dtype=np.float64)
            members += np.bincount(belongs.ravel(), minlength=len(members))
            ends = np.arange(0, belongs.size + 1, runs)
            shape = len(some), len(members)
            totals += csr_array((np.ones(belongs.size, FLOAT32), belongs.ravel(), ends), shape=shape).T @ some
        return sums

    def parts(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return views of what `sums` returns: inertias, members, totals."""
        runs, centers = len(self.counts), len(self.centers)
        return sums[:runs], sums[runs : runs + centers], sums[runs + centers :].reshape(centers, -1)


def total_sums(trial: Trial, blocks: list[Block], dimensions: np.ndarray | None) -> np.ndarray:
    """Return what `Trial.sums` does, of the vectors of all blocks, by threads on all cores.

    Parameters
    ----------
    trial : Trial
    blocks : list of Block
    dimensions : numpy.ndarray or None
        Positions of the dimensions that are looked at, from 0; None: all.
    """
    parts = [np.zeros(trial.size) for _ in range(min(CORES, len(blocks)))]

    def work(number: int) -> None:
        block = blocks[number]
        parts[number % len(parts)] += trial.sums(looked_at(block.vectors, dimensions))
        if number % 3:  # pages take time to find again, but with all of them the process is as large as the vectors
            block.let_go()

    in_parallel(work, len(blocks))
    return sum(parts)


def count_distinct(sample: np.ndarray) -> int:
    """Return how many vectors differ; one, if all are so near one another that float32 cannot hold their distance."""
    if sample.var(axis=0, dtype=np.float64).sum() < SMALLEST_VARIANCE:
        return 1
    return len(np.unique(sample, axis=0))


@dataclass(eq=False)
class Run:
    """A run of Lloyd's algorithm.

    Attributes
    ----------
    seeds : numpy.ndarray
        Places in the sample of the vectors that it started with.
    centers : numpy.ndarray
        float32, shape (k, dimensions).
    members : numpy.ndarray
        float64, shape (k,): vectors that belong to each, as of the last round.
    inertia : float
        But for a constant, as `Trial.sums` has it.
    rounds : int
        How many it took.
    is_active : bool
        Whether its centers still move.
    """

    seeds: np.ndarray
    centers: np.ndarray
    members: np.ndarray = field(default_factory=lambda: np.zeros(0))
    inertia: float = np.inf
    rounds: int = 0
    is_active: bool = True


class KMeans:
    """Runs of Lloyd's algorithm, side by side; whoever has the vectors takes the sums.

    Parameters
    ----------
    sample : numpy.ndarray
        float32, shape (sampled, dimensions): vectors that runs are seeded from, by greedy k-means++ (Arthur and
        Vassilvitskii 2007, "k-means++: the advantages of careful seeding").
    ks : list of int
        Number of centers of each run.
    seed : int
        Random seed.

    Raises
    ------
    TooFewDistinct
        If the sample has fewer distinct vectors than a run should have centers.
    """

    def __init__(self, sample: np.ndarray, ks: list[int], seed: int):
        from sklearn.cluster import kmeans_plusplus  # slow to import

        distinct = count_distinct(sample)
        if distinct < max(ks):
            raise TooFewDistinct(
                f"{max(ks)} clusters are more than there are features that differ ({distinct})",
                hint=f"Use k => {distinct} or less." if distinct > 1 else "All features are the same: see their model.",
            )
        self._sample = sample
        self._origin = sample.mean(axis=0)
        self._tolerance = TOLERANCE * float(sample.var(axis=0, dtype=np.float64).mean())
        self.runs = []
        for number, k in enumerate(ks):
            centers, seeds = kmeans_plusplus(sample, k, random_state=seed + number)
            self.runs.append(Run(seeds, centers.astype(FLOAT32)))

    @property
    def active(self) -> list[Run]:
        """Return the runs that have not ended."""
        return [run for run in self.runs if run.is_active]

    def trial(self) -> Trial:
        """Return the centers that vectors are to be compared with next; there is an active run."""
        return Trial(
            np.concatenate([run.centers for run in self.active]),
            [len(run.centers) for run in self.active],
            self._origin,
        )

    def advance(self, sums: np.ndarray) -> bool:
        """Move centers to the means of what belongs to them; tell whether any run goes on.

        Parameters
        ----------
        sums : numpy.ndarray
            What `trial().sums` returned, of all vectors.
        """
        active = self.active
        inertias, members, totals = self.trial().parts(sums)
        end = 0
        for run, inertia in zip(active, inertias, strict=True):
            start, end = end, end + len(run.centers)
            run.inertia, run.members = float(inertia), members[start:end].copy()
            run.rounds += 1
            moved = totals[start:end] / np.maximum(run.members, 1)[:, np.newaxis]
            self._refill(run, moved)
            shift = float(((moved - run.centers) ** 2).sum())
            run.centers = moved.astype(FLOAT32)
            run.is_active = shift > self._tolerance and run.rounds < MOST_ROUNDS
        return bool(self.active)

    def best(self, k: int) -> Run:
        """Return the run of k centers with the least inertia."""
        return min((run for run in self.runs if len(run.centers) == k), key=lambda run: run.inertia)

    def _refill(self, run: Run, centers: np.ndarray) -> None:
        """Give centers that nothing belongs to the sampled vectors that are farthest from all others."""
        empty = np.flatnonzero(run.members == 0)
        if len(empty):
            others = centers[run.members > 0]
            near = np.min([((self._sample - other) ** 2).sum(axis=1) for other in others], axis=0)
            centers[empty] = self._sample[np.argsort(near)[::-1][: len(empty)]]


def fit_minibatches(
    parts: list[np.ndarray], sample: np.ndarray, k: int, n_init: int, seed: int
) -> tuple[np.ndarray, int]:
    """Fit k-means by mini-batches drawn from all parts (Sculley 2010, "Web-scale k-means clustering").

    They start with the best of some runs on the sample alone.

    Parameters
    ----------
    parts : list of numpy.ndarray
        float32, shape (vectors, dimensions) each.
    sample : numpy.ndarray
        As for `KMeans`.
    k, n_init, seed : int
        Number of centers, of runs on the sample, and the seed of their random numbers.

    Returns
    -------
    centers : numpy.ndarray
        float32, shape (k, dimensions).
    batches : int
        How many it took.

    Raises
    ------
    TooFewDistinct
        As for `KMeans`.
    """
    from sklearn.cluster import MiniBatchKMeans  # slow to import

    start = KMeans(sample, [k] * n_init, seed)
    while start.advance(start.trial().sums(sample)):
        pass
    origin = sample.mean(axis=0)  # small numbers are squared precisely
    centers = start.best(k).centers - origin
    model = MiniBatchKMeans(k, init=centers, n_init=1, random_state=seed)
    tolerance = TOLERANCE * float(sample.var(axis=0, dtype=np.float64).mean())
    positions = np.concatenate(
        [np.column_stack((np.full(len(part), number), np.arange(len(part)))) for number, part in enumerate(parts)]
    )
    random = np.random.default_rng(seed)
    for _ in range(MOST_PASSES):
        before = getattr(model, "cluster_centers_", centers).copy()
        random.shuffle(positions)
        for batch in np.array_split(positions, max(1, len(positions) // max(BATCH, k))):
            rows = [parts[number][batch[batch[:, 0] == number, 1]] for number in np.unique(batch[:, 0])]
            model.partial_fit(np.concatenate(rows) - origin)
        if ((model.cluster_centers_ - before) ** 2).sum() <= tolerance:
            break
    return (model.cluster_centers_ + origin).astype(FLOAT32), int(model.n_steps_)
