"""Recommendations: candidates from blocks or an index, then the best of those that may be shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import models, recommendations
from pixelplum.core.users.candidates import best, unit
from pixelplum.server import user_models
from pixelplum.server.blocks import Packed, kept, open_blocks, open_index
from pixelplum.server.current_models import CurrentModel, State, current_model, keep, on_one_packing, open_taste
from pixelplum.server.database import Database, Model, plain
from pixelplum.server.drivers import driver

MOST_LIKES = 200
"""The latest, that reasons are given by."""
MOST_FROM_INDEX = 2000
"""Candidates that an index is asked for; where they do not suffice, all items are scored."""
MOST_SCANNED = 1_000_000
SPARE = 4
FEWEST_DIVERSE = 100
WIDER = 8

SEEN = """
SELECT array_agg(o.item_id) AS item_ids, array_agg(f.block) AS blocks, array_agg(f.position) AS positions
FROM pix.opinions o
LEFT JOIN pix.features f
    ON f.item_id = o.item_id AND f.model_name = $model_name::text AND f.packed_in <= $packed_in::int
WHERE o.user_id = $user_id::text AND o.signal <> 'skip'
"""
INDEX = """
SELECT i.index_name, i.model_name, i.packed_in, i.state_checksum FROM pix_internal.find_index($index_name::text) i
"""
CHECK_INDEX = """
SELECT pix_internal.check_index(pix_internal.find_index($index_name::text), pix.find_model($model_name::text), 'cosine')
"""
FILTER = "jsonb_populate_record(NULL::pix.item_filter, $filter::jsonb)"
CONDITIONS = f"SELECT pix_internal.filter_conditions({FILTER})"
CHECK_FILTER = f"SELECT pix_internal.check_filter({FILTER})"
PASSING = """
SELECT coalesce(array_agg(f.block), '{{}}') AS blocks, coalesce(array_agg(f.position), '{{}}') AS positions
FROM pix.features f WHERE f.model_name = $model_name::text AND f.packed_in <= $packed_in::int{conditions}
"""
IS_THERE = " AND EXISTS (SELECT FROM pix.items n WHERE n.item_id = f.item_id) AND f.item_id <> ALL ($seen::text[])"
PASSED = """
SELECT f.item_id, f.block, f.position FROM pix.current_features f
WHERE f.item_id = ANY ($item_ids::text[]) AND f.model_name = $model_name::text
    AND f.packed_in <= $searched::int{conditions}
"""
HAS_MORE = """
SELECT EXISTS (
    SELECT FROM pix.features f
    WHERE f.model_name = $model_name::text AND (f.packed_in IS NULL OR f.packed_in > $searched::int)
)
"""
# The best of all vectors that pass, each scored where it is stored.
SCANNED = """
SELECT s.item_id, s.vector FROM (
    SELECT f.item_id, f.vector, pix_internal.score_vector(f.vector, $described::text, $content::bytea) AS score
    FROM pix.current_features f
    WHERE f.model_name = $model_name::text AND (f.packed_in IS NULL OR f.packed_in > $searched::int){conditions}
) s
ORDER BY s.score DESC, s.item_id LIMIT $most::int8
"""
# Of clusters of the default clustering, or else the first one, that looks at all dimensions.
LIKED_CLUSTERS = """
SELECT c.center, coalesce(a.mean, p.alpha / (p.alpha + p.beta), 0.5) AS mean,
    a.mean IS NOT NULL OR p.alpha IS NOT NULL AS is_informed
FROM pix.clusters c
JOIN (
    SELECT g.clustering FROM pix.clusterings g
    LEFT JOIN pix.settings s ON s.key = 'default_clustering' AND s.value = g.clustering
    WHERE g.model_name = $model_name::text AND g.model_checksum IS NOT DISTINCT FROM $checksum::text
        AND g.dimensions IS NULL
    ORDER BY s.value IS NULL, g.clustering LIMIT 1
) g ON g.clustering = c.clustering
LEFT JOIN pix.arm_priors p ON p.clustering = c.clustering AND p.cluster = c.cluster
LEFT JOIN (
    SELECT r.clustering, r.cluster, (1 + sum(r.likes)) / (2 + sum(r.likes) + sum(r.dislikes)) AS mean
    FROM pix.arms r WHERE r.votes > 0 GROUP BY r.clustering, r.cluster
) a ON a.clustering = c.clustering AND a.cluster = c.cluster
WHERE c.height IS NULL AND c.items > 0
ORDER BY c.cluster
"""


def opened(cache: dict, described: str, content: bytes) -> models.Model:
    """Return a user's model, unpacked once."""
    return cache.setdefault("user_model", models.Cache()).open(described, content)


@dataclass(frozen=True)
class Used:
    """What items are scored by.

    Parameters
    ----------
    described, content : str, bytes
        The model, packed.
    algorithm : str
        How it is called.
    reason : str or None
        In words, where it is nobody's own.
    row : dict or None
        Of pix.user_models, where it is the user's own.
    """

    described: str
    content: bytes
    algorithm: str
    reason: str | None = None
    row: dict | None = None

    def probability(self, score: float) -> float | None:
        """Return that of a like; None: it is not known."""
        if self.row is None or self.row["slope"] is None:
            return None
        return float(np.tanh((self.row["slope"] * score + self.row["intercept"]) / 2) / 2 + 0.5)


