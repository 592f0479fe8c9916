"""INT8 networks: what stays the same, and how that is measured."""

from __future__ import annotations

import numpy as np
import pytest

from pixelplum.core.networks.onnx import Network
from pixelplum.core.networks.quantization import measure, neighbor_overlap, quantize
from pixelplum.errors import ModelBroken
from pixload.models import SHIPPED


@pytest.fixture(scope="module")
def images(boots) -> list[bytes]:
    return [path.read_bytes() for path in sorted((boots / "images").iterdir())]


@pytest.fixture(scope="module")
def int8(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("int8") / "mini.onnx"
    content, used = quantize(SHIPPED["mini_inception"], [*images[:20], b"no image"])
    assert used == 20
    path.write_bytes(content)
    return path


def test_quantized_network_gives_nearly_the_same_features(int8, images):
    before, after = Network(SHIPPED["mini_inception"]), Network(int8)
    assert after.spec == before.spec
    assert int8.stat().st_size < 0.45 * SHIPPED["mini_inception"].stat().st_size
    a, b = (np.stack([network.embed(image) for image in images[20:]]) for network in (before, after))
    assert not np.array_equal(a, b)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.99
    assert neighbor_overlap(a, b, 10) > 0.9


def test_no_image_that_can_be_read():
    with pytest.raises(ModelBroken, match="cannot be quantized"):
        quantize(SHIPPED["mini_inception"], [b"no image"])


def test_overlap_by_hand():
    angles = np.deg2rad([0, 10, 25, 90])
    a = np.float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert neighbor_overlap(a, 3 * a, 1) == 1  # lengths do not matter to the cosine
    b = a[[0, 2, 1, 3]]
    # Nearest in a: 1, 0, 1, 2; in b: 2, 2, 0, 1.
    assert neighbor_overlap(a, b, 1) == 0
    assert neighbor_overlap(a, b, 3) == 1


def test_overlap_of_chance():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 400, 16)).astype(np.float32)
    assert neighbor_overlap(a, b, 10) == pytest.approx(10 / 399, abs=0.01)


def test_measuring_two_networks(int8, images):
    (float_ms, float_mb), (int8_ms, int8_mb) = measure((SHIPPED["mini_inception"], int8), images[:5])
    assert 0 < float_ms < 1000
    assert 0 < int8_ms < 1000
    assert 0 <= float_mb < 100
    assert 0 <= int8_mb < 100
