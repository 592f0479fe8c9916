"""TensorFlow as an engine: the same features, in the threads and the memory that it is given.

Each test runs in a process of its own, for TensorFlow takes its limits once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixload.conversion import frozen_graphs
from pixload.conversion.converted import Wishes, save
from pixload.conversion.tensorflow_graphs import convert
from tests.unit.graphs import inception_2015

START = """
import os, sys
from pathlib import Path
import pixelplum.server  # as in the server, numpy starts no threads
import numpy as np
from pixelplum.core.networks.tensorflow import TensorFlowNetwork
folder, image = map(Path, sys.argv[1:])
def load(**limits):
    return TensorFlowNetwork(folder / "network.pb", **limits)
def ignored_signals():
    '''Threads other than the main one that leave SIGTERM and SIGINT to it, and how many there are.'''
    masks = []
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != os.getpid():
            status = (task / "status").read_text()
            masks.append(int(status.split("SigBlk:")[1].split()[0], 16))
    return sum(bool(mask & (1 << 14)) and bool(mask & 2) for mask in masks), len(masks)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tensorflow")
    converted = convert(frozen_graphs.read_graph(inception_2015(folder / "graph.pb")), Wishes())
    save(converted, folder / "network.onnx")
    (folder / "network.pb").write_bytes(converted.frozen)
    return folder


@pytest.fixture
def run(folder, boots):
    image = next((boots / "images").iterdir())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}  # of other tests

    def run(code: str) -> str:
        command = [sys.executable, "-c", START + code, folder, image]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_same_features_as_onnx_runtime(run):
    run(
        """
from pixelplum.core.networks.onnx import Network
content = image.read_bytes()
expected = Network(folder / "network.onnx")
network = load()
assert network.spec == expected.spec
a, b = network.embed(content), expected.embed(content)
assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max(), (a, b)
"""
    )


def test_threads_leave_signals_to_the_server(run):
    run("load(); blocked, all = ignored_signals(); assert blocked == all > 0, (blocked, all)")


def test_number_of_threads(run):
    """Of threads that compute, there are as many as are asked for."""
    count = "load(threads={}); print(len(os.listdir('/proc/self/task')))"
    one, three = (int(run(count.format(threads))) for threads in (1, 3))
    assert three - one == 2


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


def test_allocator_is_told_the_limit(run):
    names = "TF_CPU_ALLOCATOR_USE_BFC", "TF_CPU_BFC_MEM_LIMIT_IN_MB"
    output = run(f"load(memory_mb=3000); print(*(os.environ[name] for name in {names}))")
    assert output == "true 3000\n"


def test_files_that_are_no_graph(run):
    output = run(
        """
for content in (b"no graph", b""):
    (folder / "broken.pb").write_bytes(content)
    try:
        TensorFlowNetwork(folder / "broken.pb")
    except Exception as error:
        print(type(error).__name__)
"""
    )
    assert output == "ModelBroken\n" * 2
