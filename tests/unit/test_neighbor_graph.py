"""All against all in blocks, against numpy at once."""

import numpy as np
import pytest

from pixelplum.core.search.neighbor_graph import alike_in_block, merged, nearest_in_block
from pixelplum.core.search.vectors import distances


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "dot"])
def test_merging_blocks_finds_the_nearest(metric):
    matrix = np.random.default_rng(6).normal(size=(400, 24)).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=1)
    bounds = [(0, 100), (100, 103), (103, 400)]  # one with fewer rows than neighbors
    neighbors = [nearest_in_block(matrix[:60], matrix[a:b], norms[a:b], 5, metric) for a, b in bounds]
    which, rows = merged(neighbors, 5)
    numbers = np.array([a for a, _ in bounds])[which] + rows
    for query in range(60):
        true = np.argsort(distances(matrix[query], matrix, metric))[:6]
        assert set(true.tolist()) <= set(numbers[query].tolist())


def test_pairs_are_complete():
    random = np.random.default_rng(8)
    matrix = random.normal(size=(300, 16)).astype(np.float32)
    norms = np.linalg.norm(matrix, axis=1)
    numbers, rows = alike_in_block(matrix, matrix, norms, 0.3)
    results = set(zip(numbers.tolist(), rows.tolist(), strict=True))
    true = {(i, int(j)) for i in range(300) for j in np.flatnonzero(distances(matrix[i], matrix) <= 0.3)}
    assert true <= results
    assert len(results) - len(true) < 5
