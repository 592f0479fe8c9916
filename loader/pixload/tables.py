"""Tables on the terminal."""

from __future__ import annotations

from rich import table
from rich.text import Text


class Table(table.Table):
    """A table without lines, whose cells are shown as they are: brackets in a title are not markup."""

    def __init__(self, *headers: str, title: str | None = None):
        super().__init__(*headers, box=None, title=title and Text(title), title_justify="left")

    def add_row(self, *cells: str | None) -> None:
        """Add a row; None is an empty cell."""
        super().add_row(*(Text(cell or "") for cell in cells))
