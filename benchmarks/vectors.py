"""50,000 vectors of 2,048 dimensions from real photographs, for the benchmarks of look-alikes."""

from __future__ import annotations

import io
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from benchmarks.tools import CORES, PHOTOGRAPHS, STATE
from pixelplum.core.networks.onnx import Network
from pixload.models import SHIPPED

ITEMS, QUERIES, DIMENSIONS = 50_000, 500, 2048


def catalogue() -> tuple[np.ndarray, np.ndarray]:
    """Return vectors to search in and held-out ones to search with, made once.

    Features that the shipped network computes of photographs (or of drawn boots) and of variants of them: cut out,
    mirrored, turned, lighter or darker. A fixed random projection pads them to `DIMENSIONS`.

    Returns
    -------
    items : numpy.ndarray
        float32, shape (`ITEMS`, `DIMENSIONS`).
    queries : numpy.ndarray
        float32, shape (`QUERIES`, `DIMENSIONS`), features of further variants.
    """
    path = STATE / "catalogue_features.npy"
    if not path.exists():
        np.save(path, _features(ITEMS + QUERIES))
    features = np.load(path)
    random = np.random.default_rng(7)
    padded = features @ np.float32(random.normal(size=(features.shape[1], DIMENSIONS)) / DIMENSIONS**0.5)
    mixed = np.random.default_rng(8).permutation(len(padded))
    return padded[mixed[:ITEMS]], padded[mixed[ITEMS:]]


def _features(count: int) -> np.ndarray:
    images = sorted(PHOTOGRAPHS.glob("*/*.jpg")) or sorted((STATE / "boots" / "images").iterdir())
    pieces = np.array_split(np.arange(count), CORES * 8)
    with ProcessPoolExecutor(CORES) as processes:
        return np.concatenate(list(processes.map(_features_of, [images] * len(pieces), pieces)))


def _features_of(images: list[Path], numbers: np.ndarray) -> np.ndarray:
    network = Network(SHIPPED["mini_inception"])
    return np.stack([network.embed(_variant(images[n % len(images)], n)) for n in numbers])


def _variant(path: Path, number: int) -> bytes:
    """Return a variant of an image as a JPEG file: another for each number."""
    random = np.random.default_rng(number)
    image = Image.open(path)
    image.draft("RGB", (256, 256))
    image = image.convert("RGB").rotate(random.uniform(-12, 12), fillcolor=(255, 255, 255))
    width, height = image.size
    fraction = random.uniform(0.65, 1)
    left, top = random.uniform(0, 1 - fraction, size=2)
    image = image.crop((left * width, top * height, (left + fraction) * width, (top + fraction) * height))
    if random.random() < 0.5:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(random.uniform(0.7, 1.3))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return stream.getvalue()
