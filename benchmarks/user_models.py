"""Models of users: 10,000 × 40 votes × 2,048 dimensions, against a script with psycopg2 and scikit-learn; AUC."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import numpy as np
import psycopg2
import psycopg2.extras
from sklearn.linear_model import SGDClassifier

from benchmarks.classification import store
from benchmarks.tools import CORES, PHOTOGRAPHS, execute, pix, seconds
from benchmarks.vectors import catalogue
from pixelplum.core.users import models
from pixelplum.core.users.left_out import auc
from pixelplum.core.users.votes import Scaling, Votes, weights_of

MODEL = "taste"
ITEMS, USERS, VOTES, PAIRS = 100_000, 10_000, 40, 4
SEEDS = (7, 8, 9, 10)
MOBILENET = PHOTOGRAPHS.parent / "models" / "mobilenet_v1_0.25_128" / "frozen_graph.pb"


def run(bench) -> None:
    prepare(bench)
    batch(bench)
    online(bench)
    recommend(bench)
    if PHOTOGRAPHS.exists():
        accuracy(bench)


def prepare(bench) -> None:
    """Fill catalogue and log: each user likes a quarter of the items, those most like one; a tenth is flipped."""
    items, _ = catalogue()
    random = np.random.default_rng(5)
    items = np.concatenate([items, items * (1 + 0.1 * random.standard_normal(items.shape, np.float32))])
    store(bench, MODEL, items, np.zeros(ITEMS, int))
    execute(bench, f"SELECT pix.set_default_model('{MODEL}')")
    execute(bench, f"SELECT pix.fit_clusters('taste', '{MODEL}', k => 25, n_init => 1)")
    execute(bench, "VACUUM ANALYZE pix.features")
    directions = items / np.linalg.norm(items, axis=1, keepdims=True)
    mean = directions.mean(axis=0)
    votes = []
    for user in range(USERS):
        chosen = random.choice(ITEMS, VOTES, replace=False)
        likeness = (directions[chosen] - mean) @ (directions[random.integers(ITEMS)] - mean)
        liked = (likeness > np.quantile(likeness, 0.75)) ^ (random.random(VOTES) < 0.1)
        votes += [
            (f"user {user:05}", f"{MODEL}-{item:07}", bool(like)) for item, like in zip(chosen, liked, strict=True)
        ]
    write_votes(bench, votes)
    execute(bench, "SELECT pix.rebuild_arms()")
    execute(bench, "VACUUM ANALYZE pix.interactions")


def write_votes(bench, votes: list[tuple[str, str, bool]]) -> None:
    """Log votes, the first first."""
    connection = psycopg2.connect(bench.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO pix.users (user_id) SELECT unnest(%s) ON CONFLICT DO NOTHING",
            (sorted({u for u, *_ in votes}),),
        )
        psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at) VALUES %s",
            [(user, item, "like" if liked else "dislike", 1 if liked else -1) for user, item, liked in votes],
            template="(%s, %s, %s, %s, now())",
            page_size=5000,
        )
    connection.close()


def batch(bench) -> None:
    """Train quarters of the users in turn, here and in a script."""
    names = [f"user {user:05}" for user in range(USERS)]
    quarters = [names[position::PAIRS] for position in range(PAIRS)]
    ours, theirs = [], []
    for number, own in enumerate(quarters):
        steps = [
            lambda own=own: ours.append(
                seconds(lambda: execute(bench, "CALL pix.train_user_models('sgd_log', %s)", (own,)))
            ),
            lambda own=own: theirs.append(seconds(lambda: script(bench.dsn, own))),
        ]
        for step in steps if number % 2 else steps[::-1]:
            step()
    ((trained, failed),) = execute(
        bench,
        "SELECT (SELECT count(*) FROM pix.user_models WHERE algorithm = 'sgd_log'), "
        "(SELECT count(*) FROM pix.user_model_failures)",
    )
    ratio = median(b / a for a, b in zip(ours, theirs, strict=True))
    print(
        f"  {trained:,} models and {failed} failures, sgd_log, a quarter of them: pix.train_user_models "
        f"{median(ours):.1f} s, script in {CORES} processes {median(theirs):.1f} s; ratio {ratio:.1f} "
        "(goal: at least 2.5)"
    )
    agreement(bench, quarters[0][:200])
    execute(bench, "DELETE FROM pix.user_models")
    costs = {}
    for fraction in (4, 2, 1):  # each second, each fourth … vote of some users
        some = names[: USERS // 4]
        execute(bench, "CREATE TABLE IF NOT EXISTS public.taken AS SELECT * FROM pix.interactions WHERE false")
        execute(
            bench,
            "WITH gone AS (DELETE FROM pix.interactions WHERE user_id = ANY (%s) AND vote_id %% 4 >= %s RETURNING *) "
            "INSERT INTO public.taken SELECT * FROM gone",
            (some, 4 // fraction),
        )
        for table in ("interactions", "user_models"):
            execute(bench, f"VACUUM ANALYZE pix.{table}")
        costs[VOTES // fraction] = seconds(
            lambda some=some: execute(bench, "CALL pix.train_user_models('sgd_log', %s)", (some,))
        )
        execute(bench, "INSERT INTO pix.interactions OVERRIDING SYSTEM VALUE SELECT * FROM public.taken")
        execute(bench, "DROP TABLE public.taken")
    summary = ", ".join(f"{votes} votes {cost:.1f} s" for votes, cost in costs.items())
    print(f"  {USERS // 4:,} users with {summary}")
    taken = seconds(lambda: execute(bench, "CALL pix.train_user_models()"))
    ((learning,),) = execute(bench, "SELECT seconds FROM pix.common_taste")
    print(f"  all {USERS:,} with what users have in common: {taken:.1f} s, {learning:.1f} of it to learn that")


def script(dsn: str, users: list[str]) -> None:
    """What one would do without the database's help: fetch, scale, fit, in as many processes as there are cores."""
    with ProcessPoolExecutor(CORES) as processes:
        list(processes.map(_fit_some, [dsn] * CORES, [users[position::CORES] for position in range(CORES)]))


