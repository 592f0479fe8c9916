"""Models that were stored to reach the server's files: whoever calls them is told, and nothing is touched."""

from __future__ import annotations

import hashlib

import psycopg2
import pytest

from tests.helpers import fails_with
from tests.unit import unsafe_graphs
from tests.unit.crafted_images import png


def store(db, content: bytes) -> str:
    """Write a model's file into the table, as its owner can."""
    checksum = hashlib.sha256(content).hexdigest()
    db.query("INSERT INTO pix_internal.model_parts VALUES (%s, 0, %s)", (checksum, psycopg2.Binary(content)), role=None)
    return checksum


@pytest.fixture
def target(tmp_path_factory, same_host):
    """A file in a folder where the server may write."""
    folder = tmp_path_factory.mktemp("open")
    folder.chmod(0o777)
    for parent in folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder / "target"


@pytest.mark.library("tensorflow")
@pytest.mark.parametrize("in_function", [False, True])
def test_tensorflow_graph_that_writes(db, target, in_function):
    """In 0.7 the file was written by the server's user, when a reader called pix.embed."""
    checksum = store(db, unsafe_graphs.tensorflow_graph(write=target, in_function=in_function))
    db.query("UPDATE pix.models SET tensorflow_checksum = %s", (checksum,), role=None)
    ask = "SELECT pix.embed(%s, engine => 'tensorflow')"
    error = fails_with(db, "PX022", ask, (psycopg2.Binary(png(4, 4)),), role="rita")
    assert "WriteFile" in str(error)
    fails_with(db, "PX022", "SELECT pix.warm_up(engine => 'tensorflow')")
    assert not target.exists()


@pytest.mark.library("tensorflow")
def test_tensorflow_graph_that_reads(db, target):
    """In 0.7 its features were the bytes of the file."""
    target.write_text("secret")
    checksum = store(db, unsafe_graphs.tensorflow_graph(read=target))
    db.query("UPDATE pix.models SET tensorflow_checksum = %s", (checksum,), role=None)
    ask = "SELECT pix.embed(%s, engine => 'tensorflow')"
    assert "ReadFile" in str(fails_with(db, "PX022", ask, (psycopg2.Binary(png(4, 4)),), role="rita"))


def test_onnx_model_with_weights_elsewhere(db, target):
    target.write_bytes(bytes(12))
    checksum = store(db, unsafe_graphs.onnx_model(location=str(target)).SerializeToString())
    db.query("UPDATE pix.models SET checksum = %s", (checksum,), role=None)
    error = fails_with(db, "PX022", "SELECT pix.embed(%s)", (psycopg2.Binary(png(4, 4)),), role="rita")
    assert "in another file" in str(error)
    fails_with(db, "PX022", "SELECT pix.model_layers('mini_inception')", role="rita")
    registering = "SELECT pix.register_model('thief', %s, 'a test')"
    fails_with(db, "PX022", registering, (checksum,), role="ada")


def test_command_refuses_to_import(db, target, tmp_path):
    """In 0.7 the graph ran as whoever imported it."""
    (tmp_path / "graph.pb").write_bytes(unsafe_graphs.tensorflow_graph(write=target))
    (tmp_path / "thief.onnx").write_bytes(unsafe_graphs.onnx_model().SerializeToString())
    unsafe_graphs.saved_model(tmp_path / "saved", target, "run")
    for option, path, message in (
        ("--graphdef", "graph.pb", "WriteFile"),
        ("--savedmodel", "saved", "WriteFile"),
        ("--onnx", "thief.onnx", "folder"),
    ):
        failed = db.pix("model", "import", "thief", option, tmp_path / path, check=False)
        assert failed.returncode == 1
        assert message in failed.stderr
        assert "Hint: " in failed.stderr
        assert "Traceback" not in failed.stderr
    assert not target.exists()
    assert db.value("SELECT count(*) FROM pix.models") == 1
