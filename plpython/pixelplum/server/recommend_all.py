"""Recommendations for everybody, into a table."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.users import models, recommendations
from pixelplum.core.users.candidates import unit
from pixelplum.server.batch_training import train_some
from pixelplum.server.blocks import Packed, read_with_blocks
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver
from pixelplum.server.recommendations import close_likes

MOST_USERS = 200
MOST_SCORES = 20_000_000
"""Of all users and items in one part: 80 MB."""
MOST_LIKES = 200
"""Of each user, the latest, that reasons are given by."""
SPARE = 4
"""Items, more than are wanted, that may turn out to be deleted."""
ATTEMPTS = 3

USERS = """
SELECT u.user_id FROM pix.users u
WHERE u.user_id > $low::text AND ($users::text[] IS NULL OR u.user_id = ANY ($users))
ORDER BY u.user_id LIMIT $chunk_size::int8
"""
PACK = "SELECT (pix_internal.find_pack(pix.find_model($model_name::text))).items"
# Of each user the one model that fits the votes that there are, and has seen them, or was trained in this call.
MODELS = """
SELECT array_agg(m.user_id ORDER BY m.user_id) FILTER (WHERE m.is_current) AS users,
    array_agg(m.described::text ORDER BY m.user_id) FILTER (WHERE m.is_current) AS described,
    array_agg(m.content ORDER BY m.user_id) FILTER (WHERE m.is_current) AS contents,
    array_agg(m.algorithm ORDER BY m.user_id) FILTER (WHERE m.is_current) AS algorithms,
    array_agg(m.slope ORDER BY m.user_id) FILTER (WHERE m.is_current) AS slopes,
    array_agg(m.intercept ORDER BY m.user_id) FILTER (WHERE m.is_current) AS intercepts,
    array_agg(m.user_id ORDER BY m.user_id) FILTER (WHERE NOT m.is_current AND NOT m.has_failed) AS older
FROM (
    SELECT c.user_id, m.described, m.content, m.algorithm, m.slope, m.intercept,
        coalesce(m.votes_hash = c.hash OR m.updated_at >= $since::timestamptz, false) AS is_current,
        EXISTS (
            SELECT FROM pix.user_model_failures x
            WHERE x.user_id = c.user_id AND x.model_name = $model_name::text AND x.algorithm = c.chosen
        ) AS has_failed
    FROM (
        SELECT v.user_id, sum(v.hash)::text AS hash, coalesce($algorithm::text, pix_internal.choose_algorithm(
            count(*) FILTER (WHERE v.value > 0)::int, count(*) FILTER (WHERE v.value < 0)::int, $has_taste::bool
        )) AS chosen
        FROM pix_internal.training_votes v WHERE v.user_id = ANY ($names::text[]) AND v.model_name = $model_name
        GROUP BY v.user_id
    ) c
    LEFT JOIN pix.user_models m ON m.user_id = c.user_id AND m.model_name = $model_name
        AND m.model_checksum IS NOT DISTINCT FROM $checksum::text AND m.algorithm = c.chosen
    WHERE c.chosen IS NOT NULL
) m
"""
SEEN = """
SELECT array_agg(o.user_id) AS seen_users, array_agg(f.block) AS seen_blocks, array_agg(f.position) AS seen_positions
FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id
JOIN pix_internal.packs p ON p.model_name = f.model_name
WHERE o.user_id = ANY ($names) AND o.signal <> 'skip' AND f.model_name = $model_name AND f.packed_in <= p.packed_in
"""
LIKED = """
SELECT array_agg(v.user_id ORDER BY v.user_id, v.likes) AS liked_users,
    array_agg(v.item_id ORDER BY v.user_id, v.likes) AS liked_ids,
    array_agg(v.block ORDER BY v.user_id, v.likes) AS liked_blocks,
    array_agg(v.position ORDER BY v.user_id, v.likes) AS liked_positions
FROM (
    SELECT w.*, row_number() OVER (PARTITION BY w.user_id ORDER BY w.rank) AS likes
    FROM pix_internal.packed_votes w WHERE w.user_id = ANY ($names) AND w.model_name = $model_name AND w.value > 0
) v
WHERE v.likes <= $most_likes::int
"""
# One statement: it sees votes, models, blocks and features as of one moment.
STATE = f"""
SELECT m.*, s.*, l.*,
    (SELECT p.checksum FROM pix_internal.packs p WHERE p.model_name = $model_name) AS blocks_key
FROM ({MODELS}) m CROSS JOIN ({SEEN}) s CROSS JOIN ({LIKED}) l
"""
THERE = """
SELECT i.item_id FROM pix.current_features f JOIN pix.items i ON i.item_id = f.item_id
WHERE f.item_id = ANY ($item_ids::text[]) AND f.model_name = $model_name::text AND f.packed_in IS NOT NULL
"""
FORGET = """
DELETE FROM pix.recommendations r
WHERE r.user_id = ANY ($names::text[]) AND r.user_id <> ALL ($older::text[]) AND r.model_name = $model_name::text
"""
STORE = """
INSERT INTO pix.recommendations (user_id, model_name, rank, item_id, score, probability, algorithm, liked_ids)
SELECT u.user_id, $model_name::text, u.rank, u.item_id, u.score,
    pix_internal.probability(u.score, u.slope, u.intercept), u.algorithm,
    coalesce(ARRAY(SELECT jsonb_array_elements_text(u.liked::jsonb)), '{}')
