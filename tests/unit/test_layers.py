"""Layers of a network, and their maps."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pixelplum.core.networks.layers import Layers
from pixelplum.core.networks.onnx import Network
from pixelplum.errors import ImageError, UnknownLayer
from pixload.conversion.converted import Wishes, save
from pixload.conversion.onnx_files import read_onnx
from pixload.models import SHIPPED
from tests.unit.graphs import torch_like_onnx


@pytest.fixture
def path(tmp_path):
    save(read_onnx(torch_like_onnx(tmp_path / "torch.onnx"), Wishes(output="flat")), tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


@pytest.fixture
def image(boots) -> bytes:
    return next((boots / "images").iterdir()).read_bytes()


def test_layers_and_shapes(path):
    assert Layers(path).describe() == [
        ("conv", "Conv", [1, 10, 18, 18]),
        ("relu", "Relu", [1, 10, 18, 18]),
        ("pool", "GlobalAveragePool", [1, 10, 1, 1]),
        ("flat", "Flatten", [1, 10]),
    ]


def test_strongest_maps(path, image):
    """Mean activation of a channel is what the pooling after the layer computes."""
    features = Network(path).embed(image)
    drawn = Layers(path).draw_maps(image, "relu", 4)
    channels = [channel for channel, _, _ in drawn]
    assert channels == np.argsort(-features, kind="stable")[:4].tolist()
    np.testing.assert_allclose([strength for _, strength, _ in drawn], features[channels], rtol=1e-5)


def test_maps_are_images_from_black_to_white(path, image):
    (activation,) = Layers(path)._showing(["relu"]).outputs(image, ["relu"])
    for channel, _, png in Layers(path).draw_maps(image, "relu", 3):
        drawing = Image.open(io.BytesIO(png))
        assert (drawing.format, drawing.mode, drawing.size) == ("PNG", "L", (144, 144))
        small = np.asarray(drawing)[::8, ::8].astype(float)
        expected = activation[0, channel]
        expected = 255 * (expected - expected.min()) / (expected.max() - expected.min())
        np.testing.assert_allclose(small, expected, atol=0.51)


def test_more_maps_than_there_are(path, image):
    assert len(Layers(path).draw_maps(image, "relu", 1000)) == 10


def test_layers_of_the_shipped_network(image):
    layers = Layers(SHIPPED["mini_inception"])
    described = layers.describe()
    maps = [name for name, operation, shape in described if operation == "Concat" and len(shape) == 4]
    assert len(maps) == 5
    assert len(layers.draw_maps(image, maps[-1], 8)) == 8


@pytest.mark.parametrize("layer", ["nope", "flat", "conv.weight", ""])
def test_layers_without_maps(path, image, layer):
    with pytest.raises(UnknownLayer) as caught:
        Layers(path).draw_maps(image, layer, 1)
    assert "pix.model_layers" in caught.value.hint


def test_bad_image(path):
    with pytest.raises(ImageError):
        Layers(path).draw_maps(b"no image", "relu", 1)
