"""Votes and suggestions: 100,000 items of 2,048 features, 10,000 users, 25 clusters, by pgbench, against bare SQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.classification import store
from benchmarks.tools import execute, seconds
from benchmarks.vectors import catalogue
from pixelplum.core.bandit import policies
from pixelplum.core.bandit.priors import pooled_priors

MODEL, CLUSTERING = "look", "bench"
ITEMS, USERS, K, VOTES = 100_000, 10_000, 25, 40
CLIENTS, SECONDS = 8, 10

NAMES = rf"""
\set user random(1, {USERS})
\set item random(0, {ITEMS - 1})
\set cluster random(1, {K})
\set liked random(0, 1)
"""
VOTE = f"{NAMES}SELECT pix.vote('user ' || :user, '{MODEL}-' || lpad((:item)::text, 7, '0'), :liked = 1);"
BARE = rf"""{NAMES}
INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at)
VALUES ('user ' || :user, '{MODEL}-' || lpad((:item)::text, 7, '0'), 'like', :liked, clock_timestamp()) \;
INSERT INTO pix.arms AS a (user_id, clustering, cluster, likes, dislikes, votes, as_of)
VALUES ('user ' || :user, '{CLUSTERING}', :cluster, :liked, 1 - :liked, 1, clock_timestamp())
ON CONFLICT (user_id, clustering, cluster) DO UPDATE
SET likes = a.likes + excluded.likes, dislikes = a.dislikes + excluded.dislikes, votes = a.votes + 1;
"""
NEXT = f"{NAMES}SELECT * FROM pix.next_item('user ' || :user);"


def run(bench) -> None:
    prepare(bench)
    batches(bench)
    votes(bench)
    suggestions(bench)
    priors()


def prepare(bench) -> None:
    """Fill the catalogue: photographs' features, and each once more, a little different."""
    items, _ = catalogue()
    random = np.random.default_rng(5)
    more = items * (1 + 0.1 * random.standard_normal(items.shape, np.float32))
    store(bench, MODEL, np.concatenate([items, more]), np.zeros(ITEMS, int))
    execute(bench, f"SELECT pix.fit_clusters('{CLUSTERING}', '{MODEL}', k => {K}, n_init => 1)")
    execute(bench, f"SELECT pix.set_default_clustering('{CLUSTERING}')")
    execute(bench, "VACUUM ANALYZE pix.features")
    execute(bench, "VACUUM ANALYZE pix.cluster_members")


def batches(bench) -> None:
    """Log votes of all users, in batches of two sizes."""
    random = np.random.default_rng(6)
    rates = {}
    left = USERS * VOTES
    for size, count in ((5_000, 20), (20_000, 15)):
        taken = []
        for _ in range(count):
            content = json.dumps([
                {
                    "user_id": f"user {random.integers(1, USERS + 1)}",
                    "item_id": f"{MODEL}-{random.integers(0, ITEMS):07}",
                    "liked": bool(random.integers(0, 2)),
                }
                for _ in range(size)
            ])  # fmt: skip
            taken.append(
                seconds(lambda votes=content: execute(bench, "SELECT count(*) FROM pix.vote_batch(%s)", (votes,)))
            )
        left -= size * count
        rates[size] = (size / median(taken), size / taken[-1])
    summary = "; ".join(f"of {size:,}: {rate:,.0f} ({last:,.0f} at the end)" for size, (rate, last) in rates.items())
    print(f"  pix.vote_batch, {USERS * VOTES - left:,} votes in all, votes a second in batches {summary} (goal: 5,000)")
    execute(bench, "VACUUM ANALYZE pix.interactions")
    execute(bench, "VACUUM ANALYZE pix.arms")


