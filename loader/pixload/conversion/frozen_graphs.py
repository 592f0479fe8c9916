"""Frozen TensorFlow graphs: read from a file, old operations replaced."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pixelplum.untrusted.tensorflow_graphs import VARIABLES, check
from pixload.errors import PixError, refusals


@dataclass(frozen=True)
class FrozenGraph:
    """A TensorFlow graph whose weights are constants.

    Parameters
    ----------
    definition : tensorflow.GraphDef
        The graph.
    source : str
        What it comes from, in words.
    input, output : str, optional
        The tensors that its source names.
    layer : str, optional
        The wished layer that the graph has been ended at.
    scaling : tuple, optional
        Mean and deviation of the pixels, where the source says so.
    channels : {'RGB', 'BGR'}
        Order of the color channels.
    """

    definition: object
    source: str
    input: str | None = None
    output: str | None = None
    layer: str | None = None
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    channels: str = "RGB"


def read_graph(path: Path) -> FrozenGraph:
    """Read a frozen GraphDef.

    Parameters
    ----------
    path : Path
        The `.pb` file.

    Returns
    -------
    FrozenGraph

    Raises
    ------
    PixError
        If the file is not a GraphDef, or an empty one, or holds anything but computations and variables.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    definition = tf.compat.v1.GraphDef()
    try:
        definition.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise PixError(f"{path} is not a frozen GraphDef: {error}", "Give the .pb file of a frozen graph.") from error
    with refusals():
        check(definition, VARIABLES)
    if not definition.node:
        raise PixError(f"{path} is an empty graph.", "Give the .pb file of a frozen graph.")
    for node in definition.node:
        if "_output_shapes" in node.attr:  # of the batch that it was trained with
            del node.attr["_output_shapes"]
    replace_old_batch_norms(definition)
    return FrozenGraph(definition, f"GraphDef {path.name}")


def freeze(function, source: str, **properties) -> FrozenGraph:
    """Turn a concrete function, of one image tensor, into a frozen graph.

    Parameters
    ----------
    function : tensorflow ConcreteFunction
        Its first input is the image.
    source : str
        What it comes from, in words.
    **known
        Further fields of `FrozenGraph`.

    Returns
    -------
    FrozenGraph
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function)
    definition = frozen.graph.as_graph_def()
    output = frozen.outputs[0].name if len(frozen.outputs) == 1 else None
    return FrozenGraph(definition, source, input=frozen.inputs[0].name, output=output, **properties)


def replace_old_batch_norms(definition) -> None:
    """Replace BatchNormWithGlobalNormalization, of the graphs of 2015, by a multiplication and an addition.

    TensorFlow runs it only in graphs that say they are that old, and no converter knows it.
    """
    constants = {node.name: node.attr["value"].tensor for node in definition.node if node.op == "Const"}
    nodes = list(definition.node)
    old = [node for node in nodes if node.op == "BatchNormWithGlobalNormalization"]
    if not old:
        return
    del definition.node[:]
    for node in nodes:
        if node.op == "BatchNormWithGlobalNormalization":
            definition.node.extend(_as_arithmetic(node, constants))
        else:
            definition.node.append(node)
    definition.versions.producer = max(definition.versions.producer, 9)


def _as_arithmetic(node, constants: dict) -> list:
    import tensorflow as tf

    numbers = []
    for name in node.input[1:5]:
        if name.split(":")[0] not in constants:
            raise PixError(
                f"The batch norm {node.name} has parameters that are not constants.",
                "Freeze the graph before importing it.",
            )
        numbers.append(tf.make_ndarray(constants[name.split(":")[0]]).astype(np.float64))
    mean, variance, beta, gamma = numbers
    factor = 1 / np.sqrt(variance + node.attr["variance_epsilon"].f)
    if node.attr["scale_after_normalization"].b:
        factor = factor * gamma
    made = []
    for suffix, value in (("factor", factor), ("offset", beta - mean * factor)):
        constant = tf.compat.v1.NodeDef(name=f"{node.name}/{suffix}", op="Const")
        constant.attr["dtype"].type = tf.float32.as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.astype(np.float32)))
        made.append(constant)
    scaled = tf.compat.v1.NodeDef(name=f"{node.name}/scaled", op="Mul", input=[node.input[0], made[0].name])
    shifted = tf.compat.v1.NodeDef(name=node.name, op="Add", input=[scaled.name, made[1].name, *node.input[5:]])
    for arithmetic in (scaled, shifted):
        arithmetic.attr["T"].type = tf.float32.as_datatype_enum
    return [*made, scaled, shifted]
