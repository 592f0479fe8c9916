"""What options of several commands take, and those of a filter, with the SQL that they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import click

INT_MAX = 2**31 - 1
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

FILTER = {
    "label": click.option("--label", help="Only items with this label."),
    "label_set": click.option("--label-set", help="Only items with a label of this set."),
    "brand": click.option("--brand", help="Only items of this brand."),
    "category": click.option("--category", help="Only items with this word in their categories."),
    "min_price": click.option("--min-price", type=float, help="Lowest price."),
    "max_price": click.option("--max-price", type=float, help="Highest price."),
    "clustering": click.option("--clustering", help="Only items in a cluster of this clustering; needs --cluster."),
    "cluster": click.option("--cluster", type=int, help="Cluster, by its id; needs --clustering."),
}


def filter_options(command: Callable) -> Callable:
    """Add the options of a filter to a command."""
    for option in reversed(FILTER.values()):
        command = option(command)
    return command


def named_arguments(options: Mapping[str, object]) -> str:
    """Write options as named arguments of a search; those of a filter become its filter.

    Parameters
    ----------
    options : Mapping of str to object
        Arguments by name; an option of a filter that is None is not a condition.

    Returns
    -------
    str
        SQL with a placeholder for each: ``k => %(k)s, filter => pix.items_where(brand => %(brand)s)``.
    """
    conditions = [name for name in FILTER if options.get(name) is not None]
    arguments = [f"{name} => %({name})s" for name in options if name not in FILTER]
    if conditions:
        arguments.append(f"filter => pix.items_where({', '.join(f'{name} => %({name})s' for name in conditions)})")
    return ", ".join(arguments)
