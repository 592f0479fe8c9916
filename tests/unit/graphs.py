"""Networks in the formats that people have, small and with random weights."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from pixelplum.core.networks.onnx import SPEC_KEY, Network
from pixload.conversion.converted import ConvertedModel, save

COLORS = ("red", "green", "blue", "gray")
LABELS = list(COLORS)


def inception_2015(path: Path, classes: int = 4, retrained: bool = False) -> Path:
    """Write a frozen graph of the form of classify_image_graph_def.pb.

    It decodes and scales a JPEG by itself, normalizes as graphs of 2015 did, is fixed to a batch of one, and ends with
    pool_3 (6 features) and softmax. A retrained one has a second softmax, final_result, behind a placeholder.
    """
    import tensorflow as tf

    random = np.random.default_rng(3)
    graph = tf.Graph()
    with graph.as_default():
        v1 = tf.compat.v1
        contents = tf.constant("", name="DecodeJpeg/contents")
        decoded = tf.raw_ops.DecodeJpeg(contents=contents, channels=3, dct_method="INTEGER_ACCURATE", name="DecodeJpeg")
        cast = tf.cast(decoded, tf.float32, name="Cast")
        batch = tf.expand_dims(cast, 0, name="ExpandDims")
        resized = tf.raw_ops.ResizeBilinear(images=batch, size=tf.constant([32, 48]), name="ResizeBilinear")
        shifted = tf.subtract(resized, tf.constant(128.0), name="Sub")
        scaled = tf.multiply(shifted, tf.constant(0.0078125), name="Mul")
        kernel = tf.constant(random.normal(0, 0.3, (3, 3, 3, 6)).astype("f4"), name="conv/kernel")
        conv = tf.nn.conv2d(scaled, kernel, 2, "SAME", name="conv/Conv2D")
        checked = tf.debugging.check_numerics(conv, "conv", name="conv/CheckNumerics")
        # TensorFlow makes no new nodes of that operation: it is put in afterwards.
        normalized = tf.identity(checked, name="conv/batchnorm")
        for name, low in (("mean", -0.5), ("variance", 0.5), ("beta", -0.5), ("gamma", 0.5)):
            tf.constant(random.uniform(low, 1.5, 6).astype("f4"), name=f"conv/batchnorm/{name}")
        active = tf.nn.relu(normalized, name="conv")
        pooled = tf.nn.avg_pool(active, [1, 16, 24, 1], 1, "VALID", name="pool_3")
        flat = tf.reshape(pooled, [1, 6], name="pool_3/_reshape")
        weights = tf.constant(random.normal(0, 1, (6, classes)).astype("f4"), name="softmax/weights")
        logits = tf.matmul(flat, weights) + tf.constant(random.normal(0, 1, classes).astype("f4"))
        tf.nn.softmax(logits, name="softmax")
        if retrained:
            bottleneck = v1.placeholder_with_default(flat, [None, 6], name="input/BottleneckInputPlaceholder")
            final = tf.constant(random.normal(0, 1, (6, classes)).astype("f4"), name="final_weights")
            tf.nn.softmax(tf.matmul(bottleneck, final) + 0.5, name="final_result")
    definition = graph.as_graph_def()
    node = next(node for node in definition.node if node.name == "conv/batchnorm")
    node.op = "BatchNormWithGlobalNormalization"
    node.input.extend(f"conv/batchnorm/{name}" for name in ("mean", "variance", "beta", "gamma"))
    node.attr["variance_epsilon"].f = 0.001
    node.attr["scale_after_normalization"].b = True
    definition.versions.producer = 8  # the last that may have it
    path.write_bytes(definition.SerializeToString())
    return path


def run_graph(path: Path, jpeg: bytes, *tensors: str) -> list[np.ndarray]:
    """Run a frozen graph on a JPEG as its users of 2015 did."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(path.read_bytes())
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    with tf.compat.v1.Session(graph=graph) as session:
        return session.run(list(tensors), {"DecodeJpeg/contents:0": jpeg})


def keras_classifier(classes: int = 4):
    """Return a Keras model that scales pixels itself and ends with a softmax."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    image = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, activation="relu", name="early")(x)
    x = layers.Conv2D(12, 3, activation="relu", name="late")(x)
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.Dropout(0.5)(x)
    return keras.Model(image, layers.Dense(classes, activation="softmax")(x))


def torch_like_onnx(path: Path, classes: int = 4, softmax: bool = False, side: int | str = 20) -> Path:
    """Write an ONNX file of the form that PyTorch exports: NCHW, convolution, pooling, flatten, Gemm."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(11)
    tensors = {
        "conv.weight": random.normal(0, 0.4, (10, 3, 3, 3)),
        "conv.bias": random.normal(0, 0.4, 10),
        "fc.weight": random.normal(0, 1, (classes, 10)),
        "fc.bias": random.normal(0, 1, classes),
    }
    nodes = [
        helper.make_node("Conv", ["input", "conv.weight", "conv.bias"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    output = "logits"
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1))
        output = "probabilities"
    graph = helper.make_graph(
        nodes,
        "torch_like",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value.astype("f4"), name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def tiny_onnx(path, axes: list[int], value: float = 1.0, spec: dict | None = None):
    """Write a network that averages a 4 x 4 image over some axes and multiplies it."""
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 4, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None] * (4 - len(axes)))],
        [
            helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes),
            helper.make_tensor("factor", TensorProto.FLOAT, [], [value]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if spec is None:
        spec = {
            "input": "image", "output": "features",
            "preprocessing": {"width": 4, "height": 4, "mean": [0, 0, 0], "std": [1, 1, 1]},
        }  # fmt: skip
    if spec:
        helper.set_model_props(model, {SPEC_KEY: json.dumps(spec)})
    onnx.save(model, path)
    return path


def network_of(converted: ConvertedModel, folder: Path) -> Network:
    save(converted, folder / "converted.onnx")
    return Network(folder / "converted.onnx")


def jpeg(width: int = 48, height: int = 32, seed: int = 0) -> bytes:
    """An image of the size that the graph of 2015 takes: neither side scales it."""
    blobs = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    stream = io.BytesIO()
    image = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
    image.save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def keras_headless():
    """Return a Keras model that ends with features."""
    import keras

    model = keras_classifier()
    return keras.Model(model.inputs, model.get_layer("pooled").output)
