"""How far long work is, told to other sessions."""

from __future__ import annotations

from collections.abc import Callable


def teller(plpy, title: str) -> Callable[[float], None]:
    """Return a function that takes the fraction that is done, and names it where pix.builds reads it.

    A wish to cancel is heard meanwhile.
    """
    plan = plpy.prepare("SELECT pg_catalog.set_config('application_name', $1, true)", ["text"])

    def tell(fraction: float) -> None:
        plpy.execute(plan, [f"pix: {100 * fraction:.0f} % of {title}"])

    return tell
