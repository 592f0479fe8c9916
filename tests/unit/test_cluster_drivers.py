"""Fits of clusters, as they go from step to step; the database answers from memory."""

import json
import re

import numpy as np
import pytest

from pixelplum.core.clustering.clusters import FittedState
from pixelplum.errors import TooFewDistinct, UnusableArgument
from pixelplum.server import clusters
from tests.unit.fake_database import FakeDatabase, with_vectors

GROUPS = 4


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    random = np.random.default_rng(5)
    return (6 * random.normal(size=(GROUPS, 12))[np.arange(300) % GROUPS] + random.normal(size=(300, 12))).astype(
        np.float32
    )


def summed(vectors: np.ndarray, parts: int = 3):
    """What segments would return."""

    def sums(dimensions, centers, counts, origin, **_) -> list[dict]:
        total = None
        for part in np.array_split(vectors, parts):
            some = clusters.kmeans_sums(None, {}, part.tobytes(), len(part), dimensions, centers, counts, origin)
            total = some if total is None else clusters.add_kmeans_sums(None, {}, total, some)
        return [{"sums": total}]

    return sums


def described(clusters: list[int], **_) -> list[dict]:
    return [{"cluster": cluster, "items": 1, "medoid": "i0", "mean_price": None} for cluster in clusters]


def shop(vectors: np.ndarray, answers: dict | None = None, is_distributed: bool = False) -> FakeDatabase:
    usual = {
        "total_kmeans_sums": summed(vectors), "d.item_id AS medoid": described, "sum(a.distance": [{"inertia": 2.5}],
        "THEN (\n    SELECT count(*)": [{"moved": 7}],
    }  # fmt: skip
    return with_vectors(vectors, (answers or {}) | usual, is_distributed)


def fit(database: FakeDatabase, **changes) -> FittedState:
    """Fit, and return the state that is stored."""
    usual = {
        "clustering": "groups", "model_name": None, "algorithm": "kmeans", "k": GROUPS, "n_init": 3, "seed": 7,
        "dimensions": None, "max_k": 40,
    }  # fmt: skip
    clusters.fit_clusters(database, **usual | changes)
    return FittedState.unpack(database.values_of("clustering_states (clustering")[0]["content"])


@pytest.mark.parametrize("is_distributed", [False, True], ids=["mapped", "on segments"])
@pytest.mark.parametrize("dimensions", [None, [2, 5, 6, 7]], ids=["all", "some"])
def test_kmeans(vectors, is_distributed, dimensions):
    database = shop(vectors, is_distributed=is_distributed)
    state = fit(database, dimensions=dimensions)
    labels, _ = state.assign(vectors)
    assert all(len(set(labels[group::GROUPS].tolist())) == 1 for group in range(GROUPS))
    assert sorted(state.weights) == [75] * GROUPS
    assert bool(database.values_of("total_kmeans_sums")) == is_distributed
    (stored,) = database.values_of("INSERT INTO pix.clusterings")
    assert (stored["k"], stored["packed_in"], stored["items"], stored["moved"], stored["inertia"]) == (
        4,
        4,
        300,
        7,
        2.5,
    )
    notes = json.loads(stored["notes"])
    assert notes["converged"]
    assert len(set(notes["seeds"])) == GROUPS


def test_segments_give_what_threads_do(vectors):
    here, there = (fit(shop(vectors, is_distributed=distributed)) for distributed in (False, True))
    assert here.centers == pytest.approx(there.centers, abs=1e-5)


@pytest.mark.parametrize("algorithm", ["minibatch_kmeans", "gaussian_mixture", "ward"])
def test_other_algorithms(vectors, algorithm):
    def projected(mean, axes, **_) -> list[dict]:
        mean, axes = np.frombuffer(mean, np.float32), np.frombuffer(axes, np.float32).reshape(-1, 12)
        coordinates = ((vectors - mean) @ axes.T).tobytes()
        return [{"item_ids": [f"i{number}" for number in range(300)], "coordinates": coordinates}]

    database = shop(vectors, {"pix_internal.project_vectors": projected})
    labels, _ = fit(database, algorithm=algorithm).assign(vectors)
    assert all(len(set(labels[group::GROUPS].tolist())) == 1 for group in range(GROUPS))
    (stored,) = database.values_of("INSERT INTO pix.clusters")
    upper = GROUPS - 1 if algorithm == "ward" else 0
    assert sorted(stored["clusters"]) == list(range(1, GROUPS + upper + 1))
    assert [height is None for height in stored["heights"]] == [True] * GROUPS + [False] * upper


