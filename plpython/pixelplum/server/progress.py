"""Progress of long work, reported to other sessions."""

from __future__ import annotations

from collections.abc import Callable


def reporter(plpy, title: str) -> Callable[[float], None]:
    """Return a function that takes the fraction that is done, and names it where pix.builds reads it.

    Each report is a chance to notice a cancel.
    """
    plan = plpy.prepare("SELECT pg_catalog.set_config('application_name', $1, true)", ["text"])

    def report(fraction: float) -> None:
        plpy.execute(plan, [f"pix: {100 * fraction:.0f} % of {title}"])

    return report
