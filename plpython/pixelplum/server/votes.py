"""Many votes in a few statements: what is wrong with a vote is reported, and the others are logged."""

from __future__ import annotations

import json
import re
from calendar import monthrange
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from pixelplum.errors import UnusableVotes, VotesHeld, literal
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver

LOCK_NOT_AVAILABLE, UNIQUE_VIOLATION = "55P03", "23505"
LONGEST_NAME = 200
"""Bytes of a user's or a key's name."""
DATE = re.compile(
    r"(?!0000)(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?"
    r" ?(Z|[+-](0\d|1[0-4])(:?[0-5]\d)?)"
)
CLUSTER = re.compile(r"[0-9]{1,9}")
LIKED = {"true": "like", "1": "like", "false": "dislike", "0": "dislike"}
UNDO = "undo"

SIGNALS = "SELECT s.signal, s.value FROM pix.signals s"
# As far as the database knows: items, keys that were used, and the suggestion that a vote answers.
CHECKED = """
SELECT v.ordinal::int AS ordinal, coalesce(v.reason,
        CASE WHEN i.item_id IS NULL THEN format('item %L is not in the catalogue', v.item_id)
            WHEN v.is_other OR k.item_id <> v.item_id OR k.signal <> v.signal
                OR (v.has_time AND k.voted_at <> v.voted_at)
                THEN format('the idempotency key %L was used for another vote', v.key) END
    ) AS reason,
    k.vote_id IS NOT NULL OR coalesce(v.first_ordinal < v.ordinal, false) AS is_known, s.impression_id,
    CASE WHEN s.ordinal IS NULL THEN v.policy ELSE s.policy END AS policy,
    CASE WHEN s.ordinal IS NULL THEN v.clustering ELSE s.clustering END AS clustering,
    CASE WHEN s.ordinal IS NULL THEN v.cluster ELSE s.cluster END AS cluster,
    CASE WHEN s.ordinal IS NULL THEN v.propensity ELSE s.propensity END AS propensity
FROM (
    SELECT u.*, CASE WHEN u.key IS NOT NULL THEN first_value(u.ordinal) OVER w END AS first_ordinal,
        u.key IS NOT NULL AND (
            first_value(u.item_id) OVER w <> u.item_id OR first_value(u.signal) OVER w <> u.signal
            OR (u.has_time AND first_value(u.voted_at) OVER w <> u.voted_at)
        ) AS is_other
    FROM unnest($user_id::text[], $item_id::text[], $signal::text[], $voted_at::timestamptz[], $has_time::bool[],
        $policy::text[], $clustering::text[], $cluster::int[], $propensity::float8[], $key::text[], $reason::text[])
        WITH ORDINALITY u (user_id, item_id, signal, voted_at, has_time, policy, clustering, cluster, propensity, key,
            reason, ordinal)
    WINDOW w AS (PARTITION BY u.user_id, u.key, u.reason IS NULL ORDER BY u.ordinal)
) v
LEFT JOIN pix.items i ON i.item_id = v.item_id
LEFT JOIN pix.interactions k ON k.user_id = v.user_id AND k.idempotency_key = v.key
LEFT JOIN (
    SELECT DISTINCT ON (u.ordinal) u.ordinal, h.impression_id, h.policy, h.clustering, h.cluster, h.propensity
    FROM unnest($user_id, $item_id, $voted_at) WITH ORDINALITY u (user_id, item_id, voted_at, ordinal)
    JOIN pix.impressions h ON h.user_id = u.user_id AND h.item_id = u.item_id AND h.shown_at <= u.voted_at
    ORDER BY u.ordinal, h.shown_at DESC
) s ON s.ordinal = v.ordinal AND coalesce(v.policy = s.policy, true) AND coalesce(v.clustering = s.clustering, true)
    AND coalesce(v.cluster = s.cluster, true) AND coalesce(v.propensity = s.propensity, true)
ORDER BY v.ordinal
"""
STORE_USERS = "INSERT INTO pix.users (user_id) SELECT DISTINCT unnest($user_id::text[]) ON CONFLICT DO NOTHING"
STORE = """
INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at, impression_id, policy, clustering, cluster,
    propensity, idempotency_key)
SELECT u.user_id, u.item_id, u.signal, u.value, u.voted_at, u.impression_id, u.policy, u.clustering, u.cluster,
    u.propensity, u.key
FROM unnest($user_id::text[], $item_id::text[], $signal::text[], $value::float8[], $voted_at::timestamptz[],
    $impression_id::int8[], $policy::text[], $clustering::text[], $cluster::int[], $propensity::float8[], $key::text[])
    WITH ORDINALITY u (user_id, item_id, signal, value, voted_at, impression_id, policy, clustering, cluster,
        propensity, key, ordinal)
ORDER BY u.ordinal
"""


class Number(str):
    """A number of JSON, as it is written."""


@dataclass
class Vote:
    """A vote as it was handed in, as far as it can be read; and what is wrong with it."""

    user_id: str | None
    item_id: str | None
    signal: str | None
    value: float | None
    voted_at: str | None
    has_time: bool
    policy: str | None
    clustering: str | None
    cluster: int | None
    propensity: float | None
    key: str | None
    reason: str | None = None