def _fit_some(dsn: str, users: list[str]) -> int:
    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT user_id, item_id, value > 0 FROM pix.interactions WHERE user_id = ANY (%s)", (users,))
        votes: dict[str, list] = {}
        for user, item, liked in cursor:
            votes.setdefault(user, []).append((item, liked))
        wanted = list({item for own in votes.values() for item, _ in own})
        vectors = {}
        for start in range(0, len(wanted), 5000):
            cursor.execute(
                "SELECT item_id, vector FROM pix.features WHERE item_id = ANY (%s)", (wanted[start : start + 5000],)
            )
            vectors |= {item: np.frombuffer(vector, "<f4") for item, vector in cursor}
    connection.close()
    for own in votes.values():
        items = np.stack([vectors[item] for item, _ in own]).astype(np.float64)
        liked = np.array([liked for _, liked in own])
        items /= np.linalg.norm(items, axis=1, keepdims=True)
        items -= items.mean(axis=0)
        items /= np.sqrt(np.square(items).sum(axis=1).mean())
        SGDClassifier(
            loss="log_loss", penalty="elasticnet", alpha=0.1, l1_ratio=0.85, learning_rate="optimal",
            class_weight={0: int(liked.sum()), 1: int((~liked).sum())}, random_state=7,
        ).fit(items, liked.astype(int))  # fmt: skip
    return len(votes)


