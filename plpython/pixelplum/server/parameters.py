"""JSON that somebody has given as an argument."""

from __future__ import annotations

import difflib
import json

from pixelplum.errors import PixelplumError


def read(parameters: str, error: type[PixelplumError]):
    """Return what the text of parameters says.

    Raises
    ------
    PixelplumError
        Of the class `error`, if PostgreSQL takes the text for JSON and Python does not.
    """
    try:
        return json.loads(parameters)
    except RecursionError as failure:
        raise error(
            "The parameters must be names and values, not hundreds of lists in one another",
            hint='For example: {"name": 1}',
        ) from failure
    except ValueError as failure:  # a number of thousands of digits
        raise error("The parameters hold a number that is too large", hint="Use numbers of a few digits.") from failure


def close_names(plpy, cache: dict, name: str | None, names: list[str]) -> list[str]:
    """Return up to three names that are written much like another, whatever their case, the likeliest first."""
    by_folded = {each.casefold(): each for each in names}
    return [by_folded[folded] for folded in difflib.get_close_matches((name or "").casefold(), by_folded, 3, 0.6)]
