"""What a conversion ends with, and what the user may wish of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pixload.errors import PixError

SPEC_KEY = "pixelplum"
"""The metadata property of the ONNX file that holds input, output and preprocessing."""

AGREEMENT_LIMIT = 1e-4
"""Largest difference between the engines, relative to the largest feature."""


@dataclass(frozen=True)
class Wishes:
    """What the user says of a model; what is None is proposed.

    Parameters
    ----------
    input, output, classes : str, optional
        Tensors (``pool_3:0``) or layers that take the image, give the
        features, and give the probabilities of classes.
    size : int, optional
        Width and height of the input in pixels.
    mean, std : tuple of float, optional
        Per channel: the input is ``(pixel - mean) / std`` of pixels in 0…255.
    labels : list of str, optional
        Names of the classes, in their order.
    """

    input: str | None = None
    output: str | None = None
    classes: str | None = None
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: list[str] | None = None


@dataclass(frozen=True)
class Head:
    """The final layer of a classifier: class probabilities are softmax(weights @ features + intercepts).

    Parameters
    ----------
    labels : list of str
        Names of the classes.
    weights : numpy.ndarray
        float32, shape (classes, dimensions).
    intercepts : numpy.ndarray
        float32, shape (classes,).
    """

    labels: list[str]
    weights: np.ndarray
    intercepts: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Return float64, shape (classes,), that sum to 1."""
        scores = self.weights.astype(np.float64) @ features + self.intercepts
        exponentials = np.exp(scores - scores.max())
        return exponentials / exponentials.sum()


@dataclass
class ConvertedModel:
    """An ONNX graph with its spec.

    Parameters
    ----------
    onnx : onnx.ModelProto
        The graph.
    source : str
        What it was made from, in words.
    agreement : float, optional
        How well it agrees with its original. None: it is the original.
    frozen : bytes, optional
        The TensorFlow graph that it was made from.
    head : Head, optional
        Its classes.
    proposals : list of str
        What was not said and has been found out, in words.
    """

    onnx: object
    source: str
    agreement: float | None = None
    frozen: bytes | None = None
    head: Head | None = None
    proposals: list[str] = field(default_factory=list)

    def serialize(self) -> bytes:
        return self.onnx.SerializeToString()

    @property
    def spec(self) -> dict:
        """Input, output and preprocessing, as the file states them."""
        return json.loads(next(entry.value for entry in self.onnx.metadata_props if entry.key == SPEC_KEY))


def save(model: ConvertedModel, path: Path) -> None:
    """Write the ONNX file."""
    path.write_bytes(model.serialize())


def write_spec(model, input_name: str, output_name: str, preprocessing: dict, **classes) -> None:
    """Write into an ONNX graph how it is used; `classes` and `labels` too, if it gives class probabilities."""
    import onnx

    spec = {"input": input_name, "output": output_name, "preprocessing": preprocessing, **classes}
    onnx.helper.set_model_props(model, {SPEC_KEY: json.dumps(spec)})


def measure_head(run: Callable[[np.ndarray], np.ndarray], dimensions: int, labels: list[str]) -> Head:
    """Find the weights of a final layer by running it on the unit vectors, whatever operations it is made of.

    Parameters
    ----------
    run : callable
        From features, shape (dimensions,), to the scores before the softmax,
        shape (classes,).
    dimensions : int
        Number of features.
    labels : list of str
        Names of the classes.

    Returns
    -------
    Head

    Raises
    ------
    PixError
        If the labels are not as many as the classes, or the layer is not
        affine in the features.
    """
    intercepts = np.asarray(run(np.zeros(dimensions, np.float32)), np.float64).reshape(-1)
    if len(labels) != len(intercepts):
        raise PixError(
            f"There are {len(labels)} labels for {len(intercepts)} classes.",
            "Give --labels a file with one class name a line, in the order of the model's classes.",
        )
    columns = [np.asarray(run(unit), np.float64).reshape(-1) - intercepts for unit in np.eye(dimensions, dtype="f4")]
    head = Head(labels, np.float32(np.stack(columns, axis=1)), np.float32(intercepts))
    probe = np.random.default_rng(7).uniform(0, 1, dimensions).astype(np.float32)
    expected = np.asarray(run(probe), np.float64).reshape(-1)
    if np.abs(head.weights @ probe + intercepts - expected).max() > 1e-3 * max(np.abs(expected).max(), 1):
        raise not_over_features()
    return head


def not_over_features(why: str = "") -> PixError:
    """Say that classes do not follow from the features that were chosen."""
    return PixError(
        f"The classes are not one softmax layer over the features{why}.",
        "Leave --output out, so that the layer before the classes is taken; or leave --labels out.",
    )


def no_classes() -> PixError:
    """Say that there is nothing that labels could name."""
    return PixError(
        "The model gives no class probabilities that could be named: none of its results is a softmax over features.",
        "Leave --labels out, or name the tensor with --classes.",
    )


def start_onnx(model):
    """Start an ONNX graph.

    Raises
    ------
    PixError
        If ONNX Runtime cannot.
    """
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own per kind of fault
        raise PixError(
            f"ONNX Runtime cannot run the model: {error}", "Export it in another version of ONNX."
        ) from error


def largest_difference(got: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, relative to the largest number that was expected."""
    got, expected = np.reshape(got, -1), np.reshape(expected, -1)
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-30))


def image_tensors(preprocessing: dict, count: int = 4) -> list[np.ndarray]:
    """Draw batches of one (NHWC) with the smooth blobs of color that images are made of."""
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