@driver
def vote_batch(database: Database, votes: str) -> list[dict]:
    """Log votes, and return what became of each, as rows of ``pix.vote_result``: the body of ``pix.vote_batch``."""
    database.run("SELECT pix_internal.lock_arms()")
    values = {row["signal"]: row["value"] for row in database.rows(SIGNALS)}
    now = datetime.now(UTC)
    parsed = [read(each, values, now) for each in read_list(votes)]
    while True:
        checked = database.rows(CHECKED, **columns(parsed))
        new = [row["ordinal"] - 1 for row in checked if row["reason"] is None and not row["is_known"]]
        if not new or log(database, [parsed[n] for n in new], [checked[n] for n in new]):
            break  # else another session has just logged one of the keys
    return [
        {
            "ordinal": row["ordinal"], "reason": row["reason"],
            "status": "rejected" if row["reason"] is not None else "unchanged" if row["is_known"] else "logged",
        }
        for row in checked
    ]  # fmt: skip


def read_list(votes: str) -> list:
    """Return the elements of a JSON array, numbers as they are written."""
    try:
        return json.loads(votes, parse_int=Number, parse_float=Number)
    except RecursionError as error:
        raise UnusableVotes("The votes must be objects, not hundreds of lists in one another") from error


def read(vote: Any, values: dict[str, float], now: datetime) -> Vote:
    """Read a vote, and say what is wrong with it, as far as it tells itself.

    Parameters
    ----------
    vote : object
        What JSON has.
    values : dict of str to float
        What signals are worth.
    now : datetime.datetime
    """
    named = {name: text(value) for name, value in vote.items()} if isinstance(vote, dict) else {}
    signal = named.get("signal") or LIKED.get(named.get("liked") or "")
    if named.get("signal") == "":
        signal = ""
    when = named.get("voted_at")
    moment = now if when is None else moment_of(when)
    key = named.get("idempotency_key")
    propensity, is_number = number(vote.get("propensity") if isinstance(vote, dict) else None)
    cluster = named.get("cluster")
    has_cluster = cluster is None or CLUSTER.fullmatch(cluster) is not None
    read_vote = Vote(
        named.get("user_id"), named.get("item_id"), signal, values.get(signal or ""),
        (when if when is not None else now.isoformat()) if moment is not None else None, when is not None,
        named.get("policy"), named.get("clustering"), int(cluster) if cluster is not None and has_cluster else None,
        propensity, key,
    )  # fmt: skip
    problems = {
        "the user_id is missing, empty or longer than 200 bytes": not is_name(read_vote.user_id),
        "the item_id is missing": read_vote.item_id is None,
        "it says both: liked, and a signal": named.get("signal") is not None and named.get("liked") is not None,
        "it says neither liked, true or false, nor a signal": signal is None,
        f"signal {literal(signal or '')} is not known": signal not in values or signal == UNDO,
        "voted_at is not of the form 2026-11-25T10:00:00+01:00": moment is None,
        "it is in the future": moment is not None and moment > now + timedelta(minutes=1),
        "the propensity or the cluster cannot be used": not (is_number and has_cluster and 0 <= (propensity or 0) <= 1),
        "the idempotency key is empty or longer than 200 bytes": read_vote.key is not None
        and not is_name(read_vote.key),
    }
    read_vote.reason = next((problem for problem, is_so in problems.items() if is_so), None)
    return read_vote


def text(value: Any) -> str | None:
    """Return a value of JSON as PostgreSQL's ``->>`` does."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def is_name(name: str | None) -> bool:
    """Tell whether a name has 1 to 200 bytes."""
    return name is not None and 1 <= len(name.encode()) <= LONGEST_NAME


def number(value: Any) -> tuple[float | None, bool]:
    """Return a number, -1 for one that is not from 0 to 1, and whether it is a number or nothing."""
    if value is None:
        return None, True
    if not isinstance(value, Number):
        return None, False
    exact = Decimal(value)
    return (float(exact), True) if 0 <= exact <= 1 else (-1.0, True)


def moment_of(when: str) -> datetime | None:
    """Return a time that is given with its zone; None: it is not of that form."""
    match = DATE.fullmatch(when)
    if match is None or int(match[3]) > monthrange(int(match[1]), int(match[2]))[1]:
        return None
    return datetime.fromisoformat(when[:10] + "T" + when[11:].replace(" ", ""))


def columns(votes: list[Vote]) -> dict[str, list]:
    """Return the fields of votes as lists."""
    return {field.name: [getattr(vote, field.name) for vote in votes] for field in fields(Vote)}


def log(database: Database, votes: list[Vote], checked: list[dict]) -> bool:
    """Log votes; tell whether that was possible: another session may have logged one of their keys."""
    names = ("impression_id", "policy", "clustering", "cluster", "propensity")
    values = columns(votes) | {name: [row[name] for row in checked] for name in names}

    def store() -> None:
        database.run(STORE_USERS, **values)
        database.run(STORE, **values)
        database.run(
            "SELECT pix_internal.add_up_arms(NULL, $users::text[])", users=sorted({vote.user_id for vote in votes})
        )

    is_free = []
    if not database.attempt(lambda: is_free.append(database.attempt(store, UNIQUE_VIOLATION)), LOCK_NOT_AVAILABLE):
        raise VotesHeld("A transaction that has logged one of the idempotency keys does not end")
    return is_free[0]
