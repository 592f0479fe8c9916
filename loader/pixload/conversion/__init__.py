"""From the formats that networks come in to an ONNX file that says itself how to use it.

    Keras application, .keras ──> keras_models ─┐
    SavedModel ─────────────────> saved_models ─┼─> a frozen graph ──> tensorflow_graphs ──> ONNX
    frozen graph (.pb) ─────────> frozen_graphs ┘
    ONNX ───────────────────────> onnx_files

What the user does not say (input, output, how pixels are scaled) is read off the graph in `proposals`.
TensorFlow and onnx are imported where they are needed: they take seconds, and most commands do without.
"""

import logging
import os

# Looked at when TensorFlow and ONNX Runtime are imported: no chatter, no reports to their makers.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it advises against the functions that read old graphs
