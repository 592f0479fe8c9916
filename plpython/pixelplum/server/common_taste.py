"""What users have in common, learned from votes of many."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

import numpy as np

from pixelplum.core.users import common_taste, models
from pixelplum.core.users.algorithms.base import SEED
from pixelplum.core.users.candidates import unit
from pixelplum.errors import TooFewVotes, literal
from pixelplum.server.blocks import Packed, read_with_blocks
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

MOST_USERS = 2000
MOST_VOTES = 200
"""Of each user, the latest: a sample of users, the same each time, tells as much as all."""
SAMPLED = 5000
"""Items whose principal components stand for those of the catalogue."""

VOTES = """
SELECT array_agg(v.user_id ORDER BY v.user_id, v.rank) AS users,
    array_agg(v.half ORDER BY v.user_id, v.rank) AS halves, array_agg(v.block ORDER BY v.user_id, v.rank) AS blocks,
    array_agg(v.position ORDER BY v.user_id, v.rank) AS positions,
    array_agg(v.value ORDER BY v.user_id, v.rank) AS vals,
    (SELECT p.checksum FROM pix_internal.packs p WHERE p.model_name = $model_name::text) AS blocks_key
FROM (
    SELECT w.block, w.position, w.value, w.rank, pix_internal.half_of(w.user_id) AS half,
        dense_rank() OVER (ORDER BY md5(w.user_id), w.user_id) AS user_id
    FROM pix_internal.packed_votes w WHERE w.model_name = $model_name AND w.rank <= $most_votes::int
) v
WHERE v.user_id <= $most_users::int
"""
FORGET = "DELETE FROM pix.common_taste t WHERE t.model_name = $model_name::text"
STORE = """
INSERT INTO pix.common_taste (model_name, model_checksum, version, users, votes, described, content, seconds)
VALUES ($model_name::text, $checksum::text, $version::text, $users::int, $votes::int, $described::jsonb,
    $content::bytea, $seconds::float8)
"""


@dataclass(frozen=True)
class LocatedVotes:
    """Votes of many users, those of each following one another.

    Parameters
    ----------
    users : numpy.ndarray
        int, of each vote, a number of its user.
    halves : numpy.ndarray
        int, in which half of the users this one is, 0 or 1.
    positions : list of tuple of int
        Where the vectors of the items are: block, and position in it from 1.
    strengths : numpy.ndarray
        float64, what users think of them.
    """

    users: np.ndarray
    halves: np.ndarray
    positions: list[tuple[int, int]]
    strengths: np.ndarray


@driver
def fit_common_taste(database: Database, model_name: str | None) -> None:
    """Learn what users have in common, and store it: the body of ``pix.fit_common_taste``."""
    begun = time.monotonic()
    database.row("SELECT pix_internal.require_read_committed()")
    model = database.model(model_name)
    name = {"model_name": model.model_name}
    database.row("SELECT pix_internal.find_pack(pix.find_model($model_name::text))", **name)
    row, packed = read_with_blocks(database, VOTES, most_votes=MOST_VOTES, most_users=MOST_USERS, **name)
    users = np.array(row["users"] or [], int)
    count = len(np.unique(users))
    if count < 2:
        raise TooFewVotes(
            f"{count} users have voted on items with features of model {literal(model.model_name)}",
            hint="What users have in common takes two of them, better twenty.",
        )
    positions = list(zip(row["blocks"], row["positions"], strict=True))
    votes = LocatedVotes(users, np.array(row["halves"]), positions, np.array(row["vals"]))
    described, content = models.pack(database.work(lambda: learn(packed, votes)))
    database.lock("common_taste", model.model_name)
    database.run(FORGET, **name)
    database.run(
        STORE, checksum=model.checksum, version=hashlib.sha256(content).hexdigest(), users=count, votes=len(users),
        described=models.dumps(described), content=content, seconds=time.monotonic() - begun, **name,
    )  # fmt: skip


def learn(packed: Packed, votes: LocatedVotes) -> common_taste.CommonTaste:
    """Learn what users have in common; see `core.users.common_taste.learn`."""
    basis = common_taste.basis(sample_of(packed), common_taste.COMPONENTS, SEED)
    starts = np.flatnonzero(np.diff(votes.users, prepend=-1))
    data = []
    for start, end in zip(starts, [*starts[1:], len(votes.users)], strict=True):
        directions = unit(packed.vectors(votes.positions[start:end]))
        strengths = votes.strengths[start:end]
        data.append((basis.coordinates(directions), strengths > 0, np.abs(strengths)))
    return common_taste.learn(basis, data, votes.halves[starts])


def sample_of(packed: Packed) -> np.ndarray:
    """Return directions of some items, spread over all blocks: float32, shape (items, dimensions)."""
    total = sum(len(block.norms) for block in packed.blocks)
    chosen = np.linspace(0, total - 1, min(SAMPLED, total)).astype(int)
    parts, start = [], 0
    for block in packed.blocks:
        own = chosen[(chosen >= start) & (chosen < start + len(block.norms))] - start
        parts.append(block.vectors[own])
        start += len(block.norms)
    return unit(np.concatenate(parts))
