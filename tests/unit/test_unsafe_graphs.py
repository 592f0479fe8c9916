"""Networks hold computations, and all their weights: what does more is refused before a library opens it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pixelplum.core.networks.onnx import Network
from pixelplum.core.networks.tensorflow import TensorFlowNetwork
from pixelplum.errors import ModelBroken, ModelUnsafe
from pixelplum.untrusted import onnx_files, tensorflow_graphs
from pixload.conversion import frozen_graphs, keras_models, saved_models
from pixload.conversion.converted import Wishes
from pixload.conversion.onnx_files import read_onnx
from pixload.conversion.tensorflow_graphs import convert
from pixload.errors import PixError
from pixload.models import SHIPPED
from tests.unit import unsafe_graphs
from tests.unit.crafted_images import png


@pytest.mark.parametrize("in_function", [False, True])
@pytest.mark.parametrize("operation", ["WriteFile", "ReadFile"])
class TestTensorFlow:
    """In 0.7 a graph wrote files and read them, wherever it was run: at its import, and in the server."""

    @pytest.fixture
    def path(self, tmp_path, operation, in_function):
        target = tmp_path / "target"
        if operation == "ReadFile":
            target.write_text("secret")
        argument = {"WriteFile": "write", "ReadFile": "read"}[operation]
        content = unsafe_graphs.tensorflow_graph(**{argument: target}, in_function=in_function)
        (tmp_path / "graph.pb").write_bytes(content)
        return tmp_path / "graph.pb"

    def test_engine_refuses(self, path, operation):
        with pytest.raises(ModelUnsafe, match=operation) as caught:
            TensorFlowNetwork(path)
        assert caught.value.sqlstate == "PX022"
        assert "frozen" in caught.value.hint
        assert operation == "ReadFile" or not (path.parent / "target").exists()

    def test_import_refuses(self, path, operation):
        with pytest.raises(PixError, match=operation) as caught:
            convert(frozen_graphs.read_graph(path), Wishes())
        assert "frozen" in caught.value.hint
        assert operation == "ReadFile" or not (path.parent / "target").exists()


def test_graph_of_computations_runs(tmp_path):
    (tmp_path / "graph.pb").write_bytes(unsafe_graphs.tensorflow_graph(in_function=True))
    assert TensorFlowNetwork(tmp_path / "graph.pb").embed(png(4, 4)).shape == (3,)


def test_every_operation_that_is_allowed_exists():
    """A name that is misspelled would refuse a network that is sound."""
    import tensorflow as tf

    allowed = tensorflow_graphs.COMPUTATIONS | tensorflow_graphs.VARIABLES | tensorflow_graphs.SAVING
    assert not [name for name in allowed if not hasattr(tf.raw_ops, name)]


def test_no_operation_that_is_allowed_touches_anything_else():
    """Of TensorFlow's stateful operations, those that are allowed hold memory or draw random numbers."""
    from tensorflow.python.framework import op_def_registry

    results = {name: op_def_registry.get(name) for name in tensorflow_graphs.COMPUTATIONS}
    assert {name for name, operation in results.items() if operation is not None and operation.is_stateful} <= {
        "Assert", "CheckNumerics", "CheckNumericsV2", "If", "NoOp", "RandomStandardNormal", "RandomUniform",
        "RandomUniformInt", "StatefulPartitionedCall", "StatelessRandomGetAlg", "TruncatedNormal",
    }  # fmt: skip


def test_functions_that_call_one_another_in_a_circle():
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    for name, called in (("a", "b"), ("b", "c"), ("c", "a")):
        function = definition.library.function.add()
        function.signature.name = name
        function.node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = called
    definition.node.add(name="begin", op="a")
    with pytest.raises(ModelUnsafe, match="calls itself"):
        tensorflow_graphs.check(definition)
    definition.library.function[2].node_def[0].attr["f"].func.name = "missing"
    with pytest.raises(ModelUnsafe, match="calls missing"):
        tensorflow_graphs.check(definition)


