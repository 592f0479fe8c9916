"""Indexes without a server: every algorithm, metric and precision; what their files say of them."""

import subprocess
import sys

import numpy as np
import pytest

from pixelplum.core.search.exact import Part, nearest
from pixelplum.core.search.indexes import INDEXES, build, fit, open_index, read_parameters, read_state, update
from pixelplum.errors import IndexBroken, UnusableArgument

DIMENSIONS = 32


@pytest.fixture
def matrix():
    random = np.random.default_rng(4)
    centers = random.normal(size=(30, DIMENSIONS))
    return np.float32(centers[random.integers(30, size=1500)] + 0.6 * random.normal(size=(1500, DIMENSIONS)))


def parts(matrix: np.ndarray) -> list[Part]:
    return [Part(piece, np.linalg.norm(piece, axis=1)) for piece in np.array_split(matrix, 4)]


def made(path, matrix, algorithm, metric, values=None, project_to=None):
    """Build an index, write what describes it, and open it as another process would."""
    blocks, fractions = parts(matrix), []
    state = fit(algorithm, metric, values or {}, project_to, blocks)
    build(path, state, blocks, fractions.append)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    state, names = read_state(state.pack([f"i{n}" for n in range(len(matrix))], "checksum"), "checksum")
    assert names[77] == "i77"
    return open_index(path, state, len(names)), state


def recall(index, matrix, metric, numbers=None, queries=40, k=10) -> float:
    numbers = np.arange(len(matrix)) if numbers is None else np.asarray(numbers)
    queried = matrix[numbers[:queries]]
    true = nearest(parts(matrix[numbers]), queried, k, metric)
    count = max(k, index.state.parameters["rerank"])
    neighbors = index.search(queried, count)
    hits = [len(set(f.tolist()) & set(numbers[t].tolist())) / k for f, t in zip(neighbors, true, strict=True)]
    assert all(len(set(f.tolist())) == len(f) for f in neighbors)
    return np.mean(hits)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
@pytest.mark.parametrize("project_to", [None, 16])
@pytest.mark.parametrize("algorithm", list(INDEXES))
def test_recall(tmp_path, matrix, algorithm, metric, project_to):
    index, _ = made(tmp_path / "index", matrix, algorithm, metric, project_to=project_to)
    assert recall(index, matrix, metric) >= (1 if (algorithm, project_to) == ("exact", None) else 0.93)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_precision(tmp_path, matrix, dtype):
    index, _ = made(tmp_path / "index", matrix, "hnsw", "cosine", {"dtype": dtype})
    assert recall(index, matrix, "cosine") >= 0.95


def test_lower_precision_is_smaller(tmp_path, matrix):
    sizes = []
    for dtype in ("int8", "float16", "float32"):
        made(tmp_path / dtype, matrix, "hnsw", "cosine", {"dtype": dtype})
        sizes.append((tmp_path / dtype).stat().st_size)
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("project_to", [None, 16])
def test_update(tmp_path, matrix, project_to):
    """Numbers of what stays do not change, what is removed is not found, what is added is."""
    _, state = made(tmp_path / "old", matrix[:1200], "hnsw", "euclidean", project_to=project_to)
    removed = list(range(0, 1200, 5))
    update(tmp_path / "new", tmp_path / "old", state, 1200, removed, parts(matrix[1200:]), lambda fraction: None)
    index = open_index(tmp_path / "new", state, 1500)
    left = sorted(set(range(1500)) - set(removed))
    everything = {n for neighbors in index.search(matrix[left[:50]], 300) for n in neighbors.tolist()}
    assert not everything & set(removed)
    assert max(everything) >= 1200
    assert recall(index, matrix, "euclidean", left) >= 0.93


def test_parameters_are_kept():
    parameters = {"m": 8, "ef_search": 99, "dtype": "float32"}
    assert read_parameters("hnsw", "cosine", parameters, False)["ef_search"] == 99
    block = Part(np.eye(3, dtype=np.float32), np.ones(3, np.float32))
    state = fit("hnsw", "cosine", parameters, None, [block])
    assert read_state(state.pack(["a", "b", "c"], "x"), "x")[0] == state
    assert state.parameters.keys() == INDEXES["hnsw"].parameters.keys()


@pytest.mark.parametrize(
    ("algorithm", "parameters"), [("ivf", {}), ("annoy", {"m": 3}), ("hnsw", {"m": 1.5}), ("exact", [])]
)
def test_parameters_that_make_no_sense(algorithm, parameters):
    with pytest.raises(UnusableArgument):
        read_parameters(algorithm, "cosine", parameters, False)


@pytest.mark.parametrize("modules", ["usearch.index, annoy, onnxruntime", "onnxruntime, annoy, usearch.index"])
def test_libraries_get_along_in_one_process(modules):
    """A session may search an index before it computes features: some versions ended the process."""
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, capture_output=True)


def test_description_of_another_index(matrix):
    state = fit("exact", "cosine", {}, None, parts(matrix))
    with pytest.raises(IndexBroken):
        read_state(state.pack(["a"], "one"), "another")


FILL = """
import resource, sys
import numpy as np
from pathlib import Path
from pixelplum.core.search.indexes import build, fit
from pixelplum.core.search.exact import Part

vectors = np.random.default_rng(0).normal(size=(500, 32)).astype(np.float32)
parts = [Part(vectors, np.linalg.norm(vectors, axis=1))]
path = Path(sys.argv[1])
state = fit(sys.argv[2], "cosine", {}, None, parts)
build(path, state, parts, lambda fraction: None)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size - int(sys.argv[3]), -1))
try:
    build(path.with_suffix(".again"), state, parts, lambda fraction: None)
except OSError:
    sys.exit(0)
sys.exit("no error")
"""


@pytest.mark.parametrize("missing", [10, 5000, 50_000])
@pytest.mark.parametrize("algorithm", list(INDEXES))
def test_file_that_cannot_be_written_whole(tmp_path, algorithm, missing):
    arguments = [sys.executable, "-c", FILL, tmp_path / "index", algorithm, str(missing)]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
