"""Why a user's model thinks of an item what it does."""

from __future__ import annotations

import numpy as np

from pixelplum.core.search import vectors
from pixelplum.core.users import models
from pixelplum.core.users.candidates import unit
from pixelplum.errors import NoUserModel, VectorError, literal
from pixelplum.server import user_models
from pixelplum.server.blocks import open_blocks
from pixelplum.server.current_models import State, current_model, on_one_packing, outdated
from pixelplum.server.database import Database, Model
from pixelplum.server.drivers import driver
from pixelplum.server.recommendations import opened, own

VECTOR = """
SELECT f.vector FROM pix.current_features f WHERE f.item_id = $item_id::text AND f.model_name = $model_name::text
"""
LATEST = """
SELECT m AS stored FROM pix.user_models m
WHERE m.user_id = $user_id::text AND m.model_name = $model_name::text
    AND m.algorithm = coalesce($algorithm::text, m.algorithm)
ORDER BY m.updated_at DESC LIMIT 1
"""


@driver
def explain(
    database: Database, user_id: str, item_id: str, k: int, algorithm: str | None, model_name: str | None
) -> list[dict]:
    """Return rows of ``pix.explanation``: the body of ``pix.explain``.

    As the votes are now, be the model stored or not; but no algorithm is trained only to be explained.
    """
    model = database.model(model_name)
    if algorithm is not None:
        find_model(database, user_id, algorithm, model)

    def look(state: State) -> list[dict]:
        current = current_model(database, user_id, model, state)
        row = find_model(database, user_id, algorithm, model) if current is None else current.row
        return describe(database, user_id, item_id, k, model, state, row)

    return on_one_packing(database, user_id, model, algorithm, look)


def describe(
    database: Database, user_id: str, item_id: str, k: int, model: Model, state: State, row: dict
) -> list[dict]:
    """Return the score that a model gives an item, and the likes and dislikes that the item looks most like."""
    about = {"item_id": item_id, "model_name": model.model_name}
    vector = database.row(VECTOR, **about)
    if vector is None:
        database.row("SELECT pix_internal.raise_no_features($item_id::text, $model_name::text)", **about)
    direction = vectors.from_bytes(vector["vector"])
    if len(direction) != model.dimensions:
        raise VectorError(
            f"The features of item {literal(item_id)} do not have the {model.dimensions} dimensions of model "
            f"{literal(model.model_name)}",
            hint="Extract or load them again.",
        )
    used = own(row)
    score = float(opened(database.cache, used.described, used.content).scores(unit(direction[np.newaxis]))[0])
    trained_on = f"by {row['algorithm']}, trained on {row['likes']} likes and {row['dislikes']} dislikes"
    rows = [{"aspect": "score", "item_id": None, "value": score, "note": trained_on}]
    if used.probability(score) is not None:
        rows.append({"aspect": "probability", "item_id": None, "value": used.probability(score), "note": "of a like"})
    return rows + alike(database, user_id, item_id, k, model, state, direction)


def alike(
    database: Database, user_id: str, item_id: str, k: int, model: Model, state: State, direction: np.ndarray
) -> list[dict]:
    """Return the likes and dislikes that an item looks most like."""
    if not state.item_ids:
        return []
    packed = open_blocks(database, model.model_name, state.blocks_key)
    voted = unit(packed.vectors(list(zip(state.blocks, state.positions, strict=True))))
    likeness = (voted @ unit(direction[np.newaxis])[0]).astype(float)
    order = [n for n in np.argsort(-likeness, kind="stable").tolist() if state.item_ids[n] != item_id]
    rows = []
    for aspect, is_like in (("like", True), ("dislike", False)):
        some = [n for n in order if (state.vals[n] > 0) == is_like][:k]
        rows += [
            {
                "aspect": aspect, "item_id": state.item_ids[n], "value": likeness[n],
                "note": f"looks like it (cosine); {user_id} {aspect}d it",
            }
            for n in some
        ]  # fmt: skip
    return rows


@driver
def selected_dimensions(database: Database, user_id: str, algorithm: str, model_name: str | None) -> list[dict]:
    """Return the dimensions that a linear model gives a weight: the body of ``pix.selected_dimensions``."""
    row = find_model(database, user_id, algorithm, database.model(model_name))
    model = opened(database.cache, row["described"], row["content"])
    dimensions, weights = models.selected(model)
    return [
        {"dimension": dimension, "weight": weight}
        for dimension, weight in zip(dimensions.tolist(), weights.tolist(), strict=True)
    ]


def find_model(database: Database, user_id: str, algorithm: str | None, model: Model) -> dict:
    """Return a user's stored model of an algorithm; None: the one that was used last."""
    row = database.row(LATEST, user_id=user_id, model_name=model.model_name, algorithm=algorithm)
    if row is None:
        database.row("SELECT pix_internal.check_known_user($user_id::text)", user_id=user_id)
        if algorithm is not None:
            user_models.complete(algorithm, "{}", model.dimensions)
        of = "" if algorithm is None else f"{algorithm} "
        call = literal(user_id) if algorithm is None else f"{literal(user_id)}, {literal(algorithm)}"
        raise NoUserModel(
            f"User {literal(user_id)} has no {of}model on features of {literal(model.model_name)}",
            hint=f"SELECT * FROM pix.train_user_model({call});",
        )
    if row["stored"]["model_checksum"] != model.checksum:
        raise outdated(row["stored"], model)
    return row["stored"]
