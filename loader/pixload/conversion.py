"""From TensorFlow's formats to an ONNX file that says itself how to use it.

TensorFlow and tf2onnx are imported where they are needed: they take seconds,
and most commands do without.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixload.errors import PixError

SPEC_KEY = "pixelplum"
"""The metadata property of the ONNX file that holds input, output and preprocessing."""

AGREEMENT_LIMIT = 1e-4
"""Largest difference between the engines, relative to the largest feature."""

# Looked at when TensorFlow and ONNX Runtime are imported: no chatter, no reports to their makers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True)
class KerasApplication:
    """A network of keras.applications, and the preprocessing it was trained with."""

    builder: str
    size: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    std: tuple[float, float, float] = (127.5, 127.5, 127.5)
    channels: str = "RGB"

    @property
    def preprocessing(self) -> dict:
        return preprocessing(self.size, self.size, self.mean, self.std, self.channels)


CAFFE_MEAN = (103.939, 116.779, 123.68)
NOTHING = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
KERAS_APPLICATIONS = {
    "inception_v3": KerasApplication("InceptionV3", 299),
    "mobilenet_v2": KerasApplication("MobileNetV2", 224),
    "resnet50": KerasApplication("ResNet50", 224, CAFFE_MEAN, (1.0, 1.0, 1.0), "BGR"),
    "efficientnet_b0": KerasApplication("EfficientNetB0", 224, **NOTHING),
}


@dataclass
class ConvertedModel:
    """An ONNX graph with its spec, and how well it agrees with its original (None: it is the original)."""

    onnx: object
    source: str
    agreement: float | None = None

    def serialize(self) -> bytes:
        return self.onnx.SerializeToString()


def preprocessing(width: int, height: int, mean, std, channels: str = "RGB", layout: str = "NHWC") -> dict:
    """Describe preprocessing in the words of `pixelplum.core.pictures.Preprocessing`."""
    return {
        "width": width, "height": height, "mean": list(mean), "std": list(std), "channels": channels, "layout": layout,
    }  # fmt: skip


def convert_application(name: str, weights: str | None, seed: int = 0) -> ConvertedModel:
    """Convert a network of keras.applications, its top replaced by global average pooling.

    Parameters
    ----------
    name : str
        A key of `KERAS_APPLICATIONS`.
    weights : str or None
        'imagenet' (downloaded by Keras), a weights file, or None: random.
    seed : int, default 0
        Of the random weights.

    Returns
    -------
    ConvertedModel

    Raises
    ------
    PixError
        If the name is not known, or the weights cannot be had.
    """
    import keras

    if name not in KERAS_APPLICATIONS:
        raise PixError(f"No Keras application {name!r} is known.", f"Use one of: {', '.join(KERAS_APPLICATIONS)}")
    application = KERAS_APPLICATIONS[name]
    keras.utils.set_random_seed(seed)
    try:
        network = getattr(keras.applications, application.builder)(
            include_top=False,
            pooling="avg",
            weights=weights,
            input_shape=(application.size, application.size, 3),
        )
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise PixError(
            f"The weights {weights!r} cannot be loaded: {error}",
            "Check the file or the network; --weights none --seed 7 makes random weights.",
        ) from error
    said = f"weights {weights}" if weights else f"random weights, seed {seed}"
    return convert_keras(network, application.preprocessing, source=f"keras {name}, {said}")


def convert_keras(
    network, preprocessing: dict, output: str | None = None, classes: str | None = None,
    labels: list[str] | None = None, source: str = "keras",
) -> ConvertedModel:  # fmt: skip
    """Convert a Keras model.

    Parameters
    ----------
    network : keras.Model
        One input, a batch of pictures (NHWC).
    preprocessing : dict
        See `preprocessing`.
    output, classes : str, optional
        Names of the layers that give the features and the class
        probabilities. None: the only output is the features.
    labels : list of str, optional
        Names of the classes.
    source : str
        What the model was made from, in words.

    Returns
    -------
    ConvertedModel
        Checked against TensorFlow.
    """
    import tensorflow as tf
    import tf2onnx

    names = [output, classes] if classes else [output or "features"]
    shape = (1, preprocessing["height"], preprocessing["width"], 3)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32, name="picture")])
    def run(picture):
        outputs = network(picture, training=False)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [tf.identity(tensor, name=name) for tensor, name in zip(outputs, names, strict=True)]

    model, _ = tf2onnx.convert.from_function(run, run.input_signature, opset=17)
    for node, name in zip(model.graph.output, names, strict=True):
        _rename(model.graph, node.name, name)
    converted = _with_spec(model, "picture", names[0], preprocessing, classes, labels, source)
    return _check_agreement(converted, lambda tensor: run(tensor)[0].numpy())


def convert_graphdef(
    path: Path,
    input_name: str,
    output_name: str,
    size: int | None,
    mean,
    std,
    labels: list[str] | None = None,
) -> ConvertedModel:
    """Convert a frozen GraphDef.

    Parameters
    ----------
    path : Path
        The `.pb` file.
    input_name, output_name : str
        Tensors, as ``input:0``; the input is a batch of pictures (NHWC).
    size : int, optional
        Width and height of the input. None: as the graph says.
    mean, std : sequence of float
        See `preprocessing`.
    labels : list of str, optional
        Names of the graph's classes.

    Returns
    -------
    ConvertedModel
        Checked against TensorFlow.

    Raises
    ------
    PixError
        If the file is no GraphDef, or has no such tensors.
    """
    import tensorflow as tf
    import tf2onnx
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise PixError(f"{path} is not a frozen GraphDef: {error}", "Give the .pb file of a frozen graph.") from error
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(definition, name="")
    for tensor in (input_name, output_name):
        try:
            graph.get_tensor_by_name(tensor)
        except (KeyError, ValueError) as error:
            ends = ", ".join(f"{node.name}:0" for node in definition.node[-3:])
            raise PixError(
                f"{path} has no tensor {tensor}.", f"Its last ones are {ends or 'none: it is empty'}."
            ) from error
    _, height, width, _ = _input_shape(graph, input_name, size)
    spec = preprocessing(width, height, mean, std)
    model, _ = tf2onnx.convert.from_graph_def(
        definition, input_names=[input_name], output_names=[output_name],
        shape_override={input_name: [1, height, width, 3]}, opset=17,
    )  # fmt: skip
    converted = _with_spec(model, input_name, output_name, spec, None, labels, f"GraphDef {path.name}")
    with tf.compat.v1.Session(graph=graph) as session:
        return _check_agreement(converted, lambda tensor: session.run(output_name, {input_name: tensor}))


def _input_shape(graph, input_name: str, size: int | None) -> tuple[int, int, int, int]:
    shape = graph.get_tensor_by_name(input_name).shape
    if shape.rank is None and size:
        return 1, size, size, 3
    if shape.rank != 4 or shape[3] != 3:
        raise PixError(f"{input_name} has the shape {shape}, not that of RGB pictures (1, height, width, 3).",
                       "Name the tensor that takes decoded pixels with --input.")  # fmt: skip
    height, width = (shape[axis] or size for axis in (1, 2))
    if not height or not width:
        raise PixError(f"{input_name} does not say its height and width.", "Give --size.")
    return 1, height, width, 3


def read_onnx(
    path: Path,
    input_name: str | None = None,
    output_name: str | None = None,
    preprocessing: dict | None = None,
) -> ConvertedModel:
    """Read an ONNX file; one without a spec of its own gets the given one.

    Parameters
    ----------
    path : Path
        The file.
    input_name, output_name : str, optional
        None: the only input, the only output.
    preprocessing : dict, optional
        Needed if the file carries no spec.

    Returns
    -------
    ConvertedModel

    Raises
    ------
    PixError
        If it is no ONNX file, or does not say enough.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's own classes have no common base
        raise PixError(f"{path} is not an ONNX file: {error}", "Give a file that onnx.checker accepts.") from error
    if any(prop.key == SPEC_KEY for prop in model.metadata_props) and preprocessing is None:
        return ConvertedModel(model, f"ONNX {path.name}")
    if preprocessing is None:
        raise PixError(f"{path} does not say how pictures are prepared for it.", "Give --size, and --mean and --std.")
    inputs, outputs = [node.name for node in model.graph.input], [node.name for node in model.graph.output]
    initializers = {tensor.name for tensor in model.graph.initializer}
    inputs = [name for name in inputs if name not in initializers]
    for option, wanted, names in (("--input", input_name, inputs), ("--output", output_name, outputs)):
        if (wanted is None and len(names) != 1) or (wanted is not None and wanted not in names):
            raise PixError(f"{path} has no single {option[2:]} {wanted or ''}.".replace(" .", "."),
                           f"Choose {option} from: {', '.join(names)}")  # fmt: skip
    return _with_spec(
        model,
        input_name or inputs[0],
        output_name or outputs[0],
        preprocessing,
        None,
        None,
        f"ONNX {path.name}",
    )


