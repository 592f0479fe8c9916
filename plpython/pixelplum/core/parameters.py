"""Parameters of algorithms: their defaults, and which values can be used."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pixelplum.errors import UnusableArgument, shown


@dataclass(frozen=True)
class Range:
    """A number between two others, both of which can be used.

    Parameters
    ----------
    default : int, float or None
    lowest, highest : int or float
    is_whole : bool, default True
        Whether it must be a whole number.
    may_be_null : bool, default False
    """

    default: float | None
    lowest: float
    highest: float
    is_whole: bool = True
    may_be_null: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that cannot be used."""
        if value is None and self.may_be_null:
            return
        kinds = (int,) if self.is_whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not self.lowest <= value <= self.highest:
            kind = "a whole number" if self.is_whole else "a number"
            raise UnusableArgument(
                f"{name} must be {kind} from {self.lowest:,} to {self.highest:,}, not {shown(value)}",
                hint=f"Leave it out to have the default, {shown(self.default)}.",
            )


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    default: str | None
    choices: tuple[str | None, ...]

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that cannot be used."""
        if value not in self.choices:
            words = ", ".join("null" if choice is None else choice for choice in self.choices)
            raise UnusableArgument(
                f"{name} must be one of {words}, not {shown(value)}",
                hint=f"Leave it out to have the default, {shown(self.default)}.",
            )


def complete(what: str, parameters: Mapping[str, Range | Choice], values: Any) -> dict:
    """Check what was asked for, and complete it with defaults.

    Parameters
    ----------
    what : str
        What has these parameters, for messages.
    parameters : Mapping of str to Range or Choice
    values : dict
        Some of them.

    Raises
    ------
    UnusableArgument
        If a parameter is not known, or its value cannot be used.
    """
    refuse_unknown(what, parameters, values)
    for name, value in values.items():
        parameters[name].check(name, value)
    return {name: parameter.default for name, parameter in parameters.items()} | values


def refuse_unknown(what: str, allowed: Collection[str], names: Any) -> None:
    """Refuse what is not a JSON object of known names."""
    if not isinstance(names, dict):
        raise UnusableArgument(
            "parameters must be a JSON object of names and values",
            hint="For example: " + (f'{{"{min(allowed)}": …}}' if allowed else "{}"),
        )
    for name in names:
        if name not in allowed:
            raise UnusableArgument(
                f"{what} has no parameter {name!r}", hint=f"It has: {', '.join(sorted(allowed)) or 'none'}."
            )
