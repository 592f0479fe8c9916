"""Answers are right whatever others write at the same time, and what is derived agrees with what it is made of."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest

from pixelplum.core.users.algorithms import find
from pixelplum.core.users.candidates import unit
from pixelplum.core.users.votes import Votes
from tests.fixtures.catalogue import Catalogue
from tests.helpers import FAULTS, SOMEBODY_WAITS, derived_agrees


def misplace(db, block: int = 1, row: int = 500) -> None:
    """Leave a block as a packing by 0.7.0 could: whatever follows a row takes itself to be one row further."""
    db.query(
        "UPDATE pix.features SET position = position + 1 WHERE model_name = 'clouds' AND block = %s AND position >= %s",
        (block, row),
        role=None,
    )


@pytest.mark.parametrize("gone", ["c0000", "c0777", "c1999"])
def test_a_vector_that_vanishes_while_it_is_packed_moves_no_other(busy, until, gone):
    """0.7.0 numbered rows first and collected what was left afterwards: all behind the gap were misplaced for ever."""
    db = busy.db
    db.query("UPDATE pix.features SET vector = vector")
    other = db.connect(autocommit=False)
    other.cursor().execute("DELETE FROM pix.features WHERE item_id = %s", (gone,))
    with ThreadPoolExecutor(1) as pool:
        packing = pool.submit(db.query, "SELECT items FROM pix.pack_features('clouds')")
        until(db, SOMEBODY_WAITS)
        other.commit()
        assert packing.result(60) == [(1999,)]
    del busy.vectors[gone]
    for item_id in ("c0001", "c0778", "c1998"):
        (neighbor, distance) = db.query("SELECT item_id, distance FROM pix.nearest(%s, 1, 'clouds')", (item_id,))[0]
        expected = busy.expected(busy.vectors[item_id], 2, "cosine")[1]
        assert (neighbor, distance) == (expected[0], pytest.approx(expected[1], abs=1e-6))
    voters_on_it = {user for (user,) in db.query("SELECT user_id FROM pix.opinions WHERE item_id = %s", (gone,))}
    for user in {f"u{n}" for n in range(10)} - voters_on_it:
        scores = scores_of(db, busy, user)
        for item_id, score in db.ask("SELECT item_id, score FROM pix.recommend(%s, 10, 'centroid')", (user,)):
            assert score == pytest.approx(scores[item_id], abs=1e-4), (user, item_id)
    derived_agrees(db)


def test_misplaced_vectors_are_found_and_packed_again(voters):
    """No later packing of 0.7.0 found such a block; whatever was learned from its vectors is learned again."""
    voters.query("SELECT pix.fit_common_taste()")
    voters.query("SELECT * FROM pix.recommend('u1', 3, 'centroid')", role="adam")
    before = dict(voters.query("SELECT user_id, votes_hash FROM pix.user_models"))
    misplace(voters)
    ((check, ok, results, _),) = voters.query(FAULTS)
    assert (check, ok) == ("blocks of model clouds", False)
    assert "not where they take themselves to be" in results
    added, removed, items = voters.query("SELECT added, removed, items FROM pix.pack_features('clouds')")[0]
    assert added == removed > 0
    assert items == 2000
    derived_agrees(voters)
    assert voters.value("SELECT count(*) FROM pix.common_taste") == 0
    voters.query("SELECT * FROM pix.recommend('u1', 3, 'centroid')", role="adam")
    after = dict(voters.query("SELECT user_id, votes_hash FROM pix.user_models"))
    assert after != before
    assert voters.query("SELECT added, removed FROM pix.pack_features('clouds')") == [(0, 0)]


def test_migrating_heals_and_says_so(catalogue):
    misplace(catalogue.db)
    output = catalogue.db.pix("migrate", role=None).stdout
    assert "Blocks of model clouds had vectors in the wrong rows" in output
    derived_agrees(catalogue.db)
    assert "wrong rows" not in catalogue.db.pix("migrate", role=None).stdout


SPOILED = {
    "blocks of model clouds": "UPDATE pix_internal.feature_blocks "
    "SET vectors = overlay(vectors PLACING 'abcd' FROM 1 FOR 4)",
    "index trees": "DELETE FROM pix_internal.index_parts WHERE part = 0",
    "clustering groups": "DELETE FROM pix.cluster_members WHERE item_id = 'c0003'",
    "arms": "UPDATE pix.arms SET likes = likes + 1",
    "recommendations": "DELETE FROM pix.items WHERE item_id IN (SELECT item_id FROM pix.recommendations)",
}


@pytest.fixture(scope="module")
def with_everything(stage, with_voters) -> str:
    def derive(db) -> None:
        db.query("SELECT pix.build_index('trees', algorithm => 'annoy')")
        db.query("SELECT pix.fit_clusters('groups', k => 8)")
        db.query("CALL pix.recommend_all(3, algorithm => 'centroid')")

    return stage("everything", with_voters, derive)


@pytest.mark.parametrize(("check", "spoil"), SPOILED.items(), ids=SPOILED)
def test_what_is_derived_is_compared_with_what_it_is_made_of(clone, with_everything, check, spoil):
    db = clone(with_everything)
    derived_agrees(db)
    db.query(spoil, role=None)
    rows = db.query(FAULTS)
    assert rows[0][:2] == (check, False)
    assert rows[0][3]
    shown = db.pix("doctor", "--deep", check=False)
    assert shown.returncode == 1
    assert "wrong" in shown.stdout
    assert db.pix("doctor", check=False).returncode == 0


CHURN = (
    "UPDATE pix.features SET vector = vector WHERE hashtext(item_id || now()) % 20 = 0;"
    "SELECT pix.pack_features('clouds')",
    "UPDATE pix.features SET vector = vector WHERE item_id >= 'c1800' AND hashtext(item_id || now()) % 4 = 0",
    "DELETE FROM pix.features WHERE item_id >= 'c1800' AND hashtext(item_id || now()) % 16 = 0",
    "SELECT pix.pack_features('clouds')",
)


class Churn:
    """Features come, change and go, and are packed, and indexes are built, until it is ended."""

    def __init__(self, db, catalogue: Catalogue):
        self._db, self._catalogue, self._over, self.rounds = db, catalogue, threading.Event(), 0
        self.failure = None
        self._thread = threading.Thread(target=self._work)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _work(self) -> None:
        try:
            self._churn()
        except Exception as failure:
            self.failure = failure

    def _churn(self) -> None:
        new = list(self._catalogue.vectors)[1800:]
        while not self._over.is_set():
            for statement in CHURN:
                self._db.ask(statement)
            self._catalogue.store(new)
            if self.rounds % 4 == 0:
                self._db.ask("SELECT pix.build_index('sketch', 'clouds', 'exact', project_to => 16)")
            self.rounds += 1


@pytest.fixture
def busy(voters):
    """A catalogue whose last 200 items nobody has voted on come and go; each user's model is the simplest."""
    catalogue = Catalogue(voters, {}, np.random.default_rng(7))
    catalogue.draw(range(2000))
    voters.ask("SELECT pix.fit_clusters('groups', k => 8)")
    voters.ask("UPDATE pix.algorithm_rules SET algorithm = 'centroid', needs_common_taste = false")
    return catalogue


