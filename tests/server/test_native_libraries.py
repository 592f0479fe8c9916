"""Libraries of native code and PostgreSQL's compiler of queries live in one process, whichever comes first.

PostgreSQL compiles queries by default, with an LLVM that TensorFlow and numba have others of.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.graphs import keras_classifier

pytestmark = pytest.mark.native

COMPILED = "SELECT sum(length(item_id)) > 0 FROM pix.items"
RUN = {
    "tensorflow": "SELECT octet_length(pix.embed(content, 'colours', 'tensorflow')) > 0 FROM pix.images LIMIT 1",
    "umap": "SELECT items > 0 FROM pix.fit_map('all', 'mini_inception', 'umap')",
    "onnxruntime": "SELECT octet_length(pix.embed(content)) > 0 FROM pix.images LIMIT 1",
}


@pytest.fixture
def both(extracted, tmp_path, same_host):
    """Features, and a model with its TensorFlow graph."""
    if not extracted.value("SELECT pg_jit_available()"):
        pytest.skip("this server does not compile queries")
    keras_classifier().save(tmp_path / "colours.keras")
    extracted.pix("model", "import", "colours", "--keras", tmp_path / "colours.keras", "--keep-tensorflow")
    return extracted


def run(db, statements: list[str]) -> str:
    """Run statements in one session, and return what its process has mapped."""
    cursor = db.connect("ada").cursor()
    cursor.execute("SET max_parallel_workers_per_gather = 0")
    for statement in statements:
        cursor.execute(statement)
        assert cursor.fetchall() == [(True,)]
    cursor.execute("SELECT pg_backend_pid()")
    return Path(f"/proc/{cursor.fetchone()[0]}/maps").read_text()


@pytest.mark.slow
def test_whichever_comes_first(both):
    """In 0.7 the server ended at TensorFlow after a compiled query, at one after TensorFlow, and so with UMAP."""
    for order in (
        [COMPILED, RUN["umap"], COMPILED],
        [RUN["tensorflow"], COMPILED, RUN["tensorflow"]],
        [COMPILED, RUN["tensorflow"], RUN["umap"], RUN["onnxruntime"], COMPILED],
    ):
        mapped = run(both, order)
        assert "llvmjit" in mapped
        assert ("tensorflow_cc" in mapped) == (RUN["tensorflow"] in order)  # UMAP does without


def test_tensorflow_offers_its_names_to_nobody(both):
    """The cause of those crashes: names of its LLVM were bound to PostgreSQL's, and the other way round."""
    both.query(
        "CREATE FUNCTION public.is_offered(name text) RETURNS boolean LANGUAGE plpython3u AS "
        "$$ import ctypes; return hasattr(ctypes.CDLL(None), name) $$;"
        "GRANT EXECUTE ON FUNCTION public.is_offered TO PUBLIC",
        role=None,
    )
    run(both, [RUN["tensorflow"], "SELECT NOT public.is_offered('TF_Version')"])
