"""The layers of a network, and the maps of activation that they make of an image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
from PIL import Image

from pixelplum.core.networks.onnx import Network
from pixelplum.errors import UnknownLayer

POINTWISE = {"Identity", "Relu", "Clip", "Sigmoid", "HardSwish", "Mul", "Add", "QuantizeLinear", "DequantizeLinear"}

SMALLEST_SIDE = 128
"""Maps are enlarged to at least this many pixels, by whole factors."""


class Layers:
    """A network whose every layer can be looked at.

    Parameters
    ----------
    path : pathlib.Path
        The ONNX file, with its spec.

    Raises
    ------
    ModelBroken
        As for `Network`.
    """

    def __init__(self, path: Path):
        self._model = onnx.load(path, load_external_data=False)
        self._nodes = {name: node for node in self._model.graph.node for name in node.output if name}

    def describe(self) -> list[tuple[str, str, list[int]]]:
        """Return name, operation and shape for one image of all that depends on the image, in order.

        The network is run once: shapes that are inferred have gaps.

        Raises
        ------
        ModelBroken
            If the network cannot run.
        """
        reached = {value.name for value in self._model.graph.input}
        for node in self._model.graph.node:
            if reached.intersection(node.input):
                reached.update(node.output)
        names = [name for name in self._nodes if name in reached]
        network = self._showing(names)
        tensors = network.outputs(_white(network), names)
        return [
            (name, self._nodes[name].op_type, list(tensor.shape)) for name, tensor in zip(names, tensors, strict=True)
        ]

    def draw_maps(self, content: bytes, layer: str, k: int) -> list[tuple[int, float, bytes]]:
        """Draw the strongest maps of a layer.

        Parameters
        ----------
        content : bytes
            The image's file.
        layer : str
            Name of a layer with maps.
        k : int
            How many channels, those with the largest mean activation.

        Returns
        -------
        list of tuple
            ``(channel, strength, png)``, the strongest first: the channel's
            number from 0, its mean activation, and a gray image as wide
            and high as the map, enlarged, from its least (black) to its
            largest activation (white).

        Raises
        ------
        ImageError
            If the image cannot be read.
        UnknownLayer
            If there is no such layer, or it has no maps.
        """
        if layer not in self._nodes:
            raise UnknownLayer(f"The model has no layer {layer!r}")
        (maps,) = self._showing([layer]).outputs(content, [layer])
        if maps.ndim != 4:
            raise UnknownLayer(f"The layer {layer!r} has the shape {list(maps.shape)}, which is not that of maps")
        maps = maps[0].transpose(2, 0, 1) if self._channels_are_last(layer) else maps[0]
        strengths = maps.mean(axis=(1, 2))
        strongest = np.argsort(-strengths, kind="stable")[:k]
        return [(int(channel), float(strengths[channel]), _draw(maps[channel])) for channel in strongest]

    def _showing(self, names: list[str]) -> Network:
        """Return the network with further results."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        outputs = {value.name for value in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in outputs
        )
        return Network(model.SerializeToString())

    def _channels_are_last(self, layer: str) -> bool:
        """ONNX keeps channels in front; converted graphs bring them behind for a result, or start so."""
        node = self._nodes[layer]
        while node.op_type in POINTWISE:
            if node.input[0] not in self._nodes:
                break
            node = self._nodes[node.input[0]]
        return node.op_type == "Transpose" and list(node.attribute[0].ints) == [0, 2, 3, 1]


def _white(network: Network) -> bytes:
    size = network.preprocessing.width, network.preprocessing.height
    return _png(Image.new("RGB", size, "white"))


def _draw(activation: np.ndarray) -> bytes:
    low, high = float(activation.min()), float(activation.max())
    gray = (activation - low) * (255 / (high - low)) if high > low else np.zeros_like(activation)
    image = Image.fromarray(gray.round().astype(np.uint8))
    factor = max(1, -(-SMALLEST_SIDE // max(image.size)))
    return _png(image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST))


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()
