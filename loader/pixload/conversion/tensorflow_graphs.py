"""From a frozen TensorFlow graph to ONNX, checked against TensorFlow."""

from __future__ import annotations

import json

import numpy as np

from pixelplum.untrusted.tensorflow_graphs import VARIABLES, check
from pixload.conversion import proposals
from pixload.conversion.converted import (
    AGREEMENT_LIMIT,
    ConvertedModel,
    Wishes,
    image_tensors,
    largest_difference,
    measure_head,
    no_classes,
    not_over_features,
    start_onnx,
    write_spec,
)
from pixload.conversion.frozen_graphs import FrozenGraph
from pixload.conversion.onnx_files import cut
from pixload.conversion.scaling import SYMMETRIC, UNSCALED, describe, preprocessing
from pixload.errors import PixError, refusals

IMAGE, FEATURES = "pixelplum/image", "pixelplum/features"
"""Names of the input and the output of the graphs that are stored."""

SPEC_NODE = "pixelplum/spec"
"""A constant of the graph that holds what the ONNX file has in its metadata."""


def convert(frozen: FrozenGraph, wishes: Wishes) -> ConvertedModel:
    """Convert a frozen graph; what is not wished is proposed.

    Parameters
    ----------
    frozen : FrozenGraph
        The graph.
    wishes : Wishes
        What the user says of it.

    Returns
    -------
    ConvertedModel
        Checked against TensorFlow, with a head if the graph is a classifier
        and its labels are given.

    Raises
    ------
    PixError
        If the graph does not have what is wished, or does not say enough, or
        the engines disagree.
    """
    import tensorflow as tf

    with refusals():
        check(frozen.definition, VARIABLES)  # those are told of below
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.definition, name="")
    notes = []
    entry = proposals.find_input(graph, wishes.input or frozen.input)
    if wishes.input is None and frozen.input is None:
        notes.append(f"input {entry.tensor.name}")
    prepared = _preprocessing(entry, frozen, wishes, notes)
    classes = proposals.find_classes(graph, wishes.classes)
    later = None
    if wishes.output is None or wishes.output == frozen.layer:
        features = _named_or_found(graph, frozen, classes)
        if features.name != frozen.output:
            notes.append(f"output {features.name}")
    else:
        try:
            features = proposals.find_tensor(graph, wishes.output, "--output")
        except PixError as error:
            later = wishes.output  # pix model layers lists the tensors of the converted graph
            features, unknown = _named_or_found(graph, frozen, classes), error
    if classes is not None and wishes.labels is None and wishes.output is None:
        notes.append(f"no classes, though {classes[0].name} gives them: --labels names them")
    with_classes = classes if wishes.labels is not None else None
    if wishes.labels is not None and classes is None:
        raise no_classes()
    if with_classes is not None and (later is not None or not proposals.is_vector(features)):
        raise not_over_features()
    small = _Entered(frozen.definition, entry.tensor.name, features.name, with_classes, prepared)
    converted = _to_onnx(small, prepared, frozen.source)
    if with_classes is not None:
        converted.head = measure_head(small.scores, small.dimensions, wishes.labels)
    _check_agreement(converted, small)
    if later is not None:
        converted.onnx = cut(converted.onnx, later, unknown)
        converted.frozen = converted.head = None
    converted.proposals = notes
    return converted


def _named_or_found(graph, frozen: FrozenGraph, proposed):
    if proposed is None and frozen.output is not None:
        return proposals.find_tensor(graph, frozen.output, "--output")
    return proposals.find_features(graph, proposed[1] if proposed else None)


def _preprocessing(entry: proposals.ImageInput, frozen: FrozenGraph, wishes: Wishes, notes: list[str]) -> dict:
    shape = entry.tensor.shape
    if shape.rank is not None and (shape.rank != 4 or shape[3] not in (3, None)):
        raise PixError(f"{entry.tensor.name} has the shape {shape}, not that of RGB images (1, height, width, 3).",
                       "Name the tensor that takes decoded pixels with --input.")  # fmt: skip
    graph_size = (shape[1], shape[2]) if shape.rank else (None, None)
    entry_size = entry.size or (None, None)
    height, width = (graph_size[axis] or entry_size[axis] or wishes.size for axis in (0, 1))
    if not height or not width:
        raise PixError(f"{entry.tensor.name} does not say its height and width.", "Give --size.")
    if wishes.size and (height, width) != (wishes.size, wishes.size):
        raise PixError(f"{entry.tensor.name} takes images of {width} x {height} pixels.", "Leave --size out.")
    # What a network was trained with holds for its own input, not for one with something of the user's before it.
    scaling = entry.scaling or (frozen.scaling if entry.is_direct else None)
    channels = frozen.channels if scaling is frozen.scaling else "RGB"
    mean, std = scaling or (UNSCALED if frozen.scaling else SYMMETRIC)
    if wishes.mean is None or wishes.std is None:
        certain = "" if scaling else " (a guess: --mean and --std change it)"
        notes.append(f"pixels {describe(wishes.mean or mean, wishes.std or std)}{certain}")
    return preprocessing(width, height, wishes.mean or mean, wishes.std or std, channels)