def agreement(bench, users: list[str]) -> None:
    """Compare the objective that both minimize, on some users."""
    lower = []
    for user in users:
        rows = execute(
            bench,
            "SELECT f.vector, o.value FROM pix.opinions o JOIN pix.features f USING (item_id) WHERE o.user_id = %s",
            (user,),
        )
        values = np.array([value for _, value in rows])
        directions = np.stack([np.frombuffer(vector, "<f4") for vector, _ in rows])
        votes = Votes(directions / np.linalg.norm(directions, axis=1, keepdims=True), values)
        ((described, content),) = execute(
            bench,
            "SELECT described, content FROM pix.user_models WHERE user_id = %s AND algorithm = 'sgd_log'",
            (user,),
        )
        model = models.unpack(described, bytes(content))
        scaled = Scaling(model.center, model.scale)(votes.directions).astype(np.float64)
        peer = SGDClassifier(
            loss="log_loss", penalty="elasticnet", alpha=0.1, l1_ratio=0.85,
            class_weight={0: model.dislike_weight, 1: model.like_weight}, random_state=7,
        ).fit(scaled, votes.liked.astype(int))  # fmt: skip
        counts = weights_of(votes, "opposite")

        def objective(weights, intercept, scaled=scaled, votes=votes, counts=counts) -> float:
            losses = np.logaddexp(0, -np.where(votes.liked, 1, -1) * (scaled @ weights + intercept))
            return float((counts * losses).mean() + 0.1 * (0.85 * np.abs(weights).sum() + 0.075 * weights @ weights))

        weights = model.weights.astype(np.float64) * model.scale
        ours = objective(weights, model.intercept + model.weights.astype(np.float64) @ model.center)
        lower.append(ours / objective(peer.coef_[0], float(peer.intercept_[0])))
    summary = f"median {median(lower):.4f}, worst {max(lower):.4f}"
    print(f"  the objective of SGDClassifier, ours over its own, {len(users)} users: {summary}")


def online(bench) -> None:
    """`next_item` after a vote: without an index, then with one."""
    for how in ("every item of the cluster looked at", "with an index of 128 principal components"):
        print(f"  pix.next_item after a vote, {how}: {latency(bench, 'SELECT * FROM pix.next_item(%s)')} (goal: 10 ms)")
        if how.startswith("every"):
            execute(bench, f"SELECT pix.build_index('sketch', '{MODEL}', 'exact', project_to => 128)")


def recommend(bench) -> None:
    for how, options in (
        ("", ""), (", with the index", ", index_name => 'sketch'"), (", sgd_log", ", algorithm => 'sgd_log'"),
        (", in a cluster", ", filter => pix.items_where(clustering => 'taste', cluster => 3)"),
        (", diversity", ", diversity => 0.3"),
    ):  # fmt: skip
        sql = f"SELECT * FROM pix.recommend(%s, 10{options})"
        print(f"  pix.recommend of {ITEMS:,} items{how}: {latency(bench, sql)} (goal: 60 ms)")
    taken = seconds(lambda: execute(bench, "CALL pix.recommend_all(10, %s)", ([f"user {n:05}" for n in range(1000)],)))
    print(f"  pix.recommend_all for 1,000 users: {taken:.1f} s")


def latency(bench, sql: str) -> str:
    """Time a query of a user who has just voted, in one session; and tell what the session's process has of its own."""
    random = np.random.default_rng(6)
    connection = psycopg2.connect(bench.dsn)
    connection.autocommit = True
    taken = []
    with connection.cursor() as cursor:
        for _ in range(150):
            user, item = f"user {random.integers(USERS):05}", f"{MODEL}-{random.integers(ITEMS):07}"
            cursor.execute("SELECT pix.vote(%s, %s, %s)", (user, item, bool(random.random() < 0.3)))
            begun = time.perf_counter()
            cursor.execute(sql, (user,))
            cursor.fetchall()
            taken.append(1000 * (time.perf_counter() - begun))
        cursor.execute("SELECT pg_backend_pid()")
        own = _own_memory(cursor.fetchone()[0])
    connection.close()
    warm = taken[20:]
    spread = f"median {median(warm):.2f} ms, 95 % {np.quantile(warm, 0.95):.2f} ms"
    return f"{spread}, first {taken[0]:,.0f} ms, {own} MB its own"


