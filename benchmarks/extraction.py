"""pix.extract_features with Inception v3, against a bare ONNX Runtime loop in as many processes as cores.

Ours: the whole CALL, with model loading, planning, writing and committing.
Peer: decoding and inference alone, timed after every process has loaded the model.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import psycopg2

from benchmarks.tools import CORES, compare, execute, inception, photographs, pix, seconds
from pixelplum.core.networks import SPEC_KEY
from pixelplum.core.pictures import Preprocessing, decode, to_tensor
from pixload.conversion import read_onnx
from pixload.models import import_model

PICTURES = 1000
ROUNDS = 3


def bare_loop(model: Path, pictures: list[Path], ready, done) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map[SPEC_KEY])
    preprocessing = Preprocessing.from_dict(spec["preprocessing"])
    contents = [path.read_bytes() for path in pictures]
    ready.wait()
    begun = time.perf_counter()
    for content in contents:
        tensor = to_tensor(decode(content, preprocessing.width, preprocessing.height), preprocessing)
        session.run([spec["output"]], {spec["input"]: tensor})
    done.put((begun, time.perf_counter()))


def peer_speed(model: Path, pictures: list[Path]) -> float:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(CORES), context.Queue()
    processes = [
        context.Process(target=bare_loop, args=(model, pictures[core::CORES], ready, done)) for core in range(CORES)
    ]
    for process in processes:
        process.start()
    times = [done.get() for _ in processes]
    for process in processes:
        process.join()
    return len(pictures) / (max(end for _, end in times) - min(begin for begin, _ in times))


def run(cluster) -> None:
    with tempfile.TemporaryDirectory(dir=cluster.home) as folder:
        pictures = photographs(PICTURES, Path(folder) / "pictures")
        pix(cluster, "load", "images", Path(folder) / "pictures")
        connection = psycopg2.connect(cluster.dsn)
        import_model(connection, "inception_v3", read_onnx(inception()))
        connection.commit()
        connection.close()

        def our_speed() -> float:
            execute(cluster, "DELETE FROM pix.features")
            return PICTURES / seconds(lambda: execute(cluster, "CALL pix.extract_features('inception_v3')"))

        ours, peer, ratio = compare(our_speed, lambda: peer_speed(inception(), pictures), ROUNDS)
    print(f"  ours {ours:.2f} images/s, bare loop {peer:.2f} images/s on {CORES} cores, {PICTURES} pictures")
    print(f"  ratio {ratio:.3f} (goal: at least 0.95)")
    execute(cluster, "DELETE FROM pix.features; DELETE FROM pix.images")
