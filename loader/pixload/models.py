"""Storing a converted network in the database, in parts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import psycopg2

from pixload.conversion import ConvertedModel

PART_BYTES = 4 << 20

SHIPPED = {"mini_inception": Path(str(resources.files("pixload.networks") / "mini_inception.onnx"))}
"""Networks that come with Pixelplum."""


@dataclass(frozen=True)
class RegisteredModel:
    """What the database says of a model after its import."""

    dimensions: int
    agreement: float | None
    stale: int


def import_model(connection, name: str, converted: ConvertedModel) -> RegisteredModel:
    """Store a network and register it, in one transaction.

    Parameters
    ----------
    connection : psycopg2 connection
        Of a member of pix_admin; the caller commits.
    name : str
        A model of this name is replaced.
    converted : ConvertedModel
        The network.

    Returns
    -------
    RegisteredModel
        `stale` counts features of the model that was replaced.

    Raises
    ------
    psycopg2.Error
        SQLSTATE PX022 or PX023 if the network does not run or gives no vector.
    """
    content = converted.serialize()
    checksum = hashlib.sha256(content).hexdigest()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pix._lock_models()")
        for part, start in enumerate(range(0, len(content), PART_BYTES)):
            cursor.execute(
                "INSERT INTO pix.model_parts VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (checksum, part, psycopg2.Binary(content[start : start + PART_BYTES])),
            )
        cursor.execute(
            "SELECT dimensions, agreement FROM pix.register_model(%s, %s, %s, %s)",
            (name, checksum, converted.source, converted.agreement),
        )
        dimensions, agreement = cursor.fetchone()
        cursor.execute(
            "SELECT count(*) FROM pix.features WHERE model_name = %s AND model_checksum IS DISTINCT FROM %s",
            (name, checksum),
        )
        (stale,) = cursor.fetchone()
    return RegisteredModel(dimensions, agreement, stale)