def votes(bench) -> None:
    pairs = []
    for _ in range(3):
        pairs.append((pgbench(bench, VOTE, CLIENTS)[0], pgbench(bench, BARE, CLIENTS)[0]))
    ours, bare = (median(rates) for rates in zip(*pairs, strict=True))
    print(
        f"  pix.vote, {CLIENTS} clients: {ours:,.0f} a second; bare insert and upsert {bare:,.0f}; ratio "
        f"{median(a / b for a, b in pairs):.2f} (goal: at least 0.5)"
    )
    alone, latencies = pgbench(bench, VOTE, 1)
    print(f"  pix.vote, one client: {alone:,.0f} a second, median {median(latencies):.2f} ms")
    execute(bench, "DELETE FROM pix.interactions WHERE signal = 'like' AND value = 0")
    execute(bench, "SELECT pix.rebuild_arms()")
    execute(bench, "VACUUM ANALYZE pix.interactions")


def suggestions(bench) -> None:
    """With all features of a cluster looked at; then with an index of principal components."""
    how = "every item of the cluster looked at"
    for with_index in (False, True):
        if with_index:
            execute(bench, f"SELECT pix.build_index('sketch', '{MODEL}', 'exact', project_to => 128)")
            how = "with an index of 128 principal components"
        for policy in ("thompson", "posterior_mean"):
            _, latencies = pgbench(bench, NEXT.replace(");", f", '{policy}');"), 1, 2 * SECONDS)
            warm = latencies[len(latencies) // 10 :]
            print(
                f"  pix.next_item, {policy}, {how}: median {median(warm):.2f} ms, 95 % "
                f"{np.quantile(warm, 0.95):.2f} ms, "
                f"first call of the session {latencies[0]:,.0f} ms (goal: at most 5 and 15 ms)"
            )


def pgbench(bench, script: str, clients: int, duration: int = SECONDS) -> tuple[float, list[float]]:
    """Run a script for some seconds; return transactions a second, and how many milliseconds each took."""
    program = shutil.which("pgbench") or str(max(Path("/usr/lib/postgresql").glob("*/bin/pgbench")))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "script.sql").write_text(script)
        subprocess.run(
            [program, "-n", "-f", "script.sql", "-c", str(clients), "-j", "2", "-T", str(duration), "-l", bench.dsn],
            cwd=folder, check=True, capture_output=True, env=os.environ | {"PGOPTIONS": ""},
        )  # fmt: skip
        lines = [
            line.split() for log in sorted(Path(folder).glob("pgbench_log.*")) for line in log.read_text().splitlines()
        ]
    return len(lines) / duration, [int(line[2]) / 1000 for line in lines]


def priors() -> None:
    """Likes of new users, with a flat prior and with one pooled from earlier users of the same tastes."""
    random = np.random.default_rng(9)
    tastes = np.where(random.random((5, K)) < 0.25, 0.8, 0.1)
    flat = np.ones(K), np.ones(K)
    likes, dislikes = played(tastes[random.integers(5, size=200)], *flat, random)
    kinds = [(arm, likes[user, arm], likes[user, arm] + dislikes[user, arm]) for user in range(200) for arm in range(K)]
    arms, liked, voted = map(np.array, zip(*[kind for kind in kinds if kind[2]], strict=True))
    pooled = pooled_priors(arms, liked, voted, np.ones(len(arms)), K, "moments", 20)
    newcomers = tastes[random.integers(5, size=2000)]
    summaries = []
    for name, prior in (("flat", flat), ("pooled", pooled)):
        won = played(newcomers, *prior, random)[0].sum(axis=1)
        summaries.append(f"{name} {won.mean():.2f} ± {won.std(ddof=1) / len(won) ** 0.5:.2f}")
    print(
        f"  likes of a new user in {VOTES} votes, thompson, five tastes, {K} clusters, by prior: {', '.join(summaries)}"
    )


def played(tastes: np.ndarray, alpha: np.ndarray, beta: np.ndarray, random) -> tuple[np.ndarray, np.ndarray]:
    """Let users, shape (users, arms), vote on what Thompson sampling shows; return likes and dislikes of each arm."""
    likes, dislikes = np.zeros_like(tastes), np.zeros_like(tastes)
    users = np.arange(len(tastes))
    for _ in range(VOTES):
        arms = policies.pick("thompson", alpha + likes, beta + dislikes, random)
        liked = random.random(len(users)) < tastes[users, arms]
        likes[users, arms] += liked
        dislikes[users, arms] += ~liked
    return likes, dislikes
