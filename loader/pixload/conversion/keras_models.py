"""Keras models as frozen graphs: applications by name, and .keras files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pixload.conversion.frozen_graphs import FrozenGraph, freeze
from pixload.conversion.scaling import CAFFE, SYMMETRIC, UNSCALED
from pixload.errors import PixError


@dataclass(frozen=True)
class Application:
    """A network of keras.applications, and the preprocessing it was trained with.

    Parameters
    ----------
    builder : str
        Name of the function that builds it.
    layer : str
        How Keras names the network itself, as a layer of another one: a
        regular expression.
    size : int
        Width and height of the input in pixels.
    """

    builder: str
    layer: str
    size: int
    scaling: tuple = SYMMETRIC
    channels: str = "RGB"


APPLICATIONS = {
    "inception_v3": Application("InceptionV3", r"inception_v3", 299),
    "mobilenet_v2": Application("MobileNetV2", r"mobilenetv2_[\d.]+_\d+", 224),
    "resnet50": Application("ResNet50", r"resnet50", 224, CAFFE, "BGR"),
    "efficientnet_b0": Application("EfficientNetB0", r"efficientnetb0", 224, UNSCALED),
}


def load_application(name: str, weights: str | None, seed: int = 0, layer: str | None = None) -> FrozenGraph:
    """Build a network of keras.applications, its top replaced by global average pooling.

    Parameters
    ----------
    name : str
        A key of `APPLICATIONS`.
    weights : str or None
        'imagenet' (downloaded by Keras), a weights file, or None: random.
    seed : int, default 0
        Of the random weights.
    layer : str, optional
        An earlier layer that ends the graph.

    Returns
    -------
    FrozenGraph

    Raises
    ------
    PixError
        If the name is not known, or the weights cannot be had.
    """
    if name not in APPLICATIONS:
        raise PixError(
            f"No Keras application {name!r} is known.", f"Use a .keras file, or one of: {', '.join(APPLICATIONS)}"
        )
    import keras

    application = APPLICATIONS[name]
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
    weights_note = f"weights {weights}" if weights else f"random weights, seed {seed}"
    return freeze_keras(network, f"keras {name}, {weights_note}", layer)


def load_file(path: Path, layer: str | None = None) -> FrozenGraph:
    """Load a `.keras` or `.h5` file.

    Parameters
    ----------
    path : Path
        The file.
    layer : str, optional
        An earlier layer that ends the graph.

    Returns
    -------
    FrozenGraph

    Raises
    ------
    PixError
        If it is not a Keras model, or holds code (a Lambda layer), or more than
        one input.
    """
    import keras

    try:
        network = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever the file makes of Keras
        message = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise PixError(
            f"{path} is not a Keras model that can be loaded: {message}",
            "Save it again with Keras 3, without Lambda layers or classes of your own: they would run code.",
        ) from error
    return freeze_keras(network, f"keras {path.name}", layer)


def freeze_keras(network, source: str, layer: str | None = None) -> FrozenGraph:
    """Freeze a Keras model of one image input.

    Parameters
    ----------
    network : keras.Model
        Batches of images (NHWC) in.
    source : str
        What it comes from, in words.
    layer : str, optional
        The layer that ends the graph, if the model has one of this name.

    Returns
    -------
    FrozenGraph
    """
    import keras
    import tensorflow as tf

    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4:
        raise PixError(f"The Keras model takes {shape}, not one batch of images.", "Use a model of one image.")
    layer = layer if layer in {application.name for application in network.layers} else None
    application = _application_within(network)
    if layer is not None:
        network = keras.Model(network.inputs, network.get_layer(layer).output)

    @tf.function(input_signature=[tf.TensorSpec((1, *shape[1:]), tf.float32, name="image")])
    def run(image):
        return network(image, training=False)

    scaling, channels = (application.scaling, application.channels) if application else (None, "RGB")
    return freeze(run.get_concrete_function(), source, layer=layer, scaling=scaling, channels=channels)


def _application_within(network) -> Application | None:
    """Find out whether a model is one of the applications, or was built on one."""
    names = [network.name, *(layer.name for layer in getattr(network, "layers", ()))]
    return next(
        (
            application
            for application in APPLICATIONS.values()
            for name in names
            if re.fullmatch(application.layer + r"(_\d+)?", name)
        ),
        None,
    )
