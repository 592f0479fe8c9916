"""Finding what a package offers: a new class in it needs no list of names."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules


def named_classes(package: str, path: list[str], base: type) -> list[type]:
    """Import the modules of a package, and return the classes in them that have a name.

    Parameters
    ----------
    package : str
        Its ``__name__``.
    path : list of str
        Its ``__path__``.
    base : type
        What they are subclasses of.

    Returns
    -------
    list of type
        In the order of the modules' names, then of their definitions.
    """
    modules = [import_module(f"{package}.{module.name}") for module in iter_modules(path)]
    return [
        candidate
        for module in modules
        for candidate in vars(module).values()
        if isinstance(candidate, type)
        and issubclass(candidate, base)
        and candidate.__module__ == module.__name__
        and "name" in vars(candidate)
    ]
