"""Blocks as files: vectors, norms and names come back as they were."""

import numpy as np
import pytest

from pixelplum.core.search.blocks import Block, Names, mapped, norms, pack
from pixelplum.errors import VectorError

NAMES = ["a", "Ünïcode, with spaces", "b" * 2000, "日本"]


def test_what_is_packed_comes_back(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(4, 6)).astype("<f4")
    content = pack(NAMES, vectors.tobytes(), norms(NAMES, vectors.tobytes()))
    (tmp_path / "block").write_bytes(content)
    block = Block(mapped(tmp_path / "block"), 4, 6)
    np.testing.assert_array_equal(block.vectors, vectors)
    np.testing.assert_allclose(block.norms, np.linalg.norm(vectors, axis=1), rtol=1e-6)
    assert list(block.item_ids) == NAMES
    with pytest.raises(ValueError, match="read-only"):
        block.vectors[0, 0] = 1


def test_names_start_anywhere():
    assert list(Names(b"xyz" + Names.pack(NAMES), 4, 3)) == NAMES


@pytest.mark.parametrize("number", [np.nan, -np.inf, 3e38])
def test_number_that_cannot_be_compared(number):
    vectors = np.ones((3, 4), "<f4")
    vectors[1, 2] = number
    with pytest.raises(VectorError, match="'second'"):
        norms(["first", "second", "third"], vectors.tobytes())
