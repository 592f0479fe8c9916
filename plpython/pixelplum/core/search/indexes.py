"""Indexes for approximate nearest neighbors: built from blocks, saved as a file, mapped for searching.

What an index finds is a candidate: whoever asks compares it with the query by its full vector. So an index may hold
vectors of lower precision, or of fewer dimensions.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

import numpy as np

from pixelplum.core.search.blocks import Block, Names, mapped
from pixelplum.core.search.exact import Part, nearest
from pixelplum.core.search.vectors import FLOAT32
from pixelplum.core.threads import CORES, signals_held
from pixelplum.errors import IndexBroken, IndexParameter, shown

Progress = Callable[[float], None]
"""Is told the share that is done, from 0 to 1; what it raises ends the build."""

SEED = 7
SAMPLE = 20_000
"""Vectors that a projection is fitted on."""
FLOAT16_MAX = 60_000
PIECE = 1 << 20
"""Numbers that are worth a turn of a core."""

ROWS_AT_ONCE = 64
"""Vectors that are put into an index without looking whether that is still wanted."""


@dataclass(frozen=True)
class Parameters:
    """What can be chosen about an index.

    Attributes
    ----------
    rerank : int
        How many candidates are at least compared with the query by their full vectors.
    m : int
        hnsw: links of a vector to its neighbors in the graph.
    ef_construction, ef_search : int
        hnsw: candidates that are kept while the graph is built, and while it is searched.
    dtype : {'float32', 'float16', 'int8'}
        hnsw: how precisely vectors are stored in the graph.
    trees : int
        annoy: random projection trees.
    search_k : int
        annoy: nodes of the trees that are looked at.
    """

    rerank: int
    m: int = 16
    ef_construction: int = 128
    ef_search: int = 40
    dtype: str = "float16"
    trees: int = 20
    search_k: int = 10_000


OF_METHOD = {
    "exact": {"rerank"},
    "annoy": {"rerank", "trees", "search_k"},
    "hnsw": {"rerank", "m", "ef_construction", "ef_search", "dtype"},
}
"""The parameters of each method."""

LIMITS = {
    "rerank": (1, 10_000),
    "m": (2, 256),
    "ef_construction": (1, 10_000),
    "ef_search": (1, 10_000),
    "trees": (1, 1000),
    "search_k": (1, 10**7),
}
DTYPES = {"float32": "f32", "float16": "f16", "int8": "i8"}


def read_parameters(method: str, metric: str, given: dict, is_projected: bool) -> Parameters:
    """Check what was asked for, and complete it with what is usual.

    Parameters
    ----------
    method : str
        exact, annoy, or hnsw.
    metric : str
        As for `vectors.distances`.
    given : dict
        Some of the parameters of the method.
    is_projected : bool
        Whether the index holds projections of the vectors.

    Raises
    ------
    IndexParameter
        If the method or a parameter is not known, or a value cannot be used.
    """
    if method not in OF_METHOD:
        raise IndexParameter(f"The method {shown(method)} is not known", hint="Use one of: exact, annoy, hnsw.")
    known = OF_METHOD[method]
    if not isinstance(given, dict):
        raise IndexParameter("The parameters are no JSON object", hint='For example: {"rerank": 100}')
    for name, value in given.items():
        if name not in known:
            raise IndexParameter(
                f"An index of method {method} has no parameter {name!r}", hint=f"It has: {', '.join(sorted(known))}."
            )
        if name == "dtype":
            if not isinstance(value, str) or value not in DTYPES:
                raise IndexParameter(f"The dtype {shown(value)} is not known", hint=f"Use one of: {', '.join(DTYPES)}.")
            continue
        least, most = LIMITS[name]
        if type(value) is not int or not least <= value <= most:
            raise IndexParameter(f"{name} is {value!r}", hint=f"Use a whole number from {least} to {most:,}.")
    if given.get("dtype") == "int8" and metric != "cosine":
        raise IndexParameter(
            f"int8 keeps directions of vectors, which is not enough for the metric {metric}",
            hint="Use metric => 'cosine', or another dtype.",
        )
    coarse = is_projected or metric == "dot" or given.get("dtype") == "int8"
    return Parameters(**{"rerank": 50 if coarse else 1} | given)


class Projection:
    """The principal components of vectors.

    Parameters
    ----------
    mean : numpy.ndarray
        float32, shape (dimensions,).
    components : numpy.ndarray
        float32, shape (projected dimensions, dimensions).
    """

    def __init__(self, mean: np.ndarray, components: np.ndarray):
        self.mean = mean
        self.components = components

    @classmethod
    def fit(cls, blocks: list[Block], metric: str, dimensions: int) -> Projection:
        """Fit by scikit-learn's PCA, on vectors spread over the blocks.

        Raises
        ------
        IndexParameter
            If there are not more vectors and numbers in each than dimensions asked for.
        """
        from sklearn.decomposition import PCA  # slow to import

        step = -(-sum(len(block.norms) for block in blocks) // SAMPLE)
        longest = _longest(blocks)
        sample = np.concatenate(
            [_euclidean(block.vectors[::step], block.norms[::step], metric, longest) for block in blocks]
        )
        if not 1 <= dimensions < min(sample.shape):
            raise IndexParameter(
                f"{len(sample)} vectors of {sample.shape[1]} dimensions cannot be projected to {dimensions}",
                hint="project_to is less than both, and at least 1; or leave it out.",
            )
        pca = PCA(dimensions, svd_solver="covariance_eigh").fit(sample)
        return cls(pca.mean_.astype(FLOAT32), pca.components_.astype(FLOAT32))

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Project vectors: float32, shape (vectors, projected dimensions)."""
        return (vectors - self.mean) @ self.components.T