def save(model: ConvertedModel, path: Path) -> None:
    """Write the ONNX file."""
    path.write_bytes(model.serialize())


def _rename(graph, old: str, new: str) -> None:
    """Give an output of the graph the name that its spec uses."""
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
    for output in graph.output:
        if output.name == old:
            output.name = new


def _with_spec(model, input_name, output_name, preprocessing, classes, labels, source) -> ConvertedModel:
    import onnx

    spec = {"input": input_name, "output": output_name, "preprocessing": preprocessing}
    if classes or labels:
        spec |= {"classes": classes, "labels": labels}
    onnx.helper.set_model_props(model, {SPEC_KEY: json.dumps(spec)})
    return ConvertedModel(model, source)


def _check_agreement(converted: ConvertedModel, original) -> ConvertedModel:
    """Run both engines on smooth random pictures, and refuse a conversion that changes the features."""
    import onnxruntime

    spec = json.loads(next(p.value for p in converted.onnx.metadata_props if p.key == SPEC_KEY))
    session = onnxruntime.InferenceSession(converted.serialize(), providers=["CPUExecutionProvider"])
    differences = []
    for tensor in _test_tensors(spec["preprocessing"]):
        expected = np.asarray(original(tensor)).reshape(-1)
        (got,) = session.run([spec["output"]], {spec["input"]: tensor})
        differences.append(np.abs(got.reshape(-1) - expected).max() / max(np.abs(expected).max(), 1e-30))
    converted.agreement = float(max(differences))
    if not converted.agreement <= AGREEMENT_LIMIT:
        raise PixError(
            f"TensorFlow and ONNX Runtime disagree by {converted.agreement:.2g} of the features' size "
            f"(at most {AGREEMENT_LIMIT:g} is accepted).",
            "The graph holds an operation that does not convert faithfully: choose an earlier --output.",
        )
    return converted


def _test_tensors(preprocessing: dict, count: int = 4) -> list[np.ndarray]:
    """Draw batches of one with the smooth blobs of colour that pictures are made of."""
    random = np.random.default_rng(7)
    height, width = preprocessing["height"], preprocessing["width"]
    tensors = []
    for _ in range(count):
        blobs = random.uniform(0, 255, (8, 8, 3))
        pixels = np.kron(blobs, np.ones((-(-height // 8), -(-width // 8), 1)))[:height, :width]
        pixels = np.clip(pixels + random.normal(0, 8, pixels.shape), 0, 255)
        tensor = (pixels - preprocessing["mean"]) / preprocessing["std"]
        tensors.append(tensor[np.newaxis].astype(np.float32))
    return tensors