def scores_of(db, catalogue: Catalogue, user: str) -> dict[str, float]:
    """What a model of the votes of a user thinks of each item, by arithmetic on vectors as they were drawn."""
    rows = db.query(
        "SELECT item_id, value FROM pix.opinions WHERE user_id = %s ORDER BY voted_at DESC, vote_id DESC", (user,)
    )
    directions = unit(np.stack([catalogue.vectors[item_id] for item_id, _ in rows]))
    votes = Votes(directions, np.array([value for _, value in rows]))
    model = find("centroid").train(votes, find("centroid").check({}, 48), None, 0).model
    names = list(catalogue.vectors)
    return dict(
        zip(names, model.scores(unit(np.stack([catalogue.vectors[name] for name in names]))).tolist(), strict=True)
    )


def next_items(db, catalogue, number) -> None:
    """Voters are shown what their model likes; somebody new, what is most like each cluster, by cosine."""
    user = f"u{number % 10}" if number % 2 else f"new{number}"
    page = db.ask("SELECT item_id, cluster, score FROM pix.next_items(%s, 6)", (user,), role="adam")
    assert len(page) == 6
    if number % 2:
        expected = scores_of(db, catalogue, user)
        for item_id, _, score in page:
            assert score == pytest.approx(expected[item_id], abs=1e-4), item_id
        return
    centers = dict(db.query("SELECT cluster, pix.to_array(center) FROM pix.clusters WHERE clustering = 'groups'"))
    for item_id, cluster, score in page:
        vector, center = catalogue.vectors[item_id].astype(float), np.array(centers[cluster])
        cosine = vector @ center / np.linalg.norm(vector) / np.linalg.norm(center)
        assert score == pytest.approx(cosine, abs=1e-4), item_id