class _Entered:
    """A graph that begins with the image and ends with the features, and the session that runs it."""

    def __init__(self, definition, input_name: str, output_name: str, classes, prepared: dict):
        import tensorflow as tf

        self.graph = tf.Graph()
        with self.graph.as_default():
            shape = (1, prepared["height"], prepared["width"], 3)
            image = tf.compat.v1.placeholder(tf.float32, shape, IMAGE)
            wanted = [output_name] + [tensor.name for tensor in classes or ()]
            try:
                features, *rest = tf.import_graph_def(definition, {input_name: image}, return_elements=wanted, name="")
            except ValueError as error:
                raise PixError(
                    f"The graph cannot take a batch of one image: {error}", "Choose another --input."
                ) from error
            self._features, self._classes = features, rest
            vector = features
            if not proposals.is_vector(features):
                # A layer of maps becomes a vector of their means, as the last layer does.
                vector = tf.reduce_mean(features, axis=list(range(1, features.shape.rank - 1)))
            tf.identity(vector, name=FEATURES)
        self._refuse_other_inputs()
        self.dimensions = vector.shape.as_list()[-1] if vector.shape.rank else None
        self._session = tf.compat.v1.Session(graph=self.graph)

    def _refuse_other_inputs(self) -> None:
        needed = [node for node in self.definition.node if node.op == "Placeholder" and node.name != IMAGE]
        variables = [node for node in self.definition.node if node.op in VARIABLES]
        if variables:
            raise PixError(
                f"The graph has variables, such as {variables[0].name}.", "Freeze it first: variables become constants."
            )
        if needed:
            raise PixError(
                f"The features depend on further inputs: {', '.join(node.name for node in needed)}.",
                "Make constants of them before freezing the graph, or choose another --output.",
            )

    @property
    def definition(self):
        """The graph without what is not needed for the features."""
        import tensorflow as tf

        return tf.compat.v1.graph_util.extract_sub_graph(self.graph.as_graph_def(), [FEATURES])

    def features(self, tensor: np.ndarray) -> np.ndarray:
        return self._session.run(f"{FEATURES}:0", {f"{IMAGE}:0": tensor})

    def classes(self, tensor: np.ndarray) -> np.ndarray:
        return self._session.run(self._classes[0], {f"{IMAGE}:0": tensor})

    def scores(self, vector: np.ndarray) -> np.ndarray:
        """Run only the layers between the features and the softmax."""
        import tensorflow as tf

        fed = vector.reshape([axis or 1 for axis in self._features.shape.as_list()])
        try:
            return self._session.run(self._classes[1], {self._features: fed})
        except tf.errors.OpError as error:  # the scores come before the features
            raise not_over_features() from error


def _to_onnx(small: _Entered, prepared: dict, source: str) -> ConvertedModel:
    import tensorflow as tf
    import tf2onnx

    definition = small.definition
    input_name, output_name = f"{IMAGE}:0", f"{FEATURES}:0"
    try:
        model, _ = tf2onnx.convert.from_graph_def(
            definition, input_names=[input_name], output_names=[output_name], opset=17
        )
    except Exception as error:  # tf2onnx raises what comes
        raise PixError(
            f"The graph cannot be converted to ONNX: {error}", "Choose an earlier --output, or import an ONNX file."
        ) from error
    write_spec(model, input_name, output_name, prepared)
    converted = ConvertedModel(model, source)
    spec = definition.node.add(name=SPEC_NODE, op="Const")
    spec.attr["dtype"].type = tf.string.as_datatype_enum
    spec.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(json.dumps(converted.spec)))
    converted.frozen = definition.SerializeToString()
    return converted


def _check_agreement(converted: ConvertedModel, small: _Entered) -> None:
    """Run both engines on smooth random images, and refuse a conversion that changes the features."""
    spec = converted.spec
    session = start_onnx(converted.onnx)
    differences = []
    for tensor in image_tensors(spec["preprocessing"]):
        (got,) = session.run([spec["output"]], {spec["input"]: tensor})
        differences.append(largest_difference(got, small.features(tensor)))
        if converted.head is not None:
            probabilities = converted.head.probabilities(got.reshape(-1).astype(np.float64))
            differences.append(largest_difference(probabilities, small.classes(tensor)))
    converted.agreement = float(max(differences))
    if not converted.agreement <= AGREEMENT_LIMIT:
        raise PixError(
            f"TensorFlow and ONNX Runtime disagree by {converted.agreement:.2g} of the features' size "
            f"(at most {AGREEMENT_LIMIT:g} is accepted).",
            "The graph holds an operation that does not convert faithfully: choose an earlier --output.",
        )
