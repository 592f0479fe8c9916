"""JSON that somebody has given as an argument."""

from __future__ import annotations

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
