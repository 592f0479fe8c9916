"""Ready-made features in the binary format of the Amazon data of McAuley et al."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pixload.sources.rows import FeatureVector, Reject, check_item_id
from pixload.sources.streams import BROKEN, open_decompressed

ID_BYTES = 10


def read_features(path: Path, dimensions: int = 4096) -> Iterator[FeatureVector | Reject]:
    """Read records of an item's id, ten ASCII characters, and its vector of little-endian float32.

    The file may be compressed.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    dimensions : int
        Numbers in a vector.

    Yields
    ------
    FeatureVector or Reject
        A file that ends within a record ends with a Reject.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    size = ID_BYTES + 4 * dimensions
    number = 1
    with open_decompressed(path) as (stream, _):
        try:
            while len(record := stream.read(size)) == size:
                yield _feature_vector(f"{path}:{number}", record)
                number += 1
        except BROKEN as fault:
            yield Reject(f"{path}:{number}", None, f"the file is broken from here on: {fault}")
            return
    if record:
        reason = f"{len(record):,} bytes remain at the end; a record of {dimensions:,} dimensions has {size:,}"
        yield Reject(f"{path}:{number}", None, reason)


def _feature_vector(source: str, record: bytes) -> FeatureVector | Reject:
    item_id, vector = record[:ID_BYTES], record[ID_BYTES:]
    if not item_id.isascii():
        return Reject(source, None, "the item_id is not ASCII: does the file have other dimensions?")
    item_id = item_id.decode("ascii")
    if reason := check_item_id(item_id):
        return Reject(source, None, reason)
    import numpy as np  # slow to import

    if not np.isfinite(np.frombuffer(vector, "<f4")).all():
        return Reject(source, item_id, "the vector holds numbers that are not finite")
    return FeatureVector(item_id, vector)
