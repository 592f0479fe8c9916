"""Recommendations: against numpy over everything, filtered, unlike each other, fresh, with reasons."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pixelplum.core.users import models
from tests.fixtures.catalogue import VOTERS
from tests.helpers import refuses, vote

PAGE = "SELECT item_id, score FROM pix.recommend('u0', 10{}) ORDER BY rank"


def page(db, options: str = "") -> list[tuple[str, float]]:
    return db.ask(PAGE.format(options), role="adam")


@pytest.fixture
def ranked(voters, catalogue):
    """The voters, and the vectors of what they vote on."""
    return voters, catalogue.vectors


def expected(db, vectors: dict, algorithm: str = "logistic", only=None) -> list[tuple[str, float]]:
    """The ten best by the stored model, of all that u0 has not voted on, by numpy alone."""
    ((described, content),) = db.ask(
        "SELECT described, content FROM pix.user_models WHERE user_id = 'u0' AND algorithm = %s", (algorithm,)
    )
    seen = {item for (item,) in db.ask("SELECT item_id FROM pix.opinions WHERE user_id = 'u0'")}
    names = sorted(name for name in vectors if name not in seen and (only is None or only(name)))
    matrix = np.stack([vectors[name] for name in names])
    directions = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    scores = models.unpack(described, bytes(content)).scores(directions)
    order = np.lexsort((np.arange(len(names)), -scores))[:10]
    return [(names[position], scores[position]) for position in order]


def agree(results: list, wanted: list) -> None:
    assert [item for item, _ in results] == [item for item, _ in wanted]
    assert [score for _, score in results] == pytest.approx([score for _, score in wanted], abs=1e-5)


def test_the_best_of_all(ranked):
    db, vectors = ranked
    for algorithm in ("logistic", "svm", "nearest", "centroid"):
        agree(page(db, f", '{algorithm}'"), expected(db, vectors, algorithm))
    recommended, wanted = (
        page(db, ", 'random_forest'"),
        expected(db, vectors, "random_forest"),
    )  # scores are often the same
    assert [score for _, score in recommended] == pytest.approx([score for _, score in wanted], abs=1e-6)


def test_filters(ranked):
    db, vectors = ranked

    def number(name: str) -> int:
        return int(name[1:])

    for options, only in (
        (", filter => pix.items_where(brand => 'brand 3')", lambda name: number(name) % 7 == 3),
        (", filter => pix.items_where(max_price => 20, min_price => 10)", lambda name: 10 <= number(name) % 100 <= 20),
        (", filter => pix.items_where(min_price => 50)", lambda name: number(name) % 100 >= 50),
        (
            ", filter => pix.items_where(only_ids => '{c0001,c0002,c0003,nothing}')",
            lambda name: name in ("c0001", "c0002", "c0003"),
        ),
    ):
        agree(page(db, options), expected(db, vectors, only=only))
    best = [item for item, _ in page(db)]
    rest = [
        item
        for item, _ in db.ask(PAGE.format(", filter => pix.items_where(except_ids => %s)"), (best[:3],), role="adam")
    ]
    assert rest[:7] == best[3:]
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 3)")
    inside = dict(db.ask("SELECT item_id, cluster FROM pix.cluster_members"))
    agree(
        page(db, ", filter => pix.items_where(clustering => 'groups', cluster => 2)"),
        expected(db, vectors, only=lambda name: inside[name] == 2),
    )
    refuses(db, "PX004", PAGE.format(", filter => pix.items_where(brand => 'no brand')"), "no brand")
    refuses(db, "PX004", PAGE.format(", filter => pix.items_where(brand => 'costs $most::int')"), "costs $most::int")


def test_opinions_are_not_recommended(voters):
    first = [item for item, _ in page(voters)]
    vote(voters, "u0", first[0], False)
    vote(voters, "u0", first[1], signal="view")
    now = [item for item, _ in page(voters)]
    assert not {first[0], first[1]} & set(now)
    voters.ask("SELECT pix.undo_vote('u0', %s)", (first[0],), role="adam")
    assert first[0] in [item for item, _ in voters.ask(PAGE.replace("10", "60").format(""), role="adam")]


def test_items_that_come_and_go(voters):
    db = voters
    best = [item for item, _ in page(db)]
    db.ask("DELETE FROM pix.features WHERE item_id = %s", (best[0],))
    db.ask("DELETE FROM pix.items WHERE item_id = %s", (best[1],))
    assert [item for item, _ in page(db)][:8] == best[2:]
    # What is in no block is found all the same.
    db.ask("INSERT INTO pix.items (item_id) VALUES ('twin')")
    db.ask(
        "INSERT INTO pix.features (item_id, model_name, vector) SELECT 'twin', model_name, vector FROM pix.features "
        "WHERE item_id = %s", (best[2],),
    )  # fmt: skip
    recommended = page(db)
    assert {recommended[0][0], recommended[1][0]} == {best[2], "twin"}
    assert recommended[0][1] == pytest.approx(recommended[1][1], abs=1e-6)


def test_with_an_index(voters):
    for index, values in (("exact", ", project_to => 24"), ("hnsw", "")):
        voters.ask(f"SELECT pix.build_index('{index}', 'clouds', '{index}'{values})")
        for algorithm in ("logistic", "nearest", "centroid", "svm", "xgboost"):
            exact = {item for item, _ in page(voters, f", '{algorithm}'")}
            recommended = page(voters, f", '{algorithm}', index_name => '{index}'")
            assert len(recommended) == 10
            assert len(exact & {item for item, _ in recommended}) >= (3 if algorithm == "svm" else 8), (
                index,
                algorithm,
            )
        assert len(page(voters, f", index_name => '{index}', filter => pix.items_where(brand => 'brand 3')")) == 10


def test_diversity(voters):
    def likeness(items: list[str]) -> float:
        ((mean,),) = voters.ask(
            "SELECT avg(1 - pix.distance(a.vector, b.vector, 'cosine')) FROM pix.features a JOIN pix.features b "
            "ON a.item_id < b.item_id WHERE a.item_id = ANY (%(items)s) AND b.item_id = ANY (%(items)s)",
            {"items": items},
        )  # fmt: skip
        return mean

    pages = [[item for item, _ in page(voters, f", 'nearest', diversity => {d}")] for d in (0, 0.5, 0.9)]
    assert len({own[0] for own in pages}) == 1
    assert likeness(pages[0]) > likeness(pages[1]) > likeness(pages[2])


def test_reasons(voters):
    rows = voters.ask(
        "SELECT item_id, probability, reason, liked_ids FROM pix.recommend('u0', 5) ORDER BY rank", role="adam"
    )
    likes = {item for (item,) in voters.ask("SELECT item_id FROM pix.opinions WHERE user_id = 'u0' AND value > 0")}
    for _, probability, reason, liked in rows:
        assert 0.5 < probability < 1
        assert set(liked) <= likes
        assert 1 <= len(liked) <= 3
        message = (
            f"close to {liked[0]}, which u0 liked" if len(liked) == 1 else f"close to {len(liked)} items that u0 liked"
        )
        assert reason == message
    item, probability, _, liked = rows[0]
    answer = voters.ask("SELECT aspect, item_id, value, note FROM pix.explain('u0', %s, k => 3)", (item,), role="rita")
    assert [row[0] for row in answer] == [
        "score",
        "probability",
        "like",
        "like",
        "like",
        "dislike",
        "dislike",
        "dislike",
    ]
    assert answer[1][2] == pytest.approx(probability, abs=1e-6)
    assert answer[2][1] == liked[0]
    ((cosine,),) = voters.ask(
        "SELECT 1 - pix.distance(a.vector, b.vector, 'cosine') FROM pix.features a, pix.features b "
        "WHERE a.item_id = %s AND b.item_id = %s", (item, liked[0]),
    )  # fmt: skip
    assert answer[2][2] == pytest.approx(cosine, abs=1e-5)
    assert "trained on" in answer[0][3]
    shown = voters.pix("explain", "u0", item, role="rita").stdout
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["score", "probability", "like"]
    assert voters.pix("recommend", "u0", "-k", 3, role="adam").stdout.count("u0 liked") == 3


class TestForAll:
    def test_the_same_as_one_by_one(self, voters):
        voters.ask("CALL pix.recommend_all(7)")
        rows = voters.ask("SELECT user_id, count(*), min(rank), max(rank) FROM pix.recommendations GROUP BY 1")
        assert sorted(rows) == [(f"u{user}", 7, 1, 7) for user in range(VOTERS)]
        for user in ("u0", "u7"):
            stored = voters.ask(
                "SELECT item_id, score, probability, algorithm, liked_ids FROM pix.recommendations WHERE user_id = %s "
                "ORDER BY rank", (user,), role="rita",
            )  # fmt: skip
            queried = voters.ask(
                "SELECT item_id, score, probability, algorithm, liked_ids FROM pix.recommend(%s, 7) ORDER BY rank",
                (user,), role="adam",
            )  # fmt: skip
            assert [row[0] for row in stored] == [row[0] for row in queried]
            assert [row[3:] for row in stored] == [row[3:] for row in queried]
            for column in (1, 2):
                assert [row[column] for row in stored] == pytest.approx([row[column] for row in queried], abs=1e-4)

    def test_again(self, voters):
        voters.ask("CALL pix.recommend_all(3, '{u0,u1}', 'centroid')")
        ((first,),) = voters.ask("SELECT item_id FROM pix.recommendations WHERE user_id = 'u0' AND rank = 1")
        vote(voters, "u0", first, False)
        voters.ask("CALL pix.recommend_all(2, '{u0}', 'centroid')")
        counts = voters.ask("SELECT user_id, count(*) FROM pix.recommendations GROUP BY 1 ORDER BY 1")
        assert counts == [("u0", 2), ("u1", 3)]
        assert voters.ask(
            "SELECT count(*) FROM pix.recommendations WHERE user_id = 'u0' AND item_id = %s", (first,)
        ) == [(0,)]
        assert "recommendations for 10 of 10 users" in voters.pix("users", "recommend", "-k", 2).stdout

    def test_one_model_of_each_user(self, voters):
        """Whoever has voted much has more than one; whoever has taken back all has one that is out of date."""
        for number in range(12):
            vote(voters, "bob", f"c{number:04}", number % 2 == 0)
            voters.ask("SELECT * FROM pix.recommend('bob', 1)", role="adam")
        vote(voters, "eve", "c0001", True)
        voters.ask("SELECT * FROM pix.recommend('eve', 1)", role="adam")
        voters.ask("SELECT pix.undo_vote('eve', 'c0001')", role="adam")
        assert voters.value("SELECT count(*) FROM pix.user_models WHERE user_id = 'bob'") > 1
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: voters.query("CALL pix.recommend_all(4, '{bob,eve}')"), range(2)))
        rows = voters.ask("SELECT user_id, count(*), count(DISTINCT algorithm) FROM pix.recommendations GROUP BY 1")
        assert rows == [("bob", 4, 1)]


BAD_CALLS = [
    ("'u0', 0", "PX003", "10,000, not 0"), ("'u0', NULL", "PX003", "10,000, not NULL"), ("NULL", "PX003", "user_id"),
    ("'u0', diversity => 1.5", "PX003", "0 to 1, not 1.5"), ("'u0', diversity => 'NaN'", "PX003", "0 to 1, not NaN"),
    ("'u0', algorithm => 'magic'", "PX003", "'magic'"), ("'u0', index_name => 'none'", "PX090", "'none'"),
    ("'u0', model_name => 'none'", "PX020", "'none'"),
    ("'u0', filter => pix.items_where(cluster => 1)", "PX003", "clustering"),
    ("'u0', algorithm => 'hierarchical'", "PX137", "not been learned"),
    ("'u0', index_name => 'far'", "PX092", "euclidean"),
]  # fmt: skip


@pytest.fixture(scope="session")
def with_far_index(stage, with_voters) -> str:
    build = "SELECT pix.build_index('far', 'clouds', 'hnsw', metric => 'euclidean')"
    return stage("far", with_voters, lambda db: db.query(build))


@pytest.mark.parametrize(("arguments", "sqlstate", "message"), BAD_CALLS, ids=[call for call, *_ in BAD_CALLS])
def test_bad_calls(shared, with_far_index, arguments, sqlstate, message):
    voters = shared(with_far_index)
    refuses(voters, sqlstate, f"SELECT * FROM pix.recommend({arguments})", message)
    assert voters.ask("SELECT count(*) FROM pix.user_models") == [(0,)]


def test_odd_names(voters):
    odd = "o'ann; DROP TABLE pix.users %s \\ 👢"
    vote(voters, odd, "c0001", True)
    ((reason,),) = voters.ask("SELECT DISTINCT reason FROM pix.recommend(%s, 2)", (odd,), role="adam")
    assert reason == f"close to c0001, which {odd} liked"
    assert voters.ask("SELECT count(*) FROM pix.explain(%s, 'c0002')", (odd,), role="rita") == [(2,)]


@pytest.mark.exhaustive
def test_a_million_votes_of_one_user(voters):
    """On each of two thousand items, again and again; written as a restore would."""
    votes = 100_000 if voters.server.is_distributed else 1_000_000
    voters.ask("INSERT INTO pix.users (user_id) VALUES ('busy')")
    voters.ask(
        "INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at) "
        "SELECT 'busy', 'c' || lpad((n %% 1900)::text, 4, '0'), CASE WHEN n %% 40 < 4 THEN 'like' ELSE 'dislike' END, "
        "CASE WHEN n %% 40 < 4 THEN 1 ELSE -1 END, now() - interval '1 second' * n FROM generate_series(1, %s) n",
        (votes,),
    )  # fmt: skip
    ((likes, dislikes),) = voters.ask(
        "SELECT likes, dislikes FROM pix.train_user_model('busy', 'nearest')", role="adam"
    )
    assert likes + dislikes == 1900
    recommended = voters.ask("SELECT item_id FROM pix.recommend('busy', 5)", role="adam")
    assert len(recommended) == 5
    assert all(int(item[1:]) >= 1900 for (item,) in recommended)
    assert voters.value("SELECT count(*) FROM pix.interactions WHERE user_id = 'busy'") == votes


def test_next_item_shows_what_the_model_likes(voters):
    voters.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 3)")
    vote(voters, "u0", "c1999", True)
    rows = voters.ask("SELECT item_id, cluster, score FROM pix.next_items('u0', 6, 'random', seed => 3)", role="adam")
    described, content = voters.ask("SELECT described, content FROM pix.user_models WHERE user_id = 'u0'")[0]
    assert voters.ask("SELECT likes + dislikes FROM pix.user_models WHERE user_id = 'u0'") == [(31,)]
    model = models.unpack(json.loads(json.dumps(described)), bytes(content))
    for item, _, score in rows:
        ((vector,),) = voters.ask("SELECT vector FROM pix.features WHERE item_id = %s", (item,))
        direction = np.frombuffer(bytes(vector), "<f4")
        assert score == pytest.approx(
            float(model.scores((direction / np.linalg.norm(direction))[np.newaxis])[0]), abs=1e-5
        )
    by_cluster = {}
    for _, cluster, score in rows:
        by_cluster.setdefault(cluster, []).append(score)
    assert all(scores == sorted(scores, reverse=True) for scores in by_cluster.values())
    # Of somebody without votes, what users like on the whole is wanted, once that is known.
    typical = voters.ask("SELECT item_id FROM pix.next_items('new', 3, 'random', seed => 3)", role="adam")
    voters.ask("SELECT pix.fit_common_taste()")
    pooled = voters.ask("SELECT item_id FROM pix.next_items('newer', 3, 'random', seed => 3)", role="adam")
    assert typical != pooled
