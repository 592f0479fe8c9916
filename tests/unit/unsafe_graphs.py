"""Networks that do more than compute."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PREPROCESSING = {"width": 4, "height": 4, "mean": [0, 0, 0], "std": [1, 1, 1], "channels": "RGB", "layout": "NHWC"}


def tensorflow_graph(write: Path | None = None, read: Path | None = None, in_function: bool = False) -> bytes:
    """A graph with a spec, as `--keep-tensorflow` stores it; it writes a file, or its features are those of one."""
    import tensorflow as tf

    def body(image):
        features = tf.reduce_mean(image, axis=[1, 2])
        if write is not None:
            with tf.control_dependencies([tf.io.write_file(str(write), "owned")]):
                features = tf.identity(features)
        if read is not None:
            content = tf.io.decode_raw(tf.io.read_file(str(read)), tf.uint8)[:3]
            features = tf.cast(tf.expand_dims(content, 0), tf.float32) + 0 * features
        return features

    graph = tf.Graph()
    with graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, (1, 4, 4, 3), "pixelplum/image")
        if in_function:
            shape = tf.TensorSpec((1, 4, 4, 3), tf.float32)
            features = tf.function(body, input_signature=[shape], autograph=False)(image)
        else:
            features = body(image)
        tf.identity(features, "pixelplum/features")
        spec = {"input": "pixelplum/image:0", "output": "pixelplum/features:0", "preprocessing": PREPROCESSING}
        tf.constant(json.dumps(spec), name="pixelplum/spec")
    return graph.as_graph_def().SerializeToString()


def onnx_model(where: str = "initializer", location: str = "/etc/hostname"):
    """An ONNX model with a spec, and a tensor in another file."""
    import onnx
    from onnx import TensorProto, helper

    elsewhere = TensorProto(name="stolen", data_type=TensorProto.FLOAT, dims=[3])
    elsewhere.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        elsewhere.external_data.add(key=key, value=value)
    weights = helper.make_tensor("weights", TensorProto.FLOAT, [3], [1, 2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Mul", ["mean", "stolen" if where == "initializer" else "weights"], ["features"]),
    ]
    constant = helper.make_node("Constant", [], ["unused"], value=elsewhere)
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "thief",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 4, 4, 3])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 3])],
            [weights],
        ),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("own", 1)],
        ir_version=9,
    )
    graph = model.graph
    if where == "initializer":
        graph.initializer.append(elsewhere)
    elif where == "sparse initializer":
        indices = helper.make_tensor("at", TensorProto.INT64, [3], [0, 1, 2])
        graph.sparse_initializer.append(helper.make_sparse_tensor(weights, indices, [3]))
        graph.sparse_initializer[0].values.CopyFrom(elsewhere)
    elif where == "attribute":
        graph.node.append(constant)
    elif where == "subgraph":
        branch = helper.make_graph([constant], "branch", [], [])
        graph.node.append(helper.make_node("If", ["mean"], ["either"], then_branch=branch, else_branch=branch))
    elif where == "function":
        model.functions.append(helper.make_function("own", "Thief", [], ["unused"], [constant], model.opset_import))
    elif where == "training":
        model.training_info.add().algorithm.initializer.append(elsewhere)
    elif where == "without a location":
        elsewhere.ClearField("external_data")
        graph.initializer.append(elsewhere)
    elif where == "entries alone":
        elsewhere.data_location = TensorProto.DEFAULT
        graph.initializer.append(elsewhere)
    elif where == "custom operation":
        graph.node.append(helper.make_node("ReadFile", ["mean"], ["unused"], domain="com.example"))
        model.opset_import.append(helper.make_opsetid("com.example", 1))
    spec = {"input": "image", "output": "features", "preprocessing": PREPROCESSING}
    onnx.helper.set_model_props(model, {"pixelplum": json.dumps(spec)})
    return model


PLACES = (
    "initializer", "sparse initializer", "attribute", "subgraph", "function", "training", "without a location",
    "entries alone",
)  # fmt: skip
"""Where a tensor in another file can be."""


def saved_model(folder: Path, target: Path, how: str) -> Path:
    """A SavedModel that touches a file when it is run or loaded."""
    import tensorflow as tf

    spec = tf.TensorSpec((1, 8, 8, 3), tf.float32)

    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel = tf.Variable(np.ones((3, 4), "f4"))
            if how == "table":
                target.write_text("a\nb\n")
                self.table = tf.lookup.StaticHashTable(
                    tf.lookup.TextFileInitializer(
                        str(target), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
                        tf.lookup.TextFileIndex.LINE_NUMBER,
                    ),
                    -1,
                )  # fmt: skip

        @tf.function(input_signature=[spec], autograph=False)
        def run(self, image: tf.Tensor):
            features = tf.reduce_mean(image, axis=[1, 2]) @ self.kernel
            if how == "run":
                with tf.control_dependencies([tf.io.write_file(str(target), "owned")]):
                    features = tf.identity(features)
            if how == "table":
                features += tf.cast(self.table.lookup(tf.constant(["a"])), tf.float32)
            if how == "restore":
                stolen = tf.raw_ops.RestoreV2(
                    prefix=str(target), tensor_names=["x"], shape_and_slices=[""], dtypes=[tf.float32]
                )
                features += stolen[0]
            return features

    network = Network()
    tf.saved_model.save(network, str(folder), signatures=network.run)
    return folder


def saved_model_of_1(folder: Path, restores: str | None = None) -> Path:
    """A SavedModel of TensorFlow 1; its restoring may read another file."""
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default():
        image = v1.placeholder(tf.float32, (1, 8, 8, 3), "image")
        kernel = v1.get_variable("kernel", initializer=tf.ones((3, 4)), use_resource=True)
        features = tf.matmul(tf.reduce_mean(image, axis=[1, 2]), kernel)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.saved_model.simple_save(session, str(folder), {"image": image}, {"features": features})
    if restores is not None:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        path = folder / "saved_model.pb"
        saved = SavedModel.FromString(path.read_bytes())
        definition = saved.meta_graphs[0].graph_def
        constant = definition.node.add(name="elsewhere", op="Const")
        constant.attr["dtype"].type = tf.string.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(restores))
        next(node for node in definition.node if node.op == "RestoreV2").input[0] = "elsewhere"
        path.write_bytes(saved.SerializeToString())
    return folder
