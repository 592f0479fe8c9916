"""Networks in ONNX Runtime: the one that ships, and broken ones."""

import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from pixelplum.core.networks.onnx import Network
from pixelplum.errors import ImageError, ModelBroken, ModelOutput
from pixload.models import SHIPPED
from tests.unit.graphs import tiny_onnx


def test_shipped_network_tells_images_apart(boots):
    network = Network(SHIPPED["mini_inception"])
    first, second = (path.read_bytes() for path in sorted((boots / "images").iterdir())[:2])
    features = network.embed(first)
    assert features.shape == (network.dimensions,) == (288,)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, network.embed(first))
    assert not np.allclose(features, network.embed(second))


def test_nothing_is_reported_to_anybody():
    """ONNX Runtime starts a telemetry thread unless it is told not to before its import."""
    code = (
        "import os, pixelplum, onnxruntime;"
        "assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; print(len(os.listdir('/proc/self/task')))"
    )
    run = {"capture_output": True, "text": True, "check": True}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    ours = subprocess.run([sys.executable, "-c", code], env=environment, **run).stdout
    bare = subprocess.run(
        [sys.executable, "-c", "import onnxruntime, os; print(len(os.listdir('/proc/self/task')))"],
        env=environment | {"ORT_DISABLE_TELEMETRY": "1"},
        **run,
    ).stdout
    assert ours == bare


def test_shipped_network_is_small():
    assert SHIPPED["mini_inception"].stat().st_size < 2_000_000


def test_features_are_what_the_graph_computes(tmp_path, boots):
    from pixelplum.core.networks.images import decode

    content = next((boots / "images").iterdir()).read_bytes()
    network = Network(tiny_onnx(tmp_path / "tiny.onnx", [1, 2], value=2.0))
    np.testing.assert_allclose(network.embed(content), 2 * decode(content, 4, 4).mean((0, 1)), rtol=1e-6)


def test_bad_image_is_not_a_broken_model():
    with pytest.raises(ImageError):
        Network(SHIPPED["mini_inception"]).embed(b"<html>")


@pytest.mark.parametrize("axes", [[3], [0, 1, 2, 3]])
def test_output_that_is_no_vector(tmp_path, axes):
    with pytest.raises(ModelOutput, match="shape"):
        Network(tiny_onnx(tmp_path / "tiny.onnx", axes)).dimensions  # noqa: B018


def test_output_that_is_not_finite(tmp_path, boots):
    png = next((boots / "images").iterdir()).read_bytes()
    with pytest.raises(ModelBroken, match="not finite"):
        Network(tiny_onnx(tmp_path / "tiny.onnx", [1, 2], value=float("inf"))).embed(png)


@pytest.mark.parametrize(
    "wrong",
    [{"preprocessing": {}}, {"preprocessing": None}, {"preprocessing": {"width": 10**7, "height": 4}}, {"x": 1}],
)
def test_specs_that_cannot_be_used(tmp_path, wrong):
    complete = {"mean": [0, 0, 0], "std": [1, 1, 1]}
    if wrong.get("preprocessing"):
        wrong = {"preprocessing": wrong["preprocessing"] | complete}
    spec = {"input": "image", "output": "features"} | wrong
    with pytest.raises(ModelBroken, match="not a spec"):
        Network(tiny_onnx(tmp_path / "tiny.onnx", [1, 2], spec=spec))


def test_graph_that_names_another_file_is_refused(tmp_path):
    """Weights outside of the graph would let it read files of the server."""
    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "models").mkdir()
    path = tiny_onnx(tmp_path / "models" / "tiny.onnx", [1, 2])
    model = onnx.load(path)
    factor = next(tensor for tensor in model.graph.initializer if tensor.name == "factor")
    factor.ClearField("float_data")
    factor.data_location = TensorProto.EXTERNAL
    factor.external_data.add(key="location", value="../secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelBroken):
        Network(path)


def test_files_that_are_no_network(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        Network(path)
    with pytest.raises(ModelBroken, match="metadata"):
        Network(tiny_onnx(tmp_path / "plain.onnx", [1, 2], spec={}))