def _euclidean(vectors: np.ndarray, norms: np.ndarray, metric: str, longest: float) -> np.ndarray:
    """Return vectors whose Euclidean distances are in the order of the metric.

    Cosine distance is that of vectors of length 1. For the inner product, vectors get one more number that makes all
    of them equally long, and queries a zero (Bachrach et al. 2014, "Speeding up the Xbox recommender system").
    """
    if metric == "cosine":
        return vectors / np.where(norms > 0, norms, 1)[:, np.newaxis]
    if metric == "dot":
        return np.column_stack((vectors, np.sqrt(np.maximum(np.square(longest) - np.square(norms), 0))))
    return vectors


def _longest(blocks: list[Block]) -> float:
    return max(float(block.norms.max()) for block in blocks)


@dataclass(frozen=True)
class Design:
    """How an index is made.

    Attributes
    ----------
    method : {'exact', 'annoy', 'hnsw'}
        What finds candidates.
    metric : {'cosine', 'euclidean', 'dot'}
        What is searched by.
    parameters : Parameters
        Of the method.
    dimensions : int
        Numbers in a vector as the index stores it.
    projection : Projection or None
        What the vectors went through.
    """

    method: str
    metric: str
    parameters: Parameters
    dimensions: int
    projection: Projection | None

    @classmethod
    def fit(
        cls,
        method: str,
        metric: str,
        given: dict,
        project_to: int | None,
        blocks: list[Block],
        projection: Projection | None = None,
    ) -> Design:
        """Complete what was asked for, and fit the projection, unless it is given.

        See `read_parameters` and `Projection.fit`.
        """
        parameters = read_parameters(method, metric, given, project_to is not None)
        dimensions = project_to or blocks[0].vectors.shape[1] + (metric == "dot")
        if project_to is not None and projection is None:
            projection = Projection.fit(blocks, metric, project_to)
        return cls(method, metric, parameters, dimensions, projection)

    def used_parameters(self) -> dict:
        """Return the parameters that the method has."""
        return {name: getattr(self.parameters, name) for name in sorted(OF_METHOD[self.method])}

    def pack(self, item_ids: list[str], index: str) -> bytes:
        """Return the content of a file that describes an index: the checksum of its own, the design, the items.

        A line of JSON, padded so that the numbers of the projection start at a multiple of four; mean and components;
        the items by number.
        """
        header = {
            "index": index,
            "method": self.method, "metric": self.metric, "parameters": self.used_parameters(),
            "dimensions": self.dimensions, "items": len(item_ids),
            "projected_from": len(self.projection.mean) if self.projection else None,
        }  # fmt: skip
        line = json.dumps(header).encode()
        numbers = (self.projection.mean, self.projection.components) if self.projection else ()
        return b"".join(
            (line, b" " * (-(len(line) + 1) % 4), b"\n", *(n.tobytes() for n in numbers), Names.pack(item_ids))
        )

    @classmethod
    def unpack(cls, content: bytes | mmap, index: str) -> tuple[Design, Names]:
        """Read what `pack` made, without copying the names.

        Raises
        ------
        IndexBroken
            If it describes another index.
        """
        end = content.find(b"\n") + 1
        header = json.loads(content[:end])
        if header["index"] != index:
            raise IndexBroken("An index and what describes it do not belong together")
        projection, projected_from, dimensions = None, header["projected_from"], header["dimensions"]
        if projected_from:
            numbers = np.frombuffer(content, FLOAT32, projected_from * (1 + dimensions), offset=end)
            projection = Projection(numbers[:projected_from], numbers[projected_from:].reshape(dimensions, -1))
            end += numbers.nbytes
        design = cls(
            header["method"], header["metric"], Parameters(**header["parameters"]), dimensions, projection
        )  # fmt: skip
        return design, Names(content, header["items"], end)


