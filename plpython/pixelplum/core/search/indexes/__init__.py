"""Indexes for approximate nearest neighbors: built from blocks, saved as a file, mapped for searching.

A new algorithm is a class in a module of its own.
"""

from __future__ import annotations

from mmap import mmap
from pathlib import Path

from pixelplum.core.discovery import named_classes
from pixelplum.core.parameters import complete
from pixelplum.core.search.blocks import Block, Names
from pixelplum.core.search.indexes.base import FittedState, Index, Progress
from pixelplum.core.search.indexes.projection import Projection
from pixelplum.core.search.metrics import METRICS
from pixelplum.errors import UnusableArgument, shown

INDEXES: dict[str, type[Index]] = {index.name: index for index in named_classes(__name__, __path__, Index)}


def read_parameters(algorithm: str, metric: str, values: dict, is_projected: bool) -> dict:
    """Check what was asked for, and complete it with what is usual.

    Parameters
    ----------
    algorithm : str
        A key of `INDEXES`.
    metric : str
        A key of `METRICS`.
    values : dict
        Some of the parameters of the algorithm.
    is_projected : bool
        Whether the index holds projections of the vectors.

    Raises
    ------
    UnusableArgument
        If the algorithm or a parameter is not known, or a value cannot be used.
    """
    if algorithm not in INDEXES:
        raise UnusableArgument(
            f"algorithm must be one of {', '.join(INDEXES)}, not {shown(algorithm)}",
            hint="SELECT * FROM pix.algorithms('index') lists them.",
        )
    index = INDEXES[algorithm]
    used = complete(f"An index by {algorithm}", index.parameters, values)
    index.check(METRICS[metric], used)
    if used["rerank"] is None:
        is_coarse = is_projected or METRICS[metric].added_dimensions > 0 or index.is_coarse(used)
        used["rerank"] = 50 if is_coarse else 1
    return used


def fit(
    algorithm: str, metric: str, values: dict, project_to: int | None, blocks: list[Block],
    projection: Projection | None = None,
) -> FittedState:  # fmt: skip
    """Complete what was asked for, and fit the projection, unless there is one.

    See `read_parameters` and `Projection.fit`.
    """
    parameters = read_parameters(algorithm, metric, values, project_to is not None)
    compared = METRICS[metric]
    dimensions = project_to or blocks[0].vectors.shape[1] + compared.added_dimensions
    if project_to is not None and projection is None:
        projection = Projection.fit(blocks, compared, project_to)
    return FittedState(algorithm, compared, parameters, dimensions, projection)


def build(path: Path, state: FittedState, blocks: list[Block], progress: Progress) -> None:
    """Write an index of the blocks' vectors, with ordinals through the blocks from 0, to a file."""
    INDEXES[state.algorithm].build(path, state.pieces(blocks, 0, progress), state)


def update(
    path: Path, old: Path, state: FittedState, start: int, removed: list[int], blocks: list[Block], progress: Progress
) -> None:
    """Write a changed index to a file; its algorithm can update.

    Parameters
    ----------
    path, old : pathlib.Path
        The file to write, and that of the index as it is.
    state : FittedState
        Of the index.
    start : int
        The ordinal that the first added vector gets.
    removed : list of int
        Ordinals of the vectors that are taken out.
    blocks : list of Block
        Vectors that are added.
    progress : callable
        As for `build`.
    """
    pieces = state.pieces(blocks, start, progress) if blocks else ()
    INDEXES[state.algorithm].update(path, old, state, removed, pieces)


def open_index(path: Path, state: FittedState, items: int) -> Index:
    """Map an index file; see `Index`."""
    return INDEXES[state.algorithm](path, state, items)


def read_state(content: bytes | mmap, index: str) -> tuple[FittedState, Names]:
    """Read what an index is, and its items; see `FittedState.unpack`."""
    return FittedState.unpack(content, index, METRICS)
