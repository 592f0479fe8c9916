"""Models into the database: conversion, replacement, and files that are not models."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from pixload.conversion.converted import save
from pixload.conversion.frozen_graphs import read_graph
from pixload.conversion.keras_models import load_application
from pixload.conversion.onnx_files import read_onnx
from pixload.errors import PixError
from pixload.models import SHIPPED, import_model
from tests.unit.graphs import COLORS, keras_classifier, tiny_onnx, torch_like_onnx

EARLY_LAYER = "MobilenetV1/MobilenetV1/Conv2d_0/Relu6:0"
MOBILENET_OUTPUT = "MobilenetV1/Logits/AvgPool_1a/AvgPool:0"
PROGRESS = "SELECT extracted, stale, pending FROM pix.extraction_progress WHERE model_name = 'mini_inception'"


@pytest.fixture
def graphdef(data):
    return data / "models" / "mobilenet_v1_0.25_128" / "frozen_graph.pb"


def import_error(db, *arguments) -> str:
    result = db.pix("model", "import", *arguments, check=False)
    assert result.returncode == 1, result.stdout
    assert "Traceback" not in result.stderr
    return result.stderr


def test_shipped_model(bare):
    bare.pix("migrate", role=None)
    assert (
        bare.pix("model", "import", "mini_inception").stdout
        == "mini_inception: 288 features an image; classifier mini_inception: 10 classes\n"
    )
    listed = bare.pix("model", "list", role="rita").stdout
    assert "mini_inception" in listed
    assert "default" in listed
    size = bare.value("SELECT size_bytes FROM pix.models")
    assert size == SHIPPED["mini_inception"].stat().st_size
    assert bare.value("SELECT sum(octet_length(content)) FROM pix_internal.model_parts") == size


def test_frozen_graphdef(db, graphdef):
    """Nothing but the file need be given: input, output and scaling are found, and said."""
    values = ("--input", "input:0", "--output", MOBILENET_OUTPUT, "--mean", 127.5, "--std", 127.5)
    output = db.pix("model", "import", "given", "--graphdef", graphdef, *values).stdout
    assert output.startswith("given: 256 features an image, engines agree to ")
    output = db.pix("model", "import", "found", "--graphdef", graphdef).stdout
    for proposal in ("input input:0", f"output {MOBILENET_OUTPUT}", "(x - 127.5) / 127.5", "--labels", "\nfound: 256 "):
        assert proposal in output
    stated, proposed = db.query(
        "SELECT dimensions, agreement, spec FROM pix.models WHERE model_name IN ('given', 'found') ORDER BY 1"
    )
    assert stated == proposed
    dimensions, agreement, spec = stated
    assert dimensions == 256
    assert agreement <= 1e-4
    assert spec["preprocessing"]["width"] == 128


@pytest.mark.slow
def test_keras_with_random_weights(db):
    output = db.pix("model", "import", "mobile", "--keras", "mobilenet_v2", "--weights", "none", "--seed", 7).stdout
    assert "mobile: 1,280 features an image, engines agree to " in output
    assert (
        db.value("SELECT source FROM pix.models WHERE model_name = 'mobile'")
        == "keras mobilenet_v2, random weights, seed 7"
    )
    assert db.value("SELECT agreement <= 1e-4 FROM pix.models WHERE model_name = 'mobile'")


@pytest.mark.slow
def test_seed_decides_random_weights():
    graphs = [load_application("mobilenet_v2", None, seed).definition for seed in (1, 1, 2)]
    first, again, other = (
        sorted(node.attr["value"].tensor.tensor_content for node in graph.node if node.op == "Const")
        for graph in graphs
    )
    assert first == again
    assert first != other


def test_keras_that_cannot_be_had(db, tmp_path):
    assert "inception_v3" in import_error(db, "x", "--keras", "inception_v9")
    (tmp_path / "broken.weights.h5").write_bytes(b"no weights")
    error = import_error(db, "x", "--keras", "mobilenet_v2", "--weights", tmp_path / "broken.weights.h5")
    assert "broken.weights.h5" in error
    assert "--weights none" in error


def test_unreadable_graphdef(db, tmp_path, graphdef):
    path = tmp_path / "graph.pb"
    for content, message in (
        (b"<html>not a graph</html>", "not a frozen GraphDef"), (b"", "empty graph"),
        (graphdef.read_bytes()[:1_000_000], "not a frozen GraphDef"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(PixError, match=message):
            read_graph(path)
    error = import_error(db, "x", "--graphdef", graphdef, "--input", "input:0", "--output", "nope:0")
    assert "no tensor nope:0" in error


def test_output_that_is_no_vector(db, tmp_path):
    """Channels that are averaged away leave an image of its own shape, which says so itself."""
    path = tiny_onnx(tmp_path / "tiny.onnx", [3])
    error = import_error(db, "x", "--onnx", path)
    assert "not one vector" in error
    assert "[PX023]" in error
    assert db.value("SELECT count(*) FROM pix.models") == 1
    assert db.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 1


def test_earlier_layer(db, graphdef):
    output = db.pix("model", "import", "early", "--graphdef", graphdef, "--output", EARLY_LAYER).stdout
    assert "early: 8 features an image" in output
    listed = db.pix("model", "layers", "early", role="rita").stdout
    assert EARLY_LAYER in listed


def test_wrong_scaling_is_caught(db, graphdef):
    """Scaled to a hundredth of what it expects, the network sees gray."""
    error = import_error(db, "x", "--graphdef", graphdef, "--mean", 127.5, "--std", 32512.5)
    assert "does not tell images apart" in error
    assert "[PX025]" in error
    assert "--std" in error
    assert db.value("SELECT count(*) FROM pix.models") == 1


def test_network_that_sees_nothing_is_caught(db, tmp_path):
    error = import_error(db, "x", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2], value=0.0))
    assert "all features of an image are zero" in error


def test_retrained_graph_has_both_outputs(loaded, data):
    """Features for look-alikes, and classes with their names."""
    folder = data / "models" / "mobilenet_v1_0.25_128"
    labels = folder / "retrained_labels.txt"
    output = loaded.pix(
        "model", "import", "surfaces", "--graphdef", folder / "retrained_graph.pb", "--labels", labels
    ).stdout
    assert "surfaces: 256 features an image" in output
    assert "classifier surfaces: 6 classes" in output
    assert loaded.value("SELECT octet_length(pix.embed(content, 'surfaces')) FROM pix.images LIMIT 1") == 1024
    rows = loaded.query(
        "SELECT c.label, c.score FROM pix.classify((SELECT content FROM pix.images LIMIT 1), '{surfaces}', k => 6) c"
    )
    assert {label for label, _ in rows} == set(labels.read_text().splitlines())
    assert sum(score for _, score in rows) == pytest.approx(1, abs=1e-5)


def test_classes_do_not_replace_a_trained_classifier(extracted, boots, tmp_path):
    extracted.pix("load", "labels", boots / "labels.csv")
    extracted.query("SELECT pix.train_classifier('torch', 'heel')")
    path = torch_like_onnx(tmp_path / "torch.onnx")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    error = import_error(extracted, "torch", "--onnx", path, "--labels", tmp_path / "labels.txt")
    assert "belongs to a classifier that was trained here" in error
    assert extracted.value("SELECT count(*) FROM pix.models WHERE model_name = 'torch'") == 0
    extracted.pix("classifier", "drop", "torch")
    extracted.pix("model", "import", "torch", "--onnx", path, "--labels", tmp_path / "labels.txt")
    with pytest.raises(psycopg2.Error, match="came with a model") as caught:
        extracted.query("SELECT pix.train_classifier('torch', 'heel')")
    assert caught.value.pgcode == "PX003"


def test_onnx_files(db, tmp_path):
    plain = torch_like_onnx(tmp_path / "plain.onnx", side="side")
    assert "--size" in import_error(db, "tiny", "--onnx", plain)
    assert "4 features" in db.pix("model", "import", "tiny", "--onnx", plain, "--size", 4).stdout
    assert "conv" in import_error(db, "tiny", "--onnx", plain, "--size", 4, "--output", "nope")
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    assert "not an ONNX file" in import_error(db, "tiny", "--onnx", tmp_path / "broken.onnx")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\nb\nc\n", "labels.txt:2"),
        (b"a\nb\0\nc\nd\n", "labels.txt:2"),
        (b"a\nb\n", "2 labels for 4"),
        (b"\xff", "UTF-8"),
    ],
)
def test_class_names_that_cannot_be_used(db, tmp_path, content, message):
    path = torch_like_onnx(tmp_path / "torch.onnx")
    (tmp_path / "labels.txt").write_bytes(content)
    assert message in import_error(db, "x", "--onnx", path, "--labels", tmp_path / "labels.txt")


def test_class_names_of_other_editors(db, tmp_path):
    """A mark at the beginning, blanks and carriage returns at the end."""
    (tmp_path / "labels.txt").write_bytes("\ufeffone \r\ntwo\r\nthree\u2028four\r\nfive\r\n\r\n".encode())
    db.pix(
        "model", "import", "x", "--onnx", torch_like_onnx(tmp_path / "torch.onnx"), "--labels", tmp_path / "labels.txt"
    )
    rows = db.query("SELECT label FROM pix.classifier_classes WHERE classifier = 'x' ORDER BY class")
    assert rows == [("one",), ("two",), ("three\u2028four",), ("five",)]


def test_options_out_of_range(db, tmp_path):
    path = torch_like_onnx(tmp_path / "torch.onnx")
    assert "cannot name a model" in import_error(db, "", "--onnx", path)
    assert "cannot name a model" in import_error(db, "x" * 201, "--onnx", path)
    for option, value in (("--std", "0"), ("--std", "nan"), ("--mean", "1,2")):
        refused = db.pix("model", "import", "x", "--onnx", path, option, value, check=False)
        assert refused.returncode == 2
        assert option in refused.stderr


def test_keras_file(db, tmp_path):
    keras_classifier().save(tmp_path / "colors.keras")
    (tmp_path / "labels.txt").write_text("\n".join(COLORS))
    output = db.pix(
        "model", "import", "colors", "--keras", tmp_path / "colors.keras", "--labels", tmp_path / "labels.txt"
    ).stdout
    assert "colors: 12 features an image, engines agree to " in output
    assert "classifier colors: 4 classes" in output
    assert "no file" in import_error(db, "x", "--keras", tmp_path / "nope.keras")


def test_no_or_two_sources(db, graphdef):
    assert "mini_inception" in import_error(db, "unheard_of")
    assert "Only one" in import_error(db, "x", "--keras", "inception_v3", "--graphdef", graphdef)


def test_import_under_the_same_name_makes_features_stale(extracted, tmp_path):
    assert extracted.query(PROGRESS) == [(60, 0, 0)]
    output = extracted.pix("model", "import", "mini_inception").stdout
    assert "stale" not in output
    assert extracted.query(PROGRESS) == [(60, 0, 0)]
    path = tiny_onnx(tmp_path / "tiny.onnx", [1, 2])
    output = extracted.pix("model", "import", "mini_inception", "--onnx", path).stdout
    assert "60 features are stale now" in output
    assert extracted.query(PROGRESS) == [(0, 60, 60)]
    assert extracted.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 1
    extracted.query("CALL pix.extract_features()")
    assert extracted.query(PROGRESS) == [(60, 0, 0)]
    assert extracted.value("SELECT max(octet_length(vector)) FROM pix.features") == 12


def test_open_connection_sees_the_new_model(loaded, tmp_path):
    connection = loaded.connect("rita")
    cursor = connection.cursor()
    cursor.execute("SELECT octet_length(pix.embed(content)) FROM pix.images LIMIT 1")
    assert cursor.fetchone() == (1152,)
    loaded.pix("model", "import", "mini_inception", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
    cursor.execute("SELECT octet_length(pix.embed(content)) FROM pix.images LIMIT 1")
    assert cursor.fetchone() == (12,)


def test_default_and_drop(extracted, tmp_path):
    extracted.pix("model", "import", "tiny", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
    assert extracted.value("SELECT value FROM pix.settings WHERE key = 'default_model'") == "mini_inception"
    extracted.pix("model", "default", "tiny")
    assert extracted.value("SELECT value FROM pix.settings WHERE key = 'default_model'") == "tiny"
    assert extracted.pix("model", "drop", "mini_inception").stdout == "mini_inception removed\n"
    assert extracted.value("SELECT count(*) FROM pix.features") == 0
    assert extracted.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 1
    assert "not known" in extracted.pix("model", "drop", "mini_inception", check=False).stderr
    with pytest.raises(psycopg2.Error) as caught:
        extracted.query("SELECT pix.drop_model(NULL)")
    assert caught.value.pgcode == "PX020"


@pytest.mark.sessions
def test_imports_and_drops_at_once(db, tmp_path):
    path = tiny_onnx(tmp_path / "tiny.onnx", [1, 2])
    with ThreadPoolExecutor(4) as pool:
        imports = [pool.submit(db.pix, "model", "import", name, "--onnx", path) for name in ("a", "b", "c")]
        drop = pool.submit(db.query, "SELECT pix.drop_model('mini_inception')")
        for future in (*imports, drop):
            future.result()
    assert db.query("SELECT model_name FROM pix.models ORDER BY 1") == [("a",), ("b",), ("c",)]


def test_missing_part_is_noticed(db):
    connection = db.connect(None, autocommit=False)
    import_model(connection, "again", read_onnx(SHIPPED["mini_inception"]))
    connection.cursor().execute("UPDATE pix.models SET checksum = repeat('0', 64) WHERE model_name = 'again'")
    with pytest.raises(psycopg2.Error) as caught:
        connection.cursor().execute("SELECT pix.warm_up('again')")
    assert caught.value.pgcode == "PX022"
    assert "missing or damaged" in str(caught.value)


def test_saved_conversion_is_read_again(tmp_path):
    converted = read_onnx(SHIPPED["mini_inception"])
    save(converted, tmp_path / "copy.onnx")
    assert (tmp_path / "copy.onnx").read_bytes() == SHIPPED["mini_inception"].read_bytes()
