"""Progress bars on standard error, so that output stays clean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

console = Console(stderr=True)


@contextmanager
def progress_bar(description: str, total: int | None, in_bytes: bool = False) -> Iterator[Callable[..., None]]:
    """Show a bar.

    Parameters
    ----------
    description : str
        Says what is going on.
    total : int, optional
        None: not known.
    in_bytes : bool, default False
        Count bytes, not things.

    Yields
    ------
    callable
        ``advance(n)``, or ``advance(completed=n)``.
    """
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn(), console=console
    ) as progress:
        task = progress.add_task(description, total=total)

        def advance(step: int = 1, completed: int | None = None) -> None:
            if completed is None:
                progress.advance(task, step)
            else:
                progress.update(task, completed=completed)

        yield advance