class Index:
    """An index file, mapped.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    design : Design
        How it was made.
    items : int
        How many vectors have a number in it.
    """

    def __init__(self, path: Path, design: Design, items: int):
        self.design = design
        self.items = items
        self._open(path)

    def search(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        """Find candidates for the `count` nearest to each query.

        Parameters
        ----------
        queries : numpy.ndarray
            float32, shape (queries, dimensions of the catalogue's vectors).
        count : int
            How many.

        Returns
        -------
        list of numpy.ndarray
            For each query, numbers of vectors, unordered, each at most once; there may be fewer.
        """
        norms = np.linalg.norm(queries, axis=1)
        prepared = _euclidean(queries, norms, self.design.metric, longest=0)
        if self.design.projection:
            prepared = self.design.projection.apply(prepared)
        return self._search(np.ascontiguousarray(prepared, FLOAT32), max(1, min(count, self.items)))


def _vectors(design: Design, blocks: list[Block], start: int, progress: Progress) -> Iterator[tuple[int, np.ndarray]]:
    """Yield vectors as the index stores them, some at a time, and the number of the first."""
    longest = _longest(blocks)
    for number, block in enumerate(blocks):
        vectors = _euclidean(block.vectors, block.norms, design.metric, longest)
        stored = design.projection.apply(vectors) if design.projection else vectors
        for row in range(0, len(stored), ROWS_AT_ONCE):
            progress((number + row / len(stored)) / len(blocks))
            yield start + row, stored[row : row + ROWS_AT_ONCE]
        start += len(stored)
    progress(1)


def build(path: Path, design: Design, blocks: list[Block], progress: Progress) -> None:
    """Write an index of the blocks' vectors, numbered through the blocks from 0, to a file."""
    METHODS[design.method]._write(path, _vectors(design, blocks, 0, progress), design)


def update(
    path: Path, old: Path, design: Design, start: int, removed: list[int], blocks: list[Block], progress: Progress
) -> None:
    """Write a changed HNSW index to a file; all other kinds are made for good.

    Parameters
    ----------
    path, old : pathlib.Path
        The file to write, and that of the index as it is.
    design : Design
        Of the index.
    start : int
        The number that the first added vector gets.
    removed : list of int
        Numbers of the vectors that are taken out.
    blocks : list of Block
        Vectors that are added.
    progress : callable
        As for `build`.
    """
    HnswIndex._rewrite(path, old, design, removed, _vectors(design, blocks, start, progress) if blocks else ())


def open_index(path: Path, design: Design, items: int) -> Index:
    """Map an index file; see `Index`."""
    return METHODS[design.method](path, design, items)


class ExactIndex(Index):
    """All vectors, compared one by one: worth its while where they are projected."""

    @staticmethod
    def _write(path: Path, pieces, design: Design) -> None:
        norms = []
        with path.open("wb") as stream:
            for _, vectors in pieces:
                stream.write(vectors.astype(FLOAT32).tobytes())
                norms.append(np.linalg.norm(vectors, axis=1).astype(FLOAT32))
            for piece in norms:
                stream.write(piece.tobytes())

    def _open(self, path: Path) -> None:
        numbers = np.frombuffer(mapped(path), FLOAT32)
        self.vectors = numbers[: -self.items].reshape(self.items, -1)
        norms = numbers[-self.items :]
        step = max(1, PIECE // self.vectors.shape[1])
        self._blocks = [Part(self.vectors[i : i + step], norms[i : i + step]) for i in range(0, self.items, step)]

    def _search(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        return nearest(self._blocks, queries, count, "euclidean")


class AnnoyIndex(Index):
    """A forest of random projection trees, by Annoy (https://github.com/spotify/annoy)."""

    @staticmethod
    def _write(path: Path, pieces, design: Design) -> None:
        from annoy import AnnoyIndex as Forest

        forest = None
        for start, vectors in pieces:
            forest = forest or Forest(vectors.shape[1], "euclidean")
            for number, vector in enumerate(vectors, start):
                forest.add_item(number, vector)
        forest.set_seed(SEED)
        with signals_held():
            forest.build(design.parameters.trees, n_jobs=CORES)
        forest.save(str(path))

    def _open(self, path: Path) -> None:
        from annoy import AnnoyIndex as Forest

        self._forest = Forest(self.design.dimensions, "euclidean")
        self._forest.load(str(path))

    def _search(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        nodes = max(self.design.parameters.search_k, count)
        return [np.array(self._forest.get_nns_by_vector(query, count, nodes), np.int64) for query in queries]


class HnswIndex(Index):
    """A hierarchical navigable small world graph (Malkov and Yashunin 2016), by USearch."""

    @classmethod
    def _write(cls, path: Path, pieces, design: Design) -> None:
        graph = cls._graph(design)
        cls._add(graph, pieces, design)
        cls._save(graph, path)

    @classmethod
    def _rewrite(cls, path: Path, old: Path, design: Design, removed: list[int], pieces) -> None:
        graph = cls._graph(design)
        graph.load(str(old))
        graph.remove(np.array(removed, np.uint64))
        cls._add(graph, pieces, design)
        cls._save(graph, path)

    @staticmethod
    def _save(graph, path: Path) -> None:
        try:
            graph.save(str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, str(error), str(path)) from error
        # The last bytes may be lost without a word where the disk is full.
        if path.stat().st_size < graph.serialized_length:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    @staticmethod
    def _add(graph, pieces, design: Design) -> None:
        for start, vectors in pieces:
            if design.parameters.dtype == "float16" and np.abs(vectors).max() > FLOAT16_MAX:
                raise IndexParameter(
                    f"The features hold numbers larger than {FLOAT16_MAX:,}, which float16 cannot keep",
                    hint='Build the index with parameters => \'{"dtype": "float32"}\'.',
                )
            with signals_held():
                graph.add(np.arange(start, start + len(vectors)), np.ascontiguousarray(vectors, FLOAT32), threads=CORES)

    @staticmethod
    def _graph(design: Design):
        from usearch.index import Index as Graph  # slow to import

        return Graph(
            ndim=design.dimensions,
            metric="l2sq",
            dtype=DTYPES[design.parameters.dtype],
            connectivity=design.parameters.m,
            expansion_add=design.parameters.ef_construction,
            expansion_search=design.parameters.ef_search,
        )

    def _open(self, path: Path) -> None:
        self._mapped = self._graph(self.design)
        try:
            self._mapped.view(str(path))
        except RuntimeError:  # which does not tell a file that is gone from a damaged one
            path.stat()
            raise

    def _search(self, queries: np.ndarray, count: int) -> list[np.ndarray]:
        self._mapped.expansion_search = max(self.design.parameters.ef_search, count)
        return [self._search_one(query, count) for query in queries]

    def _search_one(self, query: np.ndarray, count: int) -> np.ndarray:
        if self.design.parameters.dtype == "float16" and np.abs(query).max() > FLOAT16_MAX:
            return np.empty(0, np.int64)  # it cannot be compared: whoever asks turns to exact search
        return self._mapped.search(query, count, threads=1).keys.astype(np.int64)


METHODS = {"exact": ExactIndex, "annoy": AnnoyIndex, "hnsw": HnswIndex}