def _own_memory(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as lines:
            return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssAnon"))
    except OSError:  # a server on another host
        return 0


def accuracy(bench) -> None:
    """AUC on unvoted photographs against true tastes: two of ten labels each, votes flipped one time in ten."""
    pix(
        bench,
        "model",
        "import",
        "mobilenet",
        "--graphdef",
        MOBILENET,
        "--input",
        "input:0",
        "--output",
        "MobilenetV1/Logits/AvgPool_1a/AvgPool:0",
    )
    pix(bench, "load", "images", PHOTOGRAPHS, "--label-set", "kind")
    pix(bench, "extract", "--model", "mobilenet")
    for kind, groups in (("tastes of their own", None), ("five tastes", 5)):
        for votes in (40, 10, 5):
            runs = [aucs(bench, votes, groups, seed=seed) for seed in SEEDS]
            means = {name: float(np.mean([run[name] for run in runs])) for name in ALGORITHMS}
            shown = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"  AUC of 50 users with {kind}, {votes} votes, mean of {len(SEEDS)} draws: {shown}")


ALGORITHMS = ("rules", "nearest", "logistic", "centroid", "svm", "sgd_log", "hierarchical")


def aucs(
    bench, votes: int, groups: int | None, algorithms: tuple[str, ...] = ALGORITHMS, users: int = 50, seed: int = 7
) -> dict[str, float]:
    """Let synthetic users vote, train models through SQL, and return the mean AUC of each algorithm.

    Parameters
    ----------
    bench : Bench
        A database with the photographs, their labels, and features of model mobilenet.
    votes : int
        Of each user, on random items.
    groups : int or None
        How many tastes there are; None: every user has one of their own.
    algorithms : tuple of str
        Which; rules: what pix.algorithm_rules says.
    users, seed : int
    """
    rows = execute(
        bench,
        "SELECT f.item_id, f.vector, l.label FROM pix.features f JOIN pix.labels l USING (item_id) "
        "WHERE f.model_name = 'mobilenet' AND l.label_set = 'kind' ORDER BY 1",
    )
    names, kinds = [row[0] for row in rows], np.array([row[2] for row in rows])
    vectors = np.stack([np.frombuffer(row[1], "<f4") for row in rows])
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    random = np.random.default_rng(seed)
    tastes = [random.choice(np.unique(kinds), 2, replace=False) for _ in range(groups or users)]
    truths, seen, log = [], [], []
    for user in range(users):
        truths.append(np.isin(kinds, tastes[user % len(tastes)]))
        seen.append(random.choice(len(names), votes, replace=False))
        liked = truths[-1][seen[-1]] ^ (random.random(votes) < 0.1)
        log += [(f"taster {user}", names[item], bool(like)) for item, like in zip(seen[-1], liked, strict=True)]
    for table in ("interactions", "user_models", "common_taste"):
        execute(bench, f"DELETE FROM pix.{table}")
    write_votes(bench, log)
    means = {}
    for algorithm in algorithms:
        execute(bench, "DELETE FROM pix.user_models")
        execute(
            bench,
            "CALL pix.train_user_models(%s, model_name => 'mobilenet')",
            (None if algorithm == "rules" else algorithm,),
        )
        stored = {
            user: models.unpack(described, bytes(content))
            for user, described, content in execute(bench, "SELECT user_id, described, content FROM pix.user_models")
        }
        scores = []
        for user, (truth, own) in enumerate(zip(truths, seen, strict=True)):
            model, rest = stored.get(f"taster {user}"), np.delete(np.arange(len(names)), own)
            # Who has one kind of votes alone has no model of most algorithms: chance.
            scores.append(0.5 if model is None else auc(model.scores(directions[rest]), truth[rest]))
        means[algorithm] = float(np.mean(scores))
    return means
