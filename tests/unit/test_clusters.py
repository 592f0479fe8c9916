import numpy as np
import pytest
from scipy.cluster.hierarchy import ward
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from pixelplum.core.clustering import clusters, mixtures
from pixelplum.errors import VectorError


@pytest.fixture(scope="module")
def centers() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(9, 6)).astype(np.float32)


def test_a_design_survives_its_file(centers):
    state = clusters.FittedState(centers, np.arange(9.0), np.arange(9) + 1, np.array([0, 2, 4, 5, 6, 7]))
    again = clusters.FittedState.unpack(state.pack())
    vectors = np.random.default_rng(3).normal(size=(50, 8)).astype(np.float32)
    for ours, theirs in zip(state.assign(vectors), again.assign(vectors), strict=True):
        assert (ours == theirs).all()
    assert (again.numbers == np.arange(9) + 1).all()
    assert again.mixture is None


@pytest.mark.parametrize("content", [b"", b"nothing", clusters.FittedState(np.ones((2, 2)), np.ones(2)).pack()[:-50]])
def test_a_damaged_design(content):
    with pytest.raises(VectorError, match="damaged"):
        clusters.FittedState.unpack(content)


def test_nothing_in_a_design_is_executed(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, centers=np.array([print], object), weights=np.ones(1))
    with pytest.raises(VectorError, match="damaged"):
        clusters.FittedState.unpack(path.read_bytes())


@pytest.mark.parametrize("shift", [0, 3000])
def test_the_nearest_center(centers, shift):
    vectors = np.random.default_rng(3).normal(size=(500, 6)).astype(np.float32) + np.float32(shift)
    state = clusters.FittedState(centers + np.float32(shift), np.ones(9))
    labels, distances = state.assign(vectors)
    true = np.linalg.norm(vectors[:, np.newaxis].astype(float) - state.centers, axis=2)
    assert distances == pytest.approx(true[np.arange(500), labels], rel=1e-4)
    assert distances == pytest.approx(true.min(axis=1), rel=1e-2)
    assert (labels == true.argmin(axis=1)).mean() > 0.99


def test_a_mixture_assigns_as_scikit_learn_does():
    random = np.random.default_rng(4)
    means = 4 * random.normal(size=(4, 10))
    vectors = (means[random.integers(0, 4, 600)] + random.normal(size=(600, 10)) * [[1] * 5 + [3] * 5]).astype(
        np.float32
    )
    pca = PCA(6).fit(vectors)
    positions = pca.transform(vectors)
    state, rounds, has_converged = mixtures.fit(
        positions, pca.mean_.astype(np.float32), pca.components_.astype(np.float32), 9, 3, 7
    )
    assert has_converged
    assert rounds > 0
    assert len(state.centers) < 9
    assert state.weights.sum() == 600
    theirs = GaussianMixture(len(state.centers), covariance_type="diag")
    theirs.weights_ = np.exp(state.mixture["constants"] - 0.5 * np.log(state.mixture["precisions"]).sum(axis=1))
    theirs.means_ = state.mixture["means"]
    theirs.covariances_ = 1 / state.mixture["precisions"]
    theirs.precisions_cholesky_ = np.sqrt(state.mixture["precisions"])
    labels, _ = state.assign(vectors)
    assert (labels == theirs.predict(positions)).all()
    assert np.bincount(labels).tolist() == state.weights.tolist()
    again = clusters.FittedState.unpack(state.pack())
    assert (again.assign(vectors)[0] == labels).all()


def test_joining_is_wards_method(centers):
    """Single vectors are joined as SciPy joins them; it gives the square root of twice what is added."""
    tree = clusters.join(centers, np.ones(9))
    theirs = ward(centers.astype(float))
    heights = [height for height in tree.heights if height is not None]
    assert heights == pytest.approx((theirs[:, 2] ** 2 / 2).tolist(), rel=1e-5)
    assert tree.weights[9:].tolist() == theirs[:, 3].tolist()
    for number, (a, b, *_) in enumerate(theirs, 9):
        assert tree.parents[int(a)] == tree.parents[int(b)] == number
    assert tree.parents[-1] is None
    assert tree.centers[-1] == pytest.approx(centers.mean(axis=0), abs=1e-5)


def test_numbers_stay_with_centers(centers):
    numbers = clusters.match(centers, np.arange(9.0), [], centers[:0], first=1)
    assert sorted(numbers) == list(range(1, 10))
    assert numbers[8] == 1  # the heaviest
    order = np.random.default_rng(1).permutation(9)
    moved = centers[order] + np.float32(0.01)
    assert clusters.match(moved, np.ones(9), numbers, centers, first=1) == [numbers[position] for position in order]
    # One more: it gets the smallest number that is free; one less: its number is not given to another.
    more = np.vstack((moved, np.full((1, 6), 9, np.float32)))
    assert clusters.match(more, np.ones(10), numbers, centers, first=1)[-1] == 10
    assert clusters.match(moved[:-1], np.ones(8), numbers, centers, first=1) == [numbers[p] for p in order[:-1]]
    assert not set(clusters.match(centers, np.ones(9), numbers, centers, first=1, taken=[1, 2, 3])) & {1, 2, 3}


def test_measures_of_a_single_group(centers):
    assert clusters.silhouette(centers, np.zeros(9)) == 0
    assert clusters.davies_bouldin(centers, np.zeros(9)) is None
    assert clusters.davies_bouldin(centers, np.arange(9)) is None
    assert clusters.silhouette(centers, np.arange(9)) == 0
