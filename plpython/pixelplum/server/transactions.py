"""Transactions: whose they are."""

from __future__ import annotations

from pixelplum.errors import InTransaction


def require_none(plpy, cache: dict, procedure: str) -> None:
    """Refuse a call within a transaction of the caller's, and commit what there is otherwise.

    Raises
    ------
    InTransaction
        If the procedure could not commit.
    """
    try:
        plpy.commit()
    except plpy.SPIError as error:
        raise InTransaction(
            f"{procedure} commits what it has done, and so it cannot be a part of a transaction",
            hint=f"Call it alone: CALL {procedure}(…); in a connection with autocommit, not between BEGIN and COMMIT, "
            "not with other statements in one string, and not in a function.",
        ) from error