FROM unnest($users::text[], $ranks::int[], $item_ids::text[], $scores::float8[], $slopes::float8[],
    $intercepts::float8[], $algorithms::text[], $likes::text[])
    u (user_id, rank, item_id, score, slope, intercept, algorithm, liked)
"""


@driver
def recommend_some(
    database: Database, k: int, users: list[str] | None, algorithm: str | None, model_name: str, since: str,
    low: str = "",
) -> dict | None:  # fmt: skip
    """Write the recommendations of the next users: a part of ``pix.recommend_all``.

    Returns
    -------
    dict or None
        What the next call is to be given besides; None: there are no users left.
    """
    items = database.value(PACK, model_name=model_name)
    chunk_size = max(1, min(MOST_USERS, MOST_SCORES // items))
    names = [row["user_id"] for row in database.rows(USERS, low=low, users=users, chunk_size=chunk_size)]
    if not names:
        return None
    last = names[-1]
    for attempt in range(ATTEMPTS):
        names = recommend(database, names, k, model_name, algorithm, since)
        if not names or attempt == ATTEMPTS - 1:
            break
        # Somebody who has voted since, or whose items have other vectors now, is trained again.
        state: dict | None = {}
        while state is not None:
            state = train_some(database, algorithm, names, model_name, None, len(names), **state)
    return {"low": last}


def recommend(
    database: Database, names: list[str], k: int, model_name: str, algorithm: str | None, since: str
) -> list[str]:
    """Write the recommendations of some users; return whose model has to be trained first: theirs are left."""
    model = database.model(model_name)
    database.lock("recommendations", model_name)
    has_taste = database.value(
        "SELECT pix_internal.common_taste_version(pix.find_model($model_name::text)) IS NOT NULL", model_name=model_name
    )
    state, packed = read_with_blocks(
        database, STATE, names=names, model_name=model_name, checksum=model.checksum, algorithm=algorithm, since=since,
        has_taste=has_taste, most_likes=MOST_LIKES,
    )  # fmt: skip
    older = state["older"] or []
    chosen = choose(database, packed, state, k, model_name) if state["users"] else []
    database.run(FORGET, names=names, older=older, model_name=model_name)
    if chosen:
        columns = {name: [row[name] for row in chosen] for name in chosen[0]}
        database.run(STORE, model_name=model_name, **columns)
    return older


def choose(database: Database, packed: Packed, state: dict, k: int, model_name: str) -> list[dict]:
    """Choose the best items for users, of those that are still there."""
    wanted, users = k + SPARE, state["users"]
    scores = database.work(lambda: scores_of(packed, state))
    while True:
        best = database.work(lambda wanted=wanted: [recommendations.best(own, wanted) for own in scores])
        names = [[packed.item_id(position) for position in own.tolist()] for own in best]
        everything = list(dict.fromkeys(name for own in names for name in own))
        there = {row["item_id"] for row in database.rows(THERE, item_ids=everything, model_name=model_name)}
        left = [[n for n, name in enumerate(own) if name in there] for own in names]
        if all(len(own) >= k or len(some) < wanted for own, some in zip(left, names, strict=True)):
            break
        wanted *= 8  # many are deleted, or look different now
    likes = likes_of(state)
    rows = []
    for user, name in enumerate(users):
        positions = best[user][left[user][:k]]
        if not len(positions):
            continue
        directions = unit(np.stack([packed.vector(position) for position in positions.tolist()]))
        close = close_likes(packed, directions, *likes[name])
        for rank, (position, liked) in enumerate(zip(positions.tolist(), close, strict=True), 1):
            rows.append({
                "users": name, "ranks": rank, "item_ids": packed.item_id(position),
                "scores": float(scores[user, position]), "slopes": state["slopes"][user],
                "intercepts": state["intercepts"][user], "algorithms": state["algorithms"][user],
                "likes": json.dumps(liked),
            })  # fmt: skip
    return rows


def scores_of(packed: Packed, state: dict) -> np.ndarray:
    """Return what users' models think of all items: float32, shape (users, items); -inf of what they have seen."""
    described, contents = state["described"], state["contents"]
    own_models = [models.unpack(json.loads(own), content) for own, content in zip(described, contents, strict=True)]
    scores = recommendations.scores(packed.blocks, own_models)
    row_of = {name: row for row, name in enumerate(state["users"])}
    seen = [
        (row_of[user], packed.starts[block] + position - 1)
        for user, block, position in zip(
            state["seen_users"] or [], state["seen_blocks"] or [], state["seen_positions"] or [], strict=True
        )
        if user in row_of
    ]
    if seen:
        rows, positions = np.array(seen, int).T
        scores[rows, positions] = -np.inf
    return scores


def likes_of(state: dict) -> dict[str, tuple[list[str], list[tuple[int, int]]]]:
    """Return what each user liked, and where its vector is, the latest first."""
    likes: dict[str, tuple[list[str], list[tuple[int, int]]]] = {name: ([], []) for name in state["users"]}
    where = zip(state["liked_blocks"] or [], state["liked_positions"] or [], strict=True)
    for user, item_id, location in zip(state["liked_users"] or [], state["liked_ids"] or [], where, strict=True):
        if user in likes:
            likes[user][0].append(item_id)
            likes[user][1].append(location)
    return likes
