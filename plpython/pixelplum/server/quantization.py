"""INT8 networks in SQL."""

from __future__ import annotations

from pixelplum.core.networks import quantization
from pixelplum.core.search.vectors import from_bytes
from pixelplum.server import cache as files
from pixelplum.server.canceling import cancellable


@cancellable
def quantize(plpy, cache: dict, checksum: str, contents: list[bytes]) -> tuple[bytes, int]:
    """Return the ONNX file of a network in INT8, and on how many images it is calibrated."""
    return quantization.quantize(files.existing(checksum), contents)


@cancellable
def neighbor_overlap(plpy, cache: dict, a: bytes, b: bytes, number: int, k: int) -> float:
    """Return the fraction of neighbors that two networks' vectors of the same items have in common."""
    first, second = (from_bytes(vectors).reshape(number, -1) for vectors in (a, b))
    return quantization.neighbor_overlap(first, second, k)


@cancellable
def measure_models(plpy, cache: dict, float_checksum: str, int8_checksum: str, contents: list[bytes]) -> dict:
    """Return time per image and memory of two networks."""
    (float_ms, float_mb), (int8_ms, int8_mb) = quantization.measure(
        (files.existing(float_checksum), files.existing(int8_checksum)), contents
    )
    return {"float_ms": float_ms, "int8_ms": int8_ms, "float_mb": float_mb, "int8_mb": int8_mb}