class Search:
    """Where a user's recommendations are looked for.

    Parameters
    ----------
    database : Database
    model : Model
    user_id : str
    state : State
        Of the user.
    index_name : str or None
        Whose candidates are looked at; None: all items are.
    conditions : str
        SQL that further restricts ``f``, a row of features.
    """

    def __init__(
        self, database: Database, model: Model, user_id: str, state: State, index_name: str | None, conditions: str
    ):
        self.database = database
        self.state = state
        self.names = {"model_name": model.model_name}
        seen = database.row(SEEN, user_id=user_id, packed_in=state.packed_in, **self.names)
        self.seen = seen["item_ids"] or []
        self.conditions = conditions + IS_THERE
        where = zip(seen["blocks"] or [], seen["positions"] or [], strict=True)
        self.seen_at = [location for location in where if location[0] is not None]
        self.index = database.row(INDEX, index_name=index_name) if index_name is not None else None
        self.allowed = None
        if conditions:
            passing = PASSING.format(conditions=conditions)
            allowed = database.row(passing, packed_in=state.packed_in, **self.names)
            self.allowed = list(zip(allowed["blocks"], allowed["positions"], strict=True))

    @cached_property
    def packed(self) -> Packed:
        """The blocks that the user's votes are located in."""
        return open_blocks(self.database, self.names["model_name"], self.state.blocks_key)

    def candidates(self, model: models.Model, count: int, by_index: bool) -> list[str]:
        """Return items that a model may like best, those that were seen left out."""
        packed = self.packed
        seen = positions_in(packed, self.seen_at)
        if self.allowed is not None:
            blocks, rows = np.array(self.allowed, int).reshape(-1, 2).T
            unseen = ~np.isin(packed.starts[blocks] + rows - 1, seen)
            blocks, rows = blocks[unseen], rows[unseen] - 1
            order = np.lexsort((rows, blocks))
            best_blocks, best_rows, _ = best(blocks[order], rows[order], packed.by_number, model, count)
            return [packed.item_at((b, r + 1)) for b, r in zip(best_blocks.tolist(), best_rows.tolist(), strict=True)]
        near = recommendations.queries(model) if by_index else None
        if near is not None:
            index = open_index(self.database, self.index["index_name"], self.index["state_checksum"])
            hits = index.search(near, count + len(seen), "cosine")
            return list(dict.fromkeys(index.item_id(position) for row in hits for position in row.tolist()))
        scores = recommendations.scores(packed.blocks, [model])[0]
        scores[seen] = -np.inf
        return [packed.item_id(position) for position in recommendations.best(scores, count).tolist()]

    def best(self, used: Used, k: int, diversity: float) -> tuple[list[dict], list[dict]]:
        """Return where the best of the packed items are that may be shown; and the best of the others, with vectors."""
        state, database = self.state, self.database
        model = opened(database.cache, used.described, used.content)
        by_index = self.index is not None and self.allowed is None
        wanted = max(5 * k, FEWEST_DIVERSE) if diversity > 0 else k + SPARE
        scanned_after, scanned = None, []
        while True:
            searched = self.index["packed_in"] if by_index else state.packed_in
            item_ids = self.candidates(model, min(wanted, state.packed_items), by_index)
            values = {"item_ids": item_ids, "searched": searched, "seen": self.seen, **self.names}
            passed = database.rows(PASSED.format(conditions=self.conditions), **values)
            if scanned_after != searched:
                scanned_after, scanned = searched, []
                if database.value(HAS_MORE, **values):
                    scanned = database.rows(
                        SCANNED.format(conditions=self.conditions), described=used.described, content=used.content,
                        most=min(wanted, MOST_SCANNED), **values,
                    )  # fmt: skip
            all_there = state.packed_items if self.allowed is None else len(self.allowed)
            if len(passed) >= min(wanted, k) or wanted >= all_there:
                return passed, scanned
            if by_index and wanted > MOST_FROM_INDEX:
                by_index = False
            else:
                wanted *= WIDER


