"""Metadata as features: a fitted_state learned from items, and items encoded by it."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.core.networks import metadata_features
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.server.canceling import cancellable


def check_metadata(plpy, cache: dict, fields: list[str] | None, weight: float | None, terms: int | None) -> None:
    """Refuse arguments that cannot be used; see `metadata_features.check`."""
    metadata_features.check(fields, weight, terms)


@cancellable
def fit_metadata(
    plpy, cache: dict, items: list[str], fields: list[str], weight: float, terms: int, norms: bytes
) -> dict:
    """Learn a fitted_state from items as JSON; norms are the lengths of all vectors that metadata are appended to."""
    lengths = np.frombuffer(norms, FLOAT32).astype(float)
    fitted_state = metadata_features.fit(_read(items), fields, terms, weight * float(np.sqrt((lengths**2).mean())))
    return {"fitted_state": json.dumps(fitted_state), "columns": fitted_state["columns"]}


def encode_metadata(plpy, cache: dict, items: list[str], fitted_state: str) -> list[bytes]:
    """Encode items as JSON: the bytes to append to the vector of each."""
    return [row.tobytes() for row in metadata_features.encode(_read(items), json.loads(fitted_state))]


def _read(items: list[str]) -> list[dict]:
    return [json.loads(item, parse_int=float) for item in items]  # an int may have any number of digits
