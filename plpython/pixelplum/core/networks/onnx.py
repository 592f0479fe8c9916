"""A network in ONNX Runtime: bytes of an image in, feature vector out."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime

from pixelplum.core.networks.images import Preprocessing, decode, to_tensor
from pixelplum.errors import ModelBroken, ModelOutput
from pixelplum.untrusted.onnx_files import check

SPEC_KEY = "pixelplum"
"""Metadata property under which an ONNX file states its input, output and preprocessing (JSON)."""

LOADED_PER_STORED = 3
"""Memory of a loaded network against its file: 260 MB against 87 for Inception v3."""


class Network:
    """A network that is ready to run: its engine is ONNX Runtime, on one thread.

    One inference thread is deliberate: a server runs one backend per core,
    and two processes of one thread beat one process of two.

    Parameters
    ----------
    source : pathlib.Path or bytes
        The ONNX file, or its content. It carries its own spec as metadata property
        `SPEC_KEY`: ``{"input": …, "output": …, "preprocessing": {…}}``.

    Attributes
    ----------
    spec : dict
        That spec.
    preprocessing : Preprocessing
        What it wants done to images.
    loaded_bytes : int
        About what it takes in memory.

    Raises
    ------
    ModelBroken
        If the file is not an ONNX graph, names other files, or carries no spec.
    """

    engine = "ONNX Runtime"

    def __init__(self, source: Path | bytes):
        content = source if isinstance(source, bytes) else source.read_bytes()
        check(content)
        self.loaded_bytes = LOADED_PER_STORED * len(content)
        del content  # the engine reads a file faster by itself
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a class of its own per kind of fault
            raise ModelBroken(f"ONNX Runtime cannot load the model: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if SPEC_KEY not in metadata:
            raise ModelBroken(f"The ONNX file has no metadata property {SPEC_KEY!r}")
        self._read_spec(metadata[SPEC_KEY])

    def _read_spec(self, text: str | bytes) -> None:
        try:
            self.spec = json.loads(text)
            self._names = str(self.spec["input"]), str(self.spec["output"])
            self.preprocessing = Preprocessing.from_dict(self.spec["preprocessing"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelBroken(f"The metadata property {SPEC_KEY!r} is not a spec: {error!r}") from error

    @cached_property
    def dimensions(self) -> int:
        """Length of a feature vector, found by running the network once.

        Raises
        ------
        ModelBroken
            If the network cannot run.
        ModelOutput
            If the output is not one vector per image.
        """
        shape = (self.preprocessing.height, self.preprocessing.width, 3)
        return self._embed_pixels(np.full(shape, 128, np.uint8)).size

    def embed(self, content: bytes) -> np.ndarray:
        """Return the features of an image.

        Parameters
        ----------
        content : bytes
            The image's file.

        Returns
        -------
        numpy.ndarray
            float32, shape (dimensions,).

        Raises
        ------
        ImageError
            If the image cannot be read.
        ModelBroken
            If the network fails or gives numbers that are not finite.
        """
        return self._embed_pixels(self._decode(content))

    def tensor(self, content: bytes) -> np.ndarray:
        """Return what the network takes for an image: float32, a batch of one.

        Raises
        ------
        ImageError
            If the image cannot be read.
        """
        return to_tensor(self._decode(content), self.preprocessing)

    def outputs(self, content: bytes, names: list[str]) -> list[np.ndarray]:
        """Return results of the graph by their names, for one image, as they are; errors as for `embed`."""
        tensor = self.tensor(content)
        try:
            return self._session.run(names, {self._names[0]: tensor})
        except Exception as error:  # see above
            raise ModelBroken(f"{self.engine} cannot run the model: {error}") from error

    def _decode(self, content: bytes) -> np.ndarray:
        return decode(content, self.preprocessing.width, self.preprocessing.height)

    def _embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        try:
            output = np.asarray(self.embed_tensor(to_tensor(pixels, self.preprocessing)))
        except Exception as error:  # see above
            raise ModelBroken(f"{self.engine} cannot run the model: {error}") from error
        if output.ndim < 1 or output.size < 2 or output.size != max(output.shape):
            raise ModelOutput(f"The output {self._names[1]!r} has the shape {output.shape}, which is not one vector")
        if not np.isfinite(output).all():
            raise ModelBroken("The model gives numbers that are not finite")
        return output.reshape(-1).astype(np.float32)

    def embed_tensor(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for the tensor of an image as the engine has it."""
        input_name, output_name = self._names
        (output,) = self._session.run([output_name], {input_name: tensor})
        return output
