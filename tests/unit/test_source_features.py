"""Features in the binary format."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from pixload.sources.features import read_features
from pixload.sources.rows import FeatureVector, Reject


def record(item_id: bytes, *numbers: float) -> bytes:
    return item_id + np.array(numbers, "<f4").tobytes()


def test_records_of_4096_dimensions(tmp_path):
    path = tmp_path / "image_features.b"
    vectors = np.random.default_rng(0).random((3, 4096), np.float32)
    path.write_bytes(b"".join(f"B00000000{i}".encode() + v.astype("<f4").tobytes() for i, v in enumerate(vectors)))
    assert path.stat().st_size == 3 * 16_394
    rows = list(read_features(path))
    assert [row.item_id for row in rows] == ["B000000000", "B000000001", "B000000002"]
    assert np.array_equal([np.frombuffer(row.vector, "<f4") for row in rows], vectors)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_trailing_bytes_are_a_reject(tmp_path, compress):
    path = tmp_path / "features.b"
    path.write_bytes(compress(record(b"B000000000", 1, 2) + record(b"B000000001", 3, 4)[:-1]))
    whole, rest = read_features(path, 2)
    assert whole == FeatureVector("B000000000", np.array([1, 2], "<f4").tobytes())
    assert rest == Reject(f"{path}:2", None, "17 bytes remain at the end; a record of 2 dimensions has 18")


def test_bad_records_do_not_stop_the_others(tmp_path):
    path = tmp_path / "features.b"
    path.write_bytes(
        record(b"B00000000\xff", 1) + record(b"B000000001", np.nan) + record(b"B00000000\0", 1)
        + record(b"B000000003", -np.inf) + record(b"B000000004", 1)
    )  # fmt: skip
    *rejects, good = read_features(path, 1)
    assert [(r.source, r.item_id) for r in rejects] == [
        (f"{path}:1", None), (f"{path}:2", "B000000001"), (f"{path}:3", None), (f"{path}:4", "B000000003"),
    ]  # fmt: skip
    assert "not ASCII" in rejects[0].reason
    assert "not finite" in rejects[1].reason
    assert "NUL" in rejects[2].reason
    assert good.item_id == "B000000004"


def test_empty_file_has_no_records(tmp_path):
    path = tmp_path / "features.b"
    path.touch()
    assert list(read_features(path)) == []


def test_truncated_gzip_yields_the_records_before(tmp_path):
    path = tmp_path / "features.b.gz"
    content = b"".join(record(f"B{i:09}".encode(), *np.random.default_rng(i).random(500)) for i in range(100))
    packed = gzip.compress(content)
    path.write_bytes(packed[: len(packed) // 2])
    *whole, reject = read_features(path, 500)
    assert 20 < len(whole) < 60
    assert all(isinstance(row, FeatureVector) for row in whole)
    assert reject.source == f"{path}:{len(whole) + 1}"
    assert "broken" in reject.reason


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        next(read_features(tmp_path / "none.b"))
