"""pix.extract_features with Inception v3, against a bare ONNX Runtime loop in as many processes as work here.

Ours: the whole CALL, with model loading, planning, writing and committing.
Peer: decoding and inference alone, in a process for each core, timed after every process has loaded the model; on a
cluster in a process for each segment, loading included, since each of its sessions has to load it too.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import psycopg2

from benchmarks.tools import CORES, compare, execute, inception, photographs, pix, seconds
from pixelplum.core.networks.images import Preprocessing, decode, to_tensor
from pixelplum.core.networks.onnx import SPEC_KEY
from pixload.conversion.onnx_files import read_onnx
from pixload.models import import_model

IMAGES = 1000
ROUNDS = 3


def bare_loop(model: Path, images: list[Path], load_is_timed: bool, ready, done) -> None:
    import onnxruntime

    contents = [path.read_bytes() for path in images]
    if load_is_timed:
        ready.wait()
        begun = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map[SPEC_KEY])
    preprocessing = Preprocessing.from_dict(spec["preprocessing"])
    if not load_is_timed:
        ready.wait()
        begun = time.perf_counter()
    for content in contents:
        tensor = to_tensor(decode(content, preprocessing.width, preprocessing.height), preprocessing)
        session.run([spec["output"]], {spec["input"]: tensor})
    done.put((begun, time.perf_counter()))


def peer_speed(model: Path, images: list[Path], workers: int, load_is_timed: bool) -> float:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(workers), context.Queue()
    processes = [
        context.Process(target=bare_loop, args=(model, images[number::workers], load_is_timed, ready, done))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    times = [done.get() for _ in processes]
    for process in processes:
        process.join()
    return len(images) / (max(end for _, end in times) - min(begin for begin, _ in times))


def run(bench) -> None:
    with tempfile.TemporaryDirectory(dir=bench.home) as folder:
        images = photographs(IMAGES, Path(folder) / "images")
        pix(bench, "load", "images", Path(folder) / "images")
        connection = psycopg2.connect(bench.dsn)
        import_model(connection, "inception_v3", read_onnx(inception()))
        connection.commit()
        connection.close()

        def our_speed() -> float:
            execute(bench, "DELETE FROM pix.features")
            return IMAGES / seconds(lambda: execute(bench, "CALL pix.extract_features('inception_v3')"))

        segments = bench.segments
        workers = segments or CORES
        ours, peer, ratio = compare(
            our_speed, lambda: peer_speed(inception(), images, workers, load_is_timed=segments > 0), ROUNDS
        )
    print(f"  ours {ours:.2f} images/s, {workers} bare processes {peer:.2f}, on {CORES} cores, {IMAGES} images")
    print(f"  ratio {ratio:.3f} (goal: at least {0.90 if segments else 0.95})")
    execute(bench, "DELETE FROM pix.features; DELETE FROM pix.images")