@driver
def recommend(
    database: Database, user_id: str, k: int, algorithm: str | None, model_name: str | None, index_name: str | None,
    diversity: float, filter: dict | None,
) -> list[dict]:  # fmt: skip
    """Return what a user will like best, as rows of ``pix.recommended_item``: the body of ``pix.recommend``."""
    index = database.row(INDEX, index_name=index_name) if index_name is not None else {}
    model = database.model(model_name or index.get("model_name"))
    if index:
        database.run(CHECK_INDEX, index_name=index_name, model_name=model.model_name)
    if algorithm is not None:
        user_models.complete(algorithm, "{}", model.dimensions)
    conditions = "" if filter is None else plain(database.value(CONDITIONS, filter=json.dumps(filter)))

    def look(state: State) -> tuple[CurrentModel | None, Used, list[tuple[str, float, list[str]]]]:
        current = current_model(database, user_id, model, state)
        search = Search(database, model, user_id, state, index_name, conditions)
        if search.allowed == []:
            database.run(CHECK_FILTER, filter=json.dumps(filter))
        used = pooled(database, model, state, search.packed) if current is None else own(current.row)
        passed, scanned = search.best(used, k, diversity)
        return current, used, choose(search, used, passed, scanned, k, diversity)

    current, used, chosen = on_one_packing(database, user_id, model, algorithm, look)
    if current is not None and current.is_new:
        keep(database, current)
    return [
        {
            "rank": rank, "item_id": item_id, "score": score, "probability": used.probability(score),
            "algorithm": used.algorithm, "reason": used.reason or reason(user_id, used.row, liked), "liked_ids": liked,
        }
        for rank, (item_id, score, liked) in enumerate(chosen, 1)
    ]  # fmt: skip


def own(row: dict) -> Used:
    """Return the user's own model."""
    return Used(row["described"], row["content"], row["algorithm"], row=row)


def reason(user_id: str, row: dict, liked: list[str]) -> str:
    """Return in words why an item is recommended."""
    if len(liked) == 1:
        return f"close to {liked[0]}, which {user_id} liked"
    if liked:
        return f"close to {len(liked)} items that {user_id} liked"
    return (
        f"unlike what {user_id} disliked" if row["dislikes"] else f"unlike what {user_id} liked, but the best there is"
    )


def choose(
    search: Search, used: Used, passed: list[dict], scanned: list[dict], k: int, diversity: float
) -> list[tuple[str, float, list[str]]]:
    """Return the best of the items that may be shown: each, its score, and which likes it is close to."""
    packed, state = search.packed, search.state
    names = [row["item_id"] for row in (*passed, *scanned)]
    if not names:
        return []
    parts = [packed.vectors([(row["block"], row["position"]) for row in passed])] if passed else []
    if scanned:
        several = b"".join(row["vector"] for row in scanned)
        parts.append(vectors.matrix(several, len(several) // 4 // len(scanned)))
    directions = unit(np.concatenate(parts))
    order = np.argsort(names, kind="stable")  # ties in the order of names
    names, directions = [names[position] for position in order], directions[order]
    scores = opened(search.database.cache, used.described, used.content).scores(directions)
    chosen = recommendations.diverse(directions, scores, k, diversity)
    liked = [n for n, value in enumerate(state.vals) if value > 0][:MOST_LIKES]
    liked_ids, where = [state.item_ids[n] for n in liked], [(state.blocks[n], state.positions[n]) for n in liked]
    close = close_likes(packed, directions[chosen], liked_ids, where)
    return [(names[n], float(scores[n]), likes) for n, likes in zip(chosen, close, strict=True)]


def pooled(database: Database, model: Model, state: State, packed: Packed) -> Used:
    """Return a model for a user of whom nothing is known: what users like, or their clusters, or what is typical."""
    if state.taste is not None:
        open_taste(database, model, state.taste)
        return Used(*packed_model(kept(database.cache, state.taste).pooled()), "pooled", "what users like on the whole")
    liked = database.rows(LIKED_CLUSTERS, model_name=model.model_name, checksum=model.checksum)
    if any(row["is_informed"] for row in liked):
        means = np.array([row["mean"] for row in liked])
        directions = unit(np.stack([vectors.from_bytes(row["center"]) for row in liked]))
        weights = ((means - means.mean()) @ directions).astype(np.float32)
        near = packed_model(models.Linear(weights, 0.0))
        return Used(*near, "clusters", "near clusters that users like on the whole")
    total = sum(unit(block.vectors).sum(axis=0, dtype=np.float64) for block in packed.blocks)
    return Used(
        *packed_model(models.Linear(unit(total.astype(np.float32)), 0.0)), "typical", "typical; nobody has voted yet"
    )


def packed_model(model: models.Model) -> tuple[str, bytes]:
    """Return a model as it is stored."""
    described, content = models.pack(model)
    return models.dumps(described), content


def positions_in(packed: Packed, where: list[tuple[int, int]]) -> np.ndarray:
    """Return positions, counted through the blocks, of blocks and positions in these."""
    blocks, rows = np.array(where, int).reshape(-1, 2).T
    return packed.starts[blocks] + rows - 1


def close_likes(
    stored: Packed, directions: np.ndarray, liked_ids: list[str], where: list[tuple[int, int]]
) -> list[list[str]]:
    """Return for each of some directions which liked items it is close to; see `recommendations.close_likes`."""
    likes = unit(stored.vectors(where)) if liked_ids else directions[:0]
    return [[liked_ids[n] for n in own] for own in recommendations.close_likes(directions, likes)]


def score_vector(plpy, cache: dict, vector: bytes, described: str, content: bytes) -> float:
    """Score a vector by a model."""
    return float(opened(cache, described, content).scores(unit(vectors.from_bytes(vector)[np.newaxis]))[0])
