"""pix.embed with Inception v3 against TensorFlow: one process and one thread each, the same images.

Peers: a script that runs a frozen graph in a session that it keeps, one image after another, as image_retraining's
score.py did; and Keras's predict in batches of 32. Both decode and scale with TensorFlow. Images and models are in
memory before the time is taken, on all sides, and every process is bound to the same core.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import psutil
import psycopg2

from benchmarks.tools import execute, inception, photographs, pix, seconds
from pixload.conversion.onnx_files import read_onnx
from pixload.models import import_model

IMAGES = 64
ROUNDS = 5
SEED = 7
CORE = max(os.sched_getaffinity(0))


def session_peer(contents: list[bytes], go, done) -> None:
    """Time a TensorFlow session that takes one image at a time."""
    tf = one_thread()
    from pixload.conversion.keras_models import load_application

    frozen = load_application("inception_v3", None, SEED)
    graph = tf.Graph()
    with graph.as_default():
        content = tf.compat.v1.placeholder(tf.string)
        pixels = tf.image.resize(tf.image.decode_jpeg(content, channels=3)[tf.newaxis], (299, 299)) / 127.5 - 1
        image = tf.compat.v1.placeholder(tf.float32, (1, 299, 299, 3))
        (features,) = tf.import_graph_def(
            frozen.definition, {frozen.input: image}, return_elements=[frozen.output], name=""
        )
    with tf.compat.v1.Session(graph=graph) as session:

        def work() -> None:
            for jpeg in contents:
                session.run(features, {image: session.run(pixels, {content: jpeg})})

        serve(work, go, done)


def keras_peer(contents: list[bytes], go, done) -> None:
    """Time Keras's predict, decoding included."""
    tf = one_thread()
    import keras
    import numpy as np

    keras.utils.set_random_seed(SEED)
    network = keras.applications.InceptionV3(include_top=False, pooling="avg", weights=None, input_shape=(299, 299, 3))

    def work() -> None:
        pixels = [tf.image.resize(tf.image.decode_jpeg(jpeg, channels=3), (299, 299)).numpy() for jpeg in contents]
        network.predict(np.stack(pixels) / 127.5 - 1, batch_size=32, verbose=0)

    serve(work, go, done)


def one_thread():
    """Import TensorFlow for one thread on one core."""
    os.sched_setaffinity(0, {CORE})
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return tf


def serve(work, go, done) -> None:
    """Run once for warm-up, then once whenever asked; tell the time, and its own memory in bytes."""
    work()
    done.put(None)
    while go.get():
        begun = time.perf_counter()
        work()
        done.put((time.perf_counter() - begun, psutil.Process().memory_full_info().uss))


class Peer:
    """A process of its own, which works when it is asked to."""

    def __init__(self, target, contents: list[bytes]):
        context = multiprocessing.get_context("spawn")
        self._go, self._done = context.Queue(), context.Queue()
        self._process = context.Process(target=target, args=(contents, self._go, self._done))
        self._process.start()
        self._done.get()
        self.memory = 0

    def speed(self) -> float:
        self._go.put(True)
        taken, self.memory = self._done.get()
        return IMAGES / taken

    def stop(self) -> None:
        self._go.put(False)
        self._process.join()


class Backend:
    """A connection whose backend runs a model on every image when it is asked to."""

    def __init__(self, bench, model_name: str):
        self._connection = psycopg2.connect(bench.dsn)
        psutil.Process(self._connection.info.backend_pid).cpu_affinity([CORE])
        self._cursor = self._connection.cursor()
        self._cursor.execute("SET max_parallel_workers_per_gather = 0")
        self._statement = f"SELECT count(pix.embed(content, '{model_name}')) FROM pix.images"
        self._cursor.execute(self._statement)

    def speed(self) -> float:
        return IMAGES / seconds(lambda: self._cursor.execute(self._statement))

    @property
    def memory(self) -> int:
        """Bytes of its own: the server's buffers are shared by all."""
        return psutil.Process(self._connection.info.backend_pid).memory_full_info().uss

    def stop(self) -> None:
        self._connection.close()


def run(bench) -> None:
    if bench.segments:
        print("  left out: on Greenplum the segments embed, not one process")
        return
    with tempfile.TemporaryDirectory(dir=bench.home) as folder:
        paths = photographs(IMAGES, Path(folder) / "images")
        pix(bench, "load", "images", Path(folder) / "images")
        contents = [path.read_bytes() for path in paths]
    connection = psycopg2.connect(bench.dsn)
    import_model(connection, "inception_v3", read_onnx(inception()))
    connection.commit()
    connection.close()
    pix(bench, "model", "quantize", "inception_v3", "--as", "inception_v3_int8", "--calibrate", 32, "--force")
    (report,) = execute(bench, "SELECT overlap, float_ms, int8_ms, float_mb, int8_mb FROM pix.quantizations")
    print("  INT8: {:.1%} of neighbors stay; {:.1f} ms, {:.1f} in INT8; {:.0f} MB, {:.0f} in INT8".format(*report))
    runners = {
        "session": Peer(session_peer, contents),
        "keras": Peer(keras_peer, contents),
        "float32": Backend(bench, "inception_v3"),
        "int8": Backend(bench, "inception_v3_int8"),
    }
    rounds = []
    for number in range(ROUNDS):
        order = list(runners) if number % 2 else list(runners)[::-1]
        rounds.append({name: runners[name].speed() for name in order})
    memory = {name: runner.memory for name, runner in runners.items()}
    for runner in runners.values():
        runner.stop()
    for name in runners:
        print(f"  {name}: {median(speeds[name] for speeds in rounds):.2f} images/s, {memory[name] >> 20} MB")
    for name, goal in (("float32", 1.25), ("int8", 1.6)):
        ratio = median(speeds[name] / max(speeds["session"], speeds["keras"]) for speeds in rounds)
        fraction = memory[name] / min(memory["session"], memory["keras"])
        print(
            f"  {name}: ratio {ratio:.2f} to the faster of the two (goal: at least {goal}), "
            f"{fraction:.2f} of the smaller's memory (goal: at most 0.33)"
        )
    execute(bench, "DELETE FROM pix.images")