def recommend(db, catalogue, number) -> None:
    """All that was seen by nobody is looked at, packed or not; an item that is deleted at the moment may be missing."""
    user = f"u{number % 10}"
    expected = scores_of(db, catalogue, user)
    seen = {item_id for (item_id,) in db.query("SELECT item_id FROM pix.opinions WHERE user_id = %s", (user,))}
    page = db.ask("SELECT item_id, score FROM pix.recommend(%s, 10, 'centroid')", (user,), role="adam")
    assert len(page) == 10
    assert not {item_id for item_id, _ in page} & seen
    for item_id, score in page:
        assert score == pytest.approx(expected[item_id], abs=1e-4), item_id
    steady = sorted((score for name, score in expected.items() if name < "c1800" and name not in seen), reverse=True)
    assert page[-1][1] >= steady[9] - 1e-4


def recommend_all(db, catalogue, number) -> None:
    user = f"u{number % 10}"
    db.ask("CALL pix.recommend_all(5, %s, 'centroid')", ([user],))
    expected = scores_of(db, catalogue, user)
    rows = db.query("SELECT item_id, score FROM pix.recommendations WHERE user_id = %s", (user,))
    assert len(rows) == 5
    for item_id, score in rows:
        assert score == pytest.approx(expected[item_id], abs=1e-4), item_id


def train_user_models(db, catalogue, number) -> None:
    user = f"u{number % 10}"
    db.ask("CALL pix.train_user_models('centroid', %s)", ([user],))
    (score,) = db.query(
        "SELECT value FROM pix.explain(%s, 'c0042', algorithm => 'centroid') WHERE aspect = 'score'", (user,)
    )[0]
    assert score == pytest.approx(scores_of(db, catalogue, user)["c0042"], abs=1e-4)


def fit_common_taste(db, catalogue, number) -> None:
    assert db.ask("SELECT users, votes FROM pix.fit_common_taste()") == [(10, 300)]


@pytest.mark.parametrize("call", [next_items, recommend, recommend_all, train_user_models, fit_common_taste])
def test_right_answers_while_features_are_packed_and_indexes_built(busy, request, call):
    """0.7.0 read the pack in one statement, votes and blocks in later ones: most calls failed, or named other items."""
    calls = request.config.getoption("--calls")
    failures = []
    with Churn(busy.db, busy) as churn:
        for number in range(calls):
            try:
                call(busy.db, busy, number)
            except (psycopg2.Error, AssertionError) as error:
                failures.append(f"{number}: {error}")
    assert churn.rounds >= 1
    assert failures == []
    derived_agrees(busy.db)


@pytest.mark.parametrize(
    "wait",
    [
        "SELECT FROM pix.recommendations WHERE user_id = 'u3' FOR UPDATE",
        "SELECT pix_internal.lock('recommendations', 'clouds')",
    ],
    ids=["after it has read", "after the training"],
)
def test_a_batch_that_waited_while_features_were_packed(busy, until, wait):
    """0.7.0 had read the pack before it waited, and recommended what had been voted on, as it was not in that pack.

    Or it had no model that had seen the votes as they were after the wait, and left nothing.
    """
    db = busy.db
    db.ask("CALL pix.recommend_all(5, algorithm => 'centroid')")
    other = db.connect(role=None, autocommit=False)
    other.cursor().execute(wait)
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(db.query, "CALL pix.recommend_all(5, algorithm => 'centroid')")
        until(db, SOMEBODY_WAITS)
        db.ask("UPDATE pix.features SET vector = vector; SELECT pix.pack_features('clouds')")
        db.ask("SELECT pix.vote('u4', 'c0007', false)", role="adam")
        other.commit()
        batch.result(60)
    for user in (f"u{n}" for n in range(10)):
        rows = db.ask("SELECT item_id, score FROM pix.recommendations WHERE user_id = %s", (user,))
        assert len(rows) == 5, user
        if user == "u4" and wait.endswith("UPDATE"):
            continue  # may know of the last vote or not
        seen = {item_id for (item_id,) in db.ask("SELECT item_id FROM pix.opinions WHERE user_id = %s", (user,))}
        assert not {item_id for item_id, _ in rows} & seen, user
        scores = scores_of(db, busy, user)
        for item_id, score in rows:
            assert score == pytest.approx(scores[item_id], abs=1e-4), (user, item_id)
    derived_agrees(db)
