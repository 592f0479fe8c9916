"""TensorFlow as an engine: the same features, in the threads and the memory that it is given.

TensorFlow takes its limits once, so each set of limits has a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pixelplum.core.networks.onnx import Network
from pixload.conversion import frozen_graphs
from pixload.conversion.converted import Wishes, save
from pixload.conversion.tensorflow_graphs import convert
from tests.unit.graphs import inception_2015

START = """
import json, os, sys
from pathlib import Path
import pixelplum.server  # as in the server, numpy starts no threads
from pixelplum.core.networks.tensorflow import TensorFlowNetwork
folder, image = map(Path, sys.argv[1:])
def load(**limits):
    return TensorFlowNetwork(folder / "network.pb", **limits)
def threads():
    return len(os.listdir("/proc/self/task"))
"""
THREADS, MEMORY_MB = 3, 3000
WITHIN_LIMITS = f"""
def ignores_signals(thread):
    status = Path("/proc/self/task", thread, "status").read_text()
    mask = int(status.split("SigBlk:")[1].split()[0], 16)
    return bool(mask & (1 << 14)) and bool(mask & 2)  # SIGTERM and SIGINT
def broken(content):
    (folder / "broken.pb").write_bytes(content)
    try:
        TensorFlowNetwork(folder / "broken.pb")
    except Exception as error:
        return type(error).__name__
network = load(threads={THREADS}, memory_mb={MEMORY_MB})
print(json.dumps({{
    "threads": threads(),
    "ignoring": sum(map(ignores_signals, os.listdir("/proc/self/task"))),
    "allocator": [os.environ[name] for name in ("TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB")],
    "spec": repr(network.spec),
    "features": network.embed(image.read_bytes()).tolist(),
    "broken": [broken(b"no graph"), broken(b"")],
}}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    converted = convert(frozen_graphs.read_graph(inception_2015(folder / "graph.pb")), Wishes())
    save(converted, folder / "network.onnx")
    (folder / "network.pb").write_bytes(converted.frozen)
    return folder


@pytest.fixture(scope="module")
def image(boots) -> Path:
    return next((boots / "images").iterdir())


@pytest.fixture(scope="module")
def run(folder, image):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}  # of other tests

    def run(code: str) -> str:
        command = [sys.executable, "-c", START + code, folder, image]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def within_limits(run) -> dict:
    return json.loads(run(WITHIN_LIMITS))


def test_same_features_as_onnx_runtime(within_limits, folder, image):
    network = Network(folder / "network.onnx")
    assert within_limits["spec"] == repr(network.spec)
    expected = network.embed(image.read_bytes())
    assert np.abs(np.array(within_limits["features"]) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_threads_leave_signals_to_the_server(within_limits):
    """All but the main one."""
    assert within_limits["ignoring"] == within_limits["threads"] - 1 > 0


def test_number_of_threads(within_limits, run):
    """Of threads that compute, there are as many as are asked for."""
    with_one = int(run(f"network = load(threads=1, memory_mb={MEMORY_MB}); print(threads())"))
    assert within_limits["threads"] - with_one == THREADS - 1


def test_memory_that_is_not_enough(run):
    output = run(
        """
try:
    load(memory_mb=100)
except Exception as error:
    print(type(error).__name__, error, error.hint)
"""
    )
    assert output.startswith("ModelBroken")
    assert "tensorflow_memory_mb" in output


def test_allocator_is_told_the_limit(within_limits):
    assert within_limits["allocator"] == ["true", str(MEMORY_MB)]


def test_files_that_are_no_graph(within_limits):
    assert within_limits["broken"] == ["ModelBroken"] * 2
