"""Storing a converted model in the database, in parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import psycopg2

from pixload.conversion.converted import ConvertedModel
from pixload.errors import PixError

PART_BYTES = 4 << 20

SHIPPED = {"mini_inception": Path(str(resources.files("pixload.networks") / "mini_inception.onnx"))}
"""Models that come with Pixelplum."""


@dataclass(frozen=True)
class RegisteredModel:
    """What the database says of a model after its import."""

    dimensions: int
    agreement: float | None
    stale: int


def import_model(connection, name: str, converted: ConvertedModel, keep_tensorflow: bool = False) -> RegisteredModel:
    """Store a model and register it, and its classes as a classifier of the same name, in one transaction.

    Parameters
    ----------
    connection : psycopg2 connection
        Of a member of pix_admin; the caller commits.
    name : str
        A model of this name is replaced.
    converted : ConvertedModel
        The model.
    keep_tensorflow : bool, default False
        Whether to store the TensorFlow graph too, for engine => 'tensorflow'.

    Returns
    -------
    RegisteredModel
        `stale` counts features of the model that was replaced.

    Raises
    ------
    PixError
        If the TensorFlow graph is wanted, and there is none.
    psycopg2.Error
        SQLSTATE PX022, PX023 or PX025 if the model does not run, gives no
        vector, or does not tell images apart.
    """
    if keep_tensorflow and converted.frozen is None:
        raise PixError("There is no TensorFlow graph to keep.", "Leave --keep-tensorflow out.")
    with connection.cursor() as cursor:
        checksum = _store(cursor, converted.serialize())
        tensorflow_checksum = _store(cursor, converted.frozen) if keep_tensorflow else None
        cursor.execute(
            "SELECT dimensions, agreement FROM pix.register_model(%s, %s, %s, %s, %s)",
            (name, checksum, converted.source, converted.agreement, tensorflow_checksum),
        )
        dimensions, agreement = cursor.fetchone()
        if (head := converted.head) is not None:
            weights = psycopg2.Binary(head.weights.astype("<f4").tobytes())
            cursor.execute(
                "SELECT pix.register_classifier(%s, %s, %s, %s, %s)",
                (name, name, head.labels, weights, head.intercepts.tolist()),
            )
        cursor.execute(
            "SELECT count(*) FROM pix.features WHERE model_name = %s AND model_checksum IS DISTINCT FROM %s",
            (name, checksum),
        )
        (stale,) = cursor.fetchone()
    return RegisteredModel(dimensions, agreement, stale)


def _store(cursor, content: bytes) -> str:
    """Store a file in parts, and return its checksum."""
    checksum = hashlib.sha256(content).hexdigest()
    for part, start in enumerate(range(0, len(content), PART_BYTES)):
        cursor.execute(
            "SELECT pix.store_model_part(%s, %s, %s)",
            (checksum, part, psycopg2.Binary(content[start : start + PART_BYTES])),
        )
    return checksum
