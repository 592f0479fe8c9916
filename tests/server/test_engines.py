"""Which engine runs a network, and how many networks a connection keeps in memory."""

from __future__ import annotations

import numpy as np
import psycopg2
import pytest

from pixelplum.core.search.vectors import from_bytes
from tests.helpers import fails_with
from tests.unit.graphs import tiny_onnx

pytestmark = pytest.mark.native


@pytest.mark.library("tensorflow")
def test_tensorflow_gives_the_same_features(colors):
    ours, theirs = (
        [
            from_bytes(bytes(vector))
            for (vector,) in colors.query(
                f"SELECT pix.embed(content, 'colors', engine => '{engine}') FROM pix.images ORDER BY item_id LIMIT 10"
            )
        ]
        for engine in ("onnxruntime", "tensorflow")
    )
    for a, b in zip(ours, theirs, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * np.abs(a).max()


@pytest.mark.library("tensorflow")
def test_extraction_with_tensorflow(colors):
    output = colors.pix("extract", "--model", "colors", "--engine", "tensorflow").stdout
    assert output.startswith("60 extracted, 0 failed, 0 pending")
    assert colors.value("SELECT count(*) FROM pix.features WHERE model_name = 'colors'") == 60


@pytest.mark.library("tensorflow")
def test_engines_that_cannot_be_had(colors):
    ask = "SELECT pix.embed(content, '{}', engine => '{}') FROM pix.images LIMIT 1"
    fails_with(colors, "PX003", ask.format("colors", "magic"))
    error = fails_with(colors, "PX027", ask.format("mini_inception", "tensorflow"))
    assert "--keep-tensorflow" in error.diag.message_hint
    fails_with(colors, "PX003", "CALL pix.extract_features(engine => 'magic')")
    fails_with(colors, "PX027", "SELECT pix.warm_up('mini_inception', 'tensorflow')")
    assert colors.value("SELECT pix.warm_up('colors', 'tensorflow')") is not None


@pytest.mark.library("tensorflow")
def test_tensorflow_keeps_to_its_settings(colors):
    """Memory that is not enough is an error, not a crash: the session goes on."""
    colors.query("INSERT INTO pix.settings VALUES ('tensorflow_memory_mb', '100')")
    connection = colors.connect()
    cursor = connection.cursor()
    cursor.execute("SET max_parallel_workers_per_gather = 0")
    ask = "SELECT pix.embed(content, 'colors', engine => '{}') FROM pix.images LIMIT 1"
    with pytest.raises(psycopg2.Error, match="tensorflow_memory_mb") as caught:
        cursor.execute(ask.format("tensorflow"))
    assert caught.value.pgcode == "PX022"
    cursor.execute(ask.format("onnxruntime"))
    colors.query("UPDATE pix.settings SET value = 'lots' WHERE key = 'tensorflow_memory_mb'")
    error = fails_with(colors, "PX028", ask.format("tensorflow"))
    assert "'lots'" in str(error)
    colors.query(error.diag.message_hint)
    colors.query(ask.format("tensorflow"))


@pytest.mark.library("tensorflow")
def test_kept_graph_is_dropped_with_its_model(colors):
    assert colors.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 3
    colors.query("SELECT pix.drop_model('colors')")
    assert colors.value("SELECT count(DISTINCT checksum) FROM pix_internal.model_parts") == 1


LOADED = """
CREATE FUNCTION public.loaded() RETURNS text[] LANGUAGE plpython3u AS
$$ return list(GD.get("networks", {})) $$;
GRANT EXECUTE ON FUNCTION public.loaded() TO PUBLIC;
"""


def test_networks_that_fit_into_memory_are_kept(loaded, tmp_path):
    """With room for one of two, they take turns; with room for both, both stay."""
    loaded.query(LOADED, role=None)
    loaded.pix("model", "import", "tiny", "--onnx", tiny_onnx(tmp_path / "tiny.onnx", [1, 2]))
    checksums = dict(loaded.query("SELECT model_name, checksum FROM pix.models"))
    mini, tiny = checksums["mini_inception"], checksums["tiny"]
    content = loaded.value("SELECT content FROM pix.images LIMIT 1")
    cursor = loaded.connect().cursor()

    def alternate() -> list[list[str]]:
        kept = []
        for name in ("mini_inception", "tiny", "mini_inception", "tiny"):
            cursor.execute("SELECT octet_length(pix.embed(%s, %s))", (content, name))
            assert cursor.fetchone() == ({"mini_inception": 1152, "tiny": 12}[name],)
            cursor.execute("SELECT public.loaded()")
            kept.append(cursor.fetchone()[0])
        return kept

    assert alternate() == [[mini], [mini, tiny], [tiny, mini], [mini, tiny]]
    loaded.query("INSERT INTO pix.settings VALUES ('model_memory_mb', '1')")
    cursor = loaded.connect().cursor()
    assert alternate() == [[mini], [tiny], [mini], [tiny]]
