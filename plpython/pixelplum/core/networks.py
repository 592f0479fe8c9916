"""A network in ONNX Runtime: bytes of a picture in, feature vector out."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import numpy as np
import onnxruntime

from pixelplum.core.pictures import Preprocessing, decode, to_tensor
from pixelplum.errors import ModelBroken, ModelOutput

SPEC_KEY = "pixelplum"
"""Metadata property under which an ONNX file states its input, output and preprocessing (JSON)."""


class Network:
    """An ONNX file that is ready to run, on one thread.

    One inference thread is deliberate: a server runs one backend per core,
    and two processes of one thread beat one process of two.

    Parameters
    ----------
    path : pathlib.Path
        The ONNX file. It carries its own spec as metadata property
        `SPEC_KEY`: ``{"input": …, "output": …, "preprocessing": {…}}``.

    Attributes
    ----------
    spec : dict
        That spec.

    Raises
    ------
    ModelBroken
        If the file is no ONNX graph, or carries no spec.
    """

    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a class of its own per kind of fault
            raise ModelBroken(f"ONNX Runtime cannot load the model: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        if SPEC_KEY not in metadata:
            raise ModelBroken(f"The ONNX file has no metadata property {SPEC_KEY!r}")
        try:
            self.spec = json.loads(metadata[SPEC_KEY])
            self._names = str(self.spec["input"]), str(self.spec["output"])
            self._preprocessing = Preprocessing.from_dict(self.spec["preprocessing"])
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
            If the output is not one vector per picture.
        """
        shape = (self._preprocessing.height, self._preprocessing.width, 3)
        return self._run(np.full(shape, 128, np.uint8)).size

    def embed(self, content: bytes) -> np.ndarray:
        """Return the features of a picture.

        Parameters
        ----------
        content : bytes
            The picture's file.

        Returns
        -------
        numpy.ndarray
            float32, shape (dimensions,).

        Raises
        ------
        PictureError
            If the picture cannot be read.
        ModelBroken
            If the network fails or gives numbers that are not finite.
        """
        return self._run(decode(content, self._preprocessing.width, self._preprocessing.height))

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        tensor = to_tensor(pixels, self._preprocessing)
        input_name, output_name = self._names
        try:
            (output,) = self._session.run([output_name], {input_name: tensor})
        except Exception as error:  # see above
            raise ModelBroken(f"ONNX Runtime cannot run the model: {error}") from error
        output = np.asarray(output)
        if output.ndim < 1 or output.size < 2 or output.size != max(output.shape):
            raise ModelOutput(f"The output {output_name!r} has the shape {output.shape}, which is not one vector")
        if not np.isfinite(output).all():
            raise ModelBroken("The model gives numbers that are not finite")
        return output.reshape(-1).astype(np.float32)
