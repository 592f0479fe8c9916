"""What a frozen TensorFlow graph tells of its input, its features, its classes, and how pixels are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pixload.conversion.scaling import Affine
from pixload.errors import PixError

DECODERS = {"DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif"}
RESIZERS = {"ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ResizeArea"}
SHAPING = {"Cast", "ExpandDims", "Identity", "Squeeze", *RESIZERS}
ARITHMETIC = {"Add", "AddV2", "BiasAdd", "Sub", "Mul", "RealDiv", "Div"}
PASSING = {"Reshape", "Squeeze", "Identity", "PlaceholderWithDefault", "StopGradient", "CheckNumerics", "ExpandDims"}
LINEAR = {"MatMul", "BiasAdd", "Add", "AddV2", "Conv2D"}
CONVOLUTIONS = {"Conv2D", "DepthwiseConv2dNative", "Pad", "PadV2", "MirrorPad"}
SILENT = {"Const", "NoOp", "Assert", "Placeholder", "PlaceholderWithDefault", "SaveV2", "RestoreV2", "Assign"}
"""Operations at the end of a graph that are not its result."""


@dataclass
class ImageInput:
    """The tensor that takes the image, and what the graph does to pixels before and after it."""

    tensor: object
    size: tuple[int, int] | None
    scaling: tuple[tuple[float, ...], tuple[float, ...]] | None
    is_direct: bool = False
    """Whether a convolution takes the image as it is."""


def find_input(graph, name: str | None) -> ImageInput:
    """Find where decoded and scaled pixels enter a graph.

    A graph that decodes JPEG itself is entered behind its own decoding and
    scaling, so that every network sees images that were decoded alike.

    Parameters
    ----------
    graph : tensorflow.Graph
    name : str, optional
        The tensor or operation that the user or the source names.

    Returns
    -------
    ImageInput

    Raises
    ------
    PixError
        If there is no such tensor, or more than one could be meant.
    """
    if name is None:
        start = _only_input(graph)
    else:
        start = find_tensor(graph, name, "--input")
        if start.dtype.name == "string":
            start = _decoded(start)
        elif start.op.type != "Placeholder":
            return _within_chain(graph, start)
    if start.op.type in DECODERS:
        *_, (tensor, chain, size) = _chain(start)
        return ImageInput(tensor, size, chain.as_mean_and_std())
    *_, (last, chain, _) = _chain(start)
    is_direct = chain.is_identity and all(op.type in CONVOLUTIONS for op in last.consumers())
    return ImageInput(start, None, chain.expected_input(), is_direct)


def _only_input(graph):
    decoders = [op.outputs[0] for op in graph.get_operations() if op.type in DECODERS]
    if len(decoders) == 1:
        return decoders[0]
    placeholders = [op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder" and _may_be_images(op)]
    if len(placeholders) == 1:
        return placeholders[0]
    names = ", ".join(tensor.name for tensor in [*decoders, *placeholders])
    raise PixError(
        f"The graph has {len(placeholders) + len(decoders) or 'no'} inputs that could take an image.",
        f"Choose one with --input: {names}" if names else "Name the tensor that takes decoded pixels with --input.",
    )


def _may_be_images(op) -> bool:
    shape = op.outputs[0].shape
    return op.outputs[0].dtype.is_floating and (shape.rank is None or (shape.rank == 4 and shape[3] in (3, None)))


def _decoded(tensor):
    """Follow the bytes of a file to the operation that decodes them."""
    ahead = [tensor]
    while ahead:
        for op in ahead.pop().consumers():
            if op.type in DECODERS:
                return op.outputs[0]
            if op.type in PASSING:
                ahead += op.outputs
    raise PixError(f"{tensor.name} takes text, and nothing decodes it.", "Name the tensor that takes decoded pixels.")


def _within_chain(graph, tensor) -> ImageInput:
    """Say what the graph does to pixels before a tensor in its middle, if it is behind a decoder."""
    for op in graph.get_operations():
        if op.type in DECODERS:
            for passed, chain, size in _chain(op.outputs[0]):
                if passed is tensor:
                    return ImageInput(tensor, size, chain.as_mean_and_std())
    return ImageInput(tensor, None, None)


def _chain(tensor) -> Iterator[tuple[object, Affine, tuple[int, int] | None]]:
    """Walk from a tensor through what only reshapes and scales: each tensor, and what was done so far."""
    chain, size = Affine(), None
    while True:
        yield tensor, chain, size
        consumers = tensor.consumers()
        if len(consumers) != 1 or consumers[0].inputs[0] is not tensor:
            return
        (op,) = consumers
        if op.type in RESIZERS:
            size = constant(op.inputs[1])
            if size is None:
                return
            size = int(size[0]), int(size[1])
        elif op.type in ARITHMETIC:
            number = constant(op.inputs[1])
            if number is None or np.size(number) not in (1, 3):
                return
            number = np.ravel(number).astype(float)
            if op.type == "Mul":
                chain.multiply(number)
            elif op.type in ("RealDiv", "Div"):
                chain.multiply(1 / number)
            else:
                chain.add(-number if op.type == "Sub" else number)
        elif op.type not in SHAPING:
            return
        tensor = op.outputs[0]


def find_classes(graph, name: str | None):
    """Find the softmax of a classifier.

    Parameters
    ----------
    graph : tensorflow.Graph
    name : str, optional
        The tensor that the user names.

    Returns
    -------
    tuple of (tensorflow.Tensor, tensorflow.Tensor) or None
        Class probabilities, and the scores before the softmax; None if the
        graph is not a classifier.

    Raises
    ------
    PixError
        If what is named is not the result of a softmax.
    """
    if name is not None:
        tensor = _behind(find_tensor(graph, name, "--classes"))
        if tensor.op.type != "Softmax":
            raise PixError(
                f"{name} does not come from a softmax.", "Leave --classes out, or name the class probabilities."
            )
        return tensor, tensor.op.inputs[0]
    ends = [op.outputs[0] for op in graph.get_operations() if op.type == "Softmax" and _ends_graph(op)]
    if not ends:
        return None
    # A graph that was retrained has the softmax of its first training too: the later one is meant.
    chosen = next((tensor for tensor in ends if "final_result" in tensor.name), ends[-1])
    return chosen, chosen.op.inputs[0]


def _behind(tensor):
    """Walk back through what changes nothing but the shape."""
    while tensor.op.type in PASSING:
        tensor = tensor.op.inputs[0]
    return tensor


def _ends_graph(op) -> bool:
    consumers = [consumer for tensor in op.outputs for consumer in tensor.consumers()]
    return all(consumer.type in PASSING and _ends_graph(consumer) for consumer in consumers)


def find_features(graph, scores):
    """Find the tensor that carries the features.

    Parameters
    ----------
    graph : tensorflow.Graph
    scores : tensorflow.Tensor or None
        The scores of the classes, if there are any: then the features are
        what the linear layers before them start from.

    Returns
    -------
    tensorflow.Tensor

    Raises
    ------
    PixError
        If there are no classes, and several results.
    """
    if scores is not None:
        return _before_linear(scores)
    ends = [
        op.outputs[0]
        for op in graph.get_operations()
        if op.outputs and op.type not in SILENT and not any(tensor.consumers() for tensor in op.outputs)
    ]
    if len(ends) == 1:
        return ends[0]
    raise PixError(
        f"The graph has {len(ends)} results.", f"Choose one with --output: {', '.join(t.name for t in ends[:10])}"
    )


def _before_linear(tensor):
    while True:
        op = tensor.op
        if op.type in PASSING or (op.type in LINEAR and constant(op.inputs[1]) is not None):
            ahead = op.inputs[0]
        else:
            return tensor
        if not is_vector(ahead):  # flattened maps, whose positions matter to the layers behind
            return tensor
        tensor = ahead


def is_vector(tensor) -> bool:
    """Tell whether a tensor has one number per feature for each image, whatever its rank."""
    return tensor.shape.rank is None or all(axis in (1, None) for axis in tensor.shape.as_list()[1:-1])


def find_tensor(graph, name: str, option: str):
    """Return the tensor of this name, or the first result of the operation of this name."""
    try:
        return graph.get_tensor_by_name(name if ":" in name else f"{name}:0")
    except (KeyError, ValueError) as error:
        ends = ", ".join(op.outputs[0].name for op in graph.get_operations()[-3:] if op.outputs)
        raise PixError(
            f"The graph has no tensor {name}.", f"Name another with {option}; its last ones are {ends}."
        ) from error


def constant(tensor):
    """Return the numbers of a tensor that depends on no input, whatever their shape; None for one that does."""
    import tensorflow as tf

    op = tensor.op
    while op.type in ("Identity", "Reshape", "ExpandDims", "Squeeze"):
        op = op.inputs[0].op
    return tf.make_ndarray(op.get_attr("value")) if op.type == "Const" else None
