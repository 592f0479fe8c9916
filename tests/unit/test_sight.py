"""Networks that see, and networks that do not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pixelplum.core.networks.onnx import Network
from pixelplum.core.networks.sight import check_sight
from pixelplum.errors import ModelBlind
from pixload.models import SHIPPED
from tests.unit.graphs import tiny_onnx


@pytest.fixture
def network() -> Network:
    return Network(SHIPPED["mini_inception"])


def test_network_that_sees(network):
    check_sight(network)


def test_even_mean_colors_tell_images_apart(tmp_path):
    check_sight(Network(tiny_onnx(tmp_path / "tiny.onnx", [1, 2])))


@pytest.mark.parametrize("scale", [100, 10_000])
def test_pixels_that_are_scaled_to_nothing(network, scale):
    network.preprocessing = dataclasses.replace(network.preprocessing, std=(127.5 * scale,) * 3)
    with pytest.raises(ModelBlind, match="does not tell images apart") as caught:
        check_sight(network)
    assert "--std" in caught.value.hint


def test_network_of_zeros(tmp_path):
    with pytest.raises(ModelBlind, match="zero"):
        check_sight(Network(tiny_onnx(tmp_path / "tiny.onnx", [1, 2], value=0.0)))


def test_network_that_hears_the_encoder():
    """Features that are noise differ between an image and its copy as much as between two images."""

    class Noise:
        def embed(self, content: bytes) -> np.ndarray:
            return np.random.default_rng(len(content)).uniform(0, 1, 64).astype(np.float32)

    with pytest.raises(ModelBlind, match="copy as a JPEG"):
        check_sight(Noise())