class TestSavedModel:
    """Loading a SavedModel runs what it says: in 0.7, whatever that was."""

    @pytest.mark.parametrize("how", ["run", "restore", "table"])
    def test_refused(self, tmp_path, how):
        folder = unsafe_graphs.saved_model(tmp_path / "saved", tmp_path / "target", how)
        with pytest.raises(PixError, match=r"WriteFile|RestoreV2|Table") as caught:
            saved_models.load(folder)
        assert caught.value.hint
        assert how == "table" or not (tmp_path / "target").exists()

    def test_sound_ones_are_loaded(self, tmp_path):
        folder = unsafe_graphs.saved_model(tmp_path / "saved", tmp_path / "target", "honest")
        assert convert(saved_models.load(folder), Wishes()).spec["output"]

    def test_of_tensorflow_1(self, tmp_path):
        folder = unsafe_graphs.saved_model_of_1(tmp_path / "saved")
        assert convert(saved_models.load(folder), Wishes()).spec["output"]
        folder = unsafe_graphs.saved_model_of_1(tmp_path / "thief", restores="/elsewhere")
        with pytest.raises(PixError, match="RestoreV2"):
            saved_models.load(folder)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_files_with_code(tmp_path, suffix):
    """A Lambda layer would run what its author wrote."""
    import keras

    image = keras.Input((8, 8, 3))
    target = str(tmp_path / "target")
    code = keras.layers.Lambda(lambda x: (open(target, "w").close(), x)[1])
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(code(image)))
    model.save(tmp_path / f"model.{suffix}")
    (tmp_path / "target").unlink(missing_ok=True)
    with pytest.raises(PixError, match=r"Lambda|safe|deserializ") as caught:
        keras_models.load_file(tmp_path / f"model.{suffix}")
    assert "Lambda" in caught.value.hint
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("location", unsafe_graphs.PLACES)
def test_weights_in_other_files(tmp_path, location):
    """0.7 left it to ONNX Runtime to refuse them, which its older versions do not."""
    path = tmp_path / "thief.onnx"
    path.write_bytes(unsafe_graphs.onnx_model(location).SerializeToString())
    for source in (path, path.read_bytes()):
        with pytest.raises(ModelUnsafe, match="'stolen' in another file") as caught:
            Network(source)
        assert caught.value.sqlstate == "PX022"
        assert "weights inside" in caught.value.hint
    with pytest.raises(PixError):
        read_onnx(path)


@pytest.mark.parametrize("location", ["/etc/hostname", "../secret", "linked"])
def test_import_takes_weights_from_the_folder_alone(tmp_path, location):
    (tmp_path / "secret").write_bytes(np.arange(3, dtype="f4").tobytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "linked").symlink_to(tmp_path / "secret")
    path = tmp_path / "model" / "thief.onnx"
    path.write_bytes(unsafe_graphs.onnx_model(location=location).SerializeToString())
    with pytest.raises(PixError, match="not in its folder") as caught:
        read_onnx(path)
    assert "beside it" in caught.value.hint


def test_operations_of_nobody_are_refused(tmp_path):
    """ONNX Runtime knows no operations but its own: no library of others is ever loaded."""
    with pytest.raises(ModelBroken, match="ReadFile"):
        Network(unsafe_graphs.onnx_model("custom operation").SerializeToString())


def test_tensors_are_found_as_onnx_finds_them():
    """Our reading of the format and that of the library agree, on files that are whole and on damaged ones."""
    content = SHIPPED["mini_inception"].read_bytes()
    assert not list(onnx_files.external(content))
    random = np.random.default_rng(7)
    thief = unsafe_graphs.onnx_model("subgraph").SerializeToString()
    for _ in range(2000):
        damaged = np.frombuffer(thief, np.uint8).copy()
        damaged[random.integers(0, len(damaged), 2)] = random.integers(0, 256, 2)
        try:
            parsed = onnx.ModelProto.FromString(damaged.tobytes())
        except Exception:  # protobuf's own class
            continue
        try:
            results = list(onnx_files.external(damaged.tobytes()))
        except ModelBroken:
            continue
        assert bool(results) == _has_external(parsed), damaged.tobytes()


def _has_external(message) -> bool:
    if isinstance(message, onnx.TensorProto):
        return message.data_location == onnx.TensorProto.EXTERNAL or bool(message.external_data)
    return any(
        _has_external(item)
        for field, value in message.ListFields()
        if field.message_type is not None
        for item in (value if hasattr(value, "add") else [value])
    )


def test_own_format_of_onnx_runtime_is_refused():
    with pytest.raises(ModelBroken, match="own format"):
        Network(b"\x10\0\0\0ORTM" + bytes(100))
