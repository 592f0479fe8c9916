"""From a float32 network to one in INT8, and what that costs."""

from __future__ import annotations

import ctypes
import gc
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from pixelplum.core.networks.onnx import SPEC_KEY, Network
from pixelplum.errors import ImageError, ModelBroken

VNNI = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp")
"""Flags of processors that add products of bytes without saturation."""


class _Images(CalibrationDataReader):
    """Hands images to the calibration, those that can be read, and counts them."""

    def __init__(self, network: Network, contents: list[bytes]):
        self._input = network.spec["input"]
        self._tensors = readable(network, contents)
        self.used = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        tensor = next(self._tensors, None)
        if tensor is None:
            return None
        self.used += 1
        return {self._input: tensor}


def readable(network: Network, contents: list[bytes]) -> Iterator[np.ndarray]:
    """Yield the tensors of those images that can be read."""
    for content in contents:
        with suppress(ImageError):
            yield network.tensor(content)


def quantize(path: Path, contents: list[bytes]) -> tuple[bytes, int]:
    """Quantize a network: weights per channel, activations by their range on some images (static, QDQ).

    Parameters
    ----------
    path : pathlib.Path
        The ONNX file, float32, with its spec.
    contents : list of bytes
        Files of images that the network will typically see; those that
        cannot be read are passed over.

    Returns
    -------
    tuple of (bytes, int)
        The ONNX file in INT8, with the same spec; and on how many images
        it is calibrated.

    Raises
    ------
    ModelBroken
        If the network cannot be quantized, or no image can be read.
    """
    network = Network(path)
    images = _Images(network, contents)
    logging.getLogger().setLevel(logging.ERROR)  # advice on preparing a model, which is done here
    with tempfile.TemporaryDirectory() as folder:
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "int8.onnx"
        try:
            quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared), str(made), images, quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, reduce_range=not has_vnni(),
            )  # fmt: skip
        except (ValueError, RuntimeError, TypeError, KeyError, NotImplementedError) as error:
            raise ModelBroken(f"The network cannot be quantized: {error}", hint="Use it in float32.") from error
        model = onnx.load(made)
    onnx.helper.set_model_props(
        model, {entry.key: entry.value for entry in onnx.load(path).metadata_props if entry.key == SPEC_KEY}
    )
    return model.SerializeToString(), images.used


def has_vnni() -> bool:
    """Tell whether this host's processor multiplies bytes without saturation; others get weights of 7 bits."""
    return any(flag in Path("/proc/cpuinfo").read_text().split() for flag in VNNI)


def neighbor_overlap(a: np.ndarray, b: np.ndarray, k: int) -> float:
    """Return the mean fraction of an item's k nearest others, by cosine, that stay the same.

    Parameters
    ----------
    a, b : numpy.ndarray
        float32, shapes (items, dimensions): vectors of the same items by two
        networks. There are more than k items.
    k : int
        Number of neighbors.

    Returns
    -------
    float
        From 0 to 1.
    """
    both = [_nearest(vectors, k) for vectors in (a, b)]
    shared = [len(set(x) & set(y)) for x, y in zip(*both, strict=True)]
    return float(np.mean(shared) / k)


def _nearest(vectors: np.ndarray, k: int) -> list[list[int]]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k].tolist()


def measure(paths: tuple[Path, Path], contents: list[bytes]) -> list[tuple[float, float]]:
    """Measure two networks in turn, in this process, on one thread.

    Parameters
    ----------
    paths : tuple of pathlib.Path
        Their ONNX files.
    contents : list of bytes
        Images to run them on; each network sees each of them that can be
        read, and at least one can.

    Returns
    -------
    list of tuple of float
        Per network: milliseconds per image (median, decoding left out),
        and MiB that the process grew by when it loaded and ran the network.
    """
    networks, grown = [], []
    for path in paths:
        before = _private_mb()
        network = Network(path)
        tensors = list(readable(network, contents))
        network.embed_tensor(tensors[0])
        grown.append(_private_mb() - before)
        networks.append(network)
    times = [[], []]
    for tensor in tensors:
        for network, taken in zip(networks, times, strict=True):
            begun = time.perf_counter()
            network.embed_tensor(tensor)
            taken.append(1000 * (time.perf_counter() - begun))
    return [(median(taken), max(mb, 0.0)) for taken, mb in zip(times, grown, strict=True)]


def _private_mb() -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