def test_k_is_chosen_by_the_silhouette(vectors):
    database = shop(vectors)
    assert len(fit(database, k=None).centers) == GROUPS
    points = database.values_of("INSERT INTO pix.cluster_curves")
    assert max(points, key=lambda point: point["silhouette"])["k"] == GROUPS
    assert json.loads(database.values_of("INSERT INTO pix.clusterings")[0]["notes"])["k"] is None


def test_clusters_keep_their_numbers(vectors):
    before = [{"cluster": 10 + group, "parent": None, "height": None, "center": vectors[group].tobytes()}
              for group in range(GROUPS)]  # fmt: skip
    state = fit(shop(vectors, {"SELECT c.cluster, c.parent": before}))
    labels, _ = state.assign(vectors[:GROUPS])
    assert state.numbers[labels].tolist() == [10, 11, 12, 13]


def test_progress_is_told_and_the_name_restored(vectors):
    database = shop(vectors)
    fit(database)
    names = [values["settings"][0] for values in database.values_of("set_config")]
    assert names[0] == "pix: 0 % of clustering groups"
    assert names[-1] == "psql"
    assert len(names) > 2


def test_others_wait_before_anything_is_read_that_they_change(vectors):
    database = shop(vectors)
    fit(database)
    order = [
        "pix_internal.lock(", "block_entries", "ORDER BY md5", "CREATE TEMP TABLE pix_assigned",
        "THEN (\n    SELECT count", "lock_arms", "DELETE FROM pix.cluster_members", "INSERT INTO pix.cluster_members",
        "add_up_arms",
    ]  # fmt: skip
    positions = [database.position(text) for text in order]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"k": 301}, TooFewDistinct, "301 clusters are more than the 300 items with features of model 'looks'"),
        ({"dimensions": [0]}, UnusableArgument, "different numbers from 1 to 12, not {0}"),
        ({"dimensions": [3, 3]}, UnusableArgument, "not {3,3}"),
        ({"dimensions": [3, None]}, UnusableArgument, "not {3,NULL}"),
        ({"dimensions": []}, UnusableArgument, "not {}"),
    ],
    ids=str,
)
def test_what_cannot_be_fitted_writes_nothing(vectors, arguments, error, message):
    database = shop(vectors)
    with pytest.raises(error, match=re.escape(message)):
        fit(database, **arguments)
    assert not database.values_of("INSERT INTO")
    assert not database.values_of("DELETE FROM")


def test_a_prior_is_fitted_again_as_it_was(vectors):
    database = shop(
        vectors,
        {
            "SELECT p.algorithm": [{"algorithm": "likelihood", "strength_cap": 12.0}],
            "SELECT c.clustering": [{"clustering": "groups"}],
            "pix_internal.half_life()": [{"half_life": None}],
            "SELECT c.cluster FROM": [{"cluster": 1}, {"cluster": 2}],
            "WITH RECURSIVE below": [{"cluster": 1, "likes": 3.0, "votes": 4.0, "users": 9}],
        },
    )
    fit(database)
    (stored,) = database.values_of("INSERT INTO pix.arm_priors")
    assert (stored["algorithm"], stored["strength_cap"]) == ("likelihood", 12.0)
    assert (stored["clusters"], stored["likes"], stored["dislikes"], stored["users"]) == (
        [1, 2],
        [27, 0],
        [9, 0],
        [9, 0],
    )


def test_refreshing_keeps_the_centers(vectors):
    state = FittedState(vectors[:GROUPS], np.ones(GROUPS), np.arange(GROUPS) + 1)
    fitted = {"model_name": "looks", "packed_in": 3, "dimensions": None, "content": state.pack()}
    stored = [{"cluster": group + 1, "parent": None, "height": None, "center": vectors[group].tobytes()}
              for group in range(GROUPS)]  # fmt: skip
    database = shop(vectors, {
        "JOIN pix_internal.clustering_states": [fitted], "SELECT c.cluster, c.parent": stored,
        "INSERT INTO pix.cluster_members": [{}] * 5,
    })  # fmt: skip
    assert clusters.refresh_clusters(database, "groups") == 5
    assert not database.values_of("clustering_states (clustering")
    assert database.values_of("CREATE TEMP TABLE")[0]["packed_after"] == 3
    assert database.values_of("INSERT INTO pix.clusters")[0]["centers"] == [row["center"] for row in stored]
    assert database.values_of("UPDATE pix.clusterings")[0]["packed_in"] == 4
