"""SavedModels as frozen graphs."""

from __future__ import annotations

from pathlib import Path

from pixelplum.untrusted.tensorflow_graphs import check_saved
from pixload.conversion.frozen_graphs import FrozenGraph, freeze
from pixload.errors import PixError, refusals


def load(path: Path) -> FrozenGraph:
    """Load a SavedModel.

    Parameters
    ----------
    path : Path
        Its folder.

    Returns
    -------
    FrozenGraph

    Raises
    ------
    PixError
        If it is not a SavedModel, does anything but compute, or has no signature of one image.
    """
    import tensorflow as tf
    from tensorflow.python.saved_model.loader_impl import parse_saved_model

    try:
        for meta_graph in parse_saved_model(str(path)).meta_graphs:
            with refusals():
                check_saved(meta_graph)
        loaded = tf.saved_model.load(str(path))
    except PixError:
        raise
    except Exception as error:  # whatever the folder makes of TensorFlow
        raise PixError(
            f"{path} is not a SavedModel that can be loaded: {str(error).splitlines()[0]}",
            "Give the folder that holds saved_model.pb.",
        ) from error
    signatures = dict(loaded.signatures)
    function = signatures.get("serving_default") or next(iter(signatures.values()), None)
    if function is None or len(function.inputs) - len(function.captured_inputs) != 1:
        raise PixError(
            f"{path} has no signature that takes one image.",
            "Export it with a signature, such as model.export() does.",
        )
    return freeze(function, f"SavedModel {path.name}")
