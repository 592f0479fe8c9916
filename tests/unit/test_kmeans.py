import numpy as np
import pytest
from sklearn.cluster import KMeans

from pixelplum.core.clustering import kmeans
from pixelplum.errors import TooFewDistinct


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(3)
    return (3 * random.normal(size=(8, 24))[random.integers(0, 8, 1000)] + random.normal(size=(1000, 24))).astype(
        np.float32
    )


def fitted(vectors: np.ndarray, ks: list[int], blocks: int = 3, sample: np.ndarray | None = None) -> kmeans.KMeans:
    fit = kmeans.KMeans(vectors if sample is None else sample, ks, seed=7)
    while fit.advance(sum(fit.trial().sums(block) for block in np.array_split(vectors, blocks))):
        pass
    return fit


@pytest.mark.parametrize("shift", [0, 1000])
def test_as_scikit_learn_from_the_same_seeds(vectors, shift):
    """Far from zero, too, where squares lose their last digits."""
    moved = vectors + np.float32(shift)
    fit = fitted(moved, [8])
    theirs = KMeans(8, init=moved[fit.runs[0].seeds], n_init=1).fit(moved)
    assert np.allclose(fit.runs[0].centers, theirs.cluster_centers_, atol=1e-2)
    assert fit.runs[0].members.sum() == 1000


def test_runs_side_by_side_are_as_runs_alone(vectors):
    together = fitted(vectors, [3, 8, 5])
    assert [len(run.centers) for run in together.runs] == [3, 8, 5]
    start = kmeans.KMeans(vectors, [3, 8, 5], seed=7)
    for run, seeded in zip(together.runs, start.runs, strict=True):
        theirs = KMeans(len(run.centers), init=vectors[seeded.seeds], n_init=1).fit(vectors)
        assert np.allclose(run.centers, theirs.cluster_centers_, atol=1e-2)


def test_the_best_run_has_the_least_inertia(vectors):
    fit = fitted(vectors, [20] * 6)
    best = fit.best(20)
    inertias = [((vectors[:, np.newaxis] - run.centers) ** 2).sum(axis=2).min(axis=1).sum() for run in fit.runs]
    assert inertias[fit.runs.index(best)] == pytest.approx(min(inertias))
    assert max(inertias) > min(inertias)


def test_sums_do_not_depend_on_blocks(vectors):
    trial = kmeans.KMeans(vectors, [4, 6], seed=1).trial()
    whole = trial.sums(vectors)
    assert np.allclose(whole, sum(trial.sums(block) for block in np.array_split(vectors, 7)), rtol=1e-5)
    inertias, members, totals = trial.parts(whole)
    assert inertias.shape == (2,)
    assert members[:4].sum() == members[4:].sum() == 1000
    assert np.allclose(totals[:4].sum(axis=0), vectors.sum(axis=0), rtol=1e-3)


def test_a_center_that_nothing_belongs_to_is_moved_to_a_far_vector(vectors):
    fit = kmeans.KMeans(vectors, [8], seed=7)
    fit.runs[0].centers[2] = 1000
    fit.advance(fit.trial().sums(vectors))
    assert fit.runs[0].members[2] == 0
    while fit.advance(fit.trial().sums(vectors)):
        pass
    assert (fit.runs[0].members > 0).all()


def test_fewer_distinct_vectors_than_centers():
    with pytest.raises(TooFewDistinct, match=r"3 clusters .* differ \(2\)"):
        kmeans.KMeans(np.float32([[0, 1], [1, 0]] * 5), [2, 3], seed=1)


@pytest.mark.parametrize("shift", [0, 10_000])
def test_minibatches_come_close(vectors, shift):
    moved = vectors + np.float32(shift)
    centers, batches = kmeans.fit_minibatches(np.array_split(moved, 3), moved[:500], 8, 3, 7)
    results = ((moved[:, np.newaxis] - centers) ** 2).sum(axis=2).min(axis=1).sum()
    assert results < 1.03 * KMeans(8, n_init=5, random_state=7).fit(vectors).inertia_
    assert batches > 0


def test_minibatches_of_more_centers_than_a_batch_has_rows(vectors, monkeypatch):
    monkeypatch.setattr(kmeans, "BATCH", 100)
    centers, _ = kmeans.fit_minibatches([vectors], vectors, 150, 1, 7)
    assert centers.shape == (150, 24)


def test_vectors_that_are_too_near_one_another():
    with pytest.raises(TooFewDistinct):
        kmeans.KMeans(np.float32(np.eye(5) * 1e-20), [2], seed=1)
