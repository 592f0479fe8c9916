"""Libraries of native code and PostgreSQL's compiler of queries live in one process, whichever comes first.

PostgreSQL compiles queries by default, with an LLVM that TensorFlow and numba have others of.
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.native, pytest.mark.library("tensorflow", "umap")]

RUN = {
    "compiled": "SELECT sum(length(item_id)) > 0 FROM pix.items",
    "tensorflow": "SELECT octet_length(pix.embed(content, 'colors', 'tensorflow')) > 0 FROM pix.images LIMIT 1",
    "umap": "SELECT items > 0 FROM pix.fit_map('all', 'mini_inception', 'umap')",
    "onnxruntime": "SELECT octet_length(pix.embed(content)) > 0 FROM pix.images LIMIT 1",
    "t-SNE": "SELECT items > 0 FROM pix.fit_map('all', 'mini_inception', 'tsne')",
    "usearch": "SELECT items > 0 FROM pix.build_index('fast', 'mini_inception', 'hnsw')",
    "annoy": "SELECT items > 0 FROM pix.build_index('slow', 'mini_inception', 'annoy')",
    "k-means": "SELECT k > 0 FROM pix.fit_clusters('boots', 'mini_inception', k => 5)",
    "xgboost": "SELECT algorithm = 'xgboost' FROM pix.train_user_model('ann', 'xgboost')",
    "random forest": "SELECT algorithm = 'random_forest' FROM pix.train_user_model('ann', 'random_forest')",
}


@pytest.fixture
def both(colors, same_host):
    """Features, votes, and a model with its TensorFlow graph."""
    if not colors.value("SELECT pg_jit_available()"):
        pytest.skip("this server does not compile queries")
    colors.query(
        "SELECT pix.vote('ann', item_id, number % 2 = 0) "
        "FROM (SELECT item_id, row_number() OVER (ORDER BY item_id) AS number FROM pix.items) i WHERE number <= 40"
    )
    return colors


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
@pytest.mark.parametrize(
    "libraries",
    [
        ["compiled", "tensorflow", "compiled"],
        ["tensorflow", "compiled", "tensorflow"],
        pytest.param(["compiled", "umap", "compiled"], marks=pytest.mark.exhaustive),
        pytest.param(
            ["compiled", *(name for name in RUN if name not in ("compiled", "tensorflow")), "compiled"],
            marks=pytest.mark.exhaustive,
        ),
    ],
    ids=", ".join,
)
def test_whichever_comes_first(both, libraries):
    """In 0.7 the server ended at TensorFlow after a compiled query, at one after TensorFlow, and so with UMAP."""
    mapped = run(both, [RUN[name] for name in libraries])
    assert "llvmjit" in mapped
    assert ("tensorflow_cc" in mapped) == ("tensorflow" in libraries)  # UMAP does without


def test_tensorflow_offers_its_names_to_nobody(both):
    """The cause of those crashes: names of its LLVM were bound to PostgreSQL's, and the other way round."""
    both.query(
        "CREATE FUNCTION public.is_offered(name text) RETURNS boolean LANGUAGE plpython3u AS "
        "$$ import ctypes; return hasattr(ctypes.CDLL(None), name) $$;"
        "GRANT EXECUTE ON FUNCTION public.is_offered TO PUBLIC",
        role=None,
    )
    run(both, [RUN["tensorflow"], "SELECT NOT public.is_offered('TF_Version')"])
