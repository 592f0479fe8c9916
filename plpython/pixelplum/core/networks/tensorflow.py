"""A network in TensorFlow, for those who want the original engine in the server."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pixelplum.core.networks.onnx import Network
from pixelplum.errors import EngineMissing, ModelBroken
from pixelplum.untrusted.tensorflow_graphs import check

SPEC_NODE = "pixelplum/spec"
"""A constant of the graph that holds its spec (JSON), as an ONNX file's metadata does."""

SMALLEST_MB = 64


class TensorFlowNetwork(Network):
    """A frozen TensorFlow graph that is ready to run.

    Parameters
    ----------
    path : pathlib.Path
        The GraphDef. It carries its spec in the constant `SPEC_NODE`.
    threads : int
        Threads that work on an image.
    memory_mb : int
        MiB that this process may take, as a whole. TensorFlow's own
        allocator is told this limit before TensorFlow is imported; later
        calls in the same process cannot change it.

    Raises
    ------
    EngineMissing
        If TensorFlow is not installed.
    ModelBroken
        If the file is not such a graph, holds anything but computations, or takes more memory than it may.
    """

    engine = "TensorFlow"

    def __init__(self, path: Path, threads: int = 1, memory_mb: int = 2048):
        before = resident_mb()
        with _no_signals():
            tf = _import_tensorflow(memory_mb)
            try:
                definition = tf.compat.v1.GraphDef()
                definition.ParseFromString(path.read_bytes())
                check(definition)
                spec = next(node for node in definition.node if node.name == SPEC_NODE)
                self._read_spec(spec.attr["value"].tensor.string_val[0])
                graph = tf.Graph()
                with graph.as_default():
                    tf.import_graph_def(definition, name="")
                del definition
                options = tf.compat.v1.ConfigProto(
                    intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1, use_per_session_threads=True
                )
                self._session = tf.compat.v1.Session(graph=graph, config=options)
            except ModelBroken:
                raise
            except Exception as error:  # protobuf's and TensorFlow's own classes have no common base
                raise ModelBroken(f"TensorFlow cannot load the model: {str(error)[:200]}") from error
            _ = self.dimensions  # the first run starts the threads, and takes the memory
        taken = resident_mb()
        self.loaded_bytes = int(max(taken - before, 0)) << 20
        if taken > memory_mb:
            self._session.close()
            raise ModelBroken(
                f"TensorFlow takes {taken:,.0f} MB for this model, more than tensorflow_memory_mb ({memory_mb:,})",
                hint="Raise tensorflow_memory_mb in pix.settings and open a new connection, or leave engine out.",
            )

    def embed_tensor(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for the tensor of an image as the engine has it."""
        input_name, output_name = self._names
        return self._session.run(output_name, {input_name: tensor})


def _import_tensorflow(memory_mb: int):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")  # the only one of its allocators that knows a limit
    os.environ.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(max(memory_mb, SMALLEST_MB)))
    # TensorFlow brings an LLVM, PostgreSQL compiles queries with another, and where the names of one are bound to the
    # other, the server crashes. So TensorFlow's libraries do not offer their names to others, which this module of
    # theirs would see to, and do not take the names of others.
    sys.modules["tensorflow.python.pywrap_dlopen_global_flags"] = None
    before = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
    try:
        import tensorflow
    except ImportError as error:
        raise EngineMissing(f"TensorFlow is not installed on this host: {error}") from error
    finally:
        sys.setdlopenflags(before)
    return tensorflow


@contextmanager
def _no_signals() -> Iterator[None]:
    """Let threads that start now leave the server's signals to the main thread."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def resident_mb() -> float:
    """Return the memory that this process has, in MiB."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
