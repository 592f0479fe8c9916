"""What today's drivers send, as bigint and double precision, is taken as it comes; and plans stay as they were."""

import asyncio
import json
from contextlib import nullcontext

import asyncpg
import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from tests.fixtures.servers import Clone

K, PRICE = 4, 60.5


@pytest.fixture(scope="module")
def shop(server, with_catalogue) -> Clone:
    """The catalogue, which these tests only read."""
    shop = Clone(server, server.name(with_catalogue))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def expected(shop) -> list[str]:
    rows = shop.query(
        "SELECT item_id FROM pix.nearest('c0001', 4, 'clouds', filter => pix.items_where(max_price => 60.5)) "
        "ORDER BY rank"
    )
    return [item_id for (item_id,) in rows]


NEAREST = (
    "SELECT item_id FROM pix.nearest({item_id}, k => {k}, model_name => 'clouds', "
    "filter => pix.items_where(max_price => {price})) ORDER BY rank"
)
TO_VECTOR = (
    "SELECT item_id FROM pix.nearest_to_vector({vector}, k => {k}, model_name => 'clouds') ORDER BY rank LIMIT 1"
)


def vector_of(shop, item_id: str = "c0007") -> list[float]:
    query = "SELECT features FROM pix.feature_arrays WHERE model_name = 'clouds' AND item_id = %s"
    return shop.value(query, (item_id,))


@pytest.mark.parametrize(
    ("k", "price"),
    [(K, PRICE), (np.int64(K), np.float64(PRICE)), (np.int32(K), np.float32(PRICE))],
    ids=["python", "numpy 64 bits", "numpy 32 bits"],
)
def test_psycopg_3_binds_on_the_server(shop, expected, k, price):
    with psycopg.connect(shop.dsn("rita")) as connection:
        neighbors = connection.execute(NEAREST.format(item_id="%s", k="%s", price="%s"), ("c0001", k, price)).fetchall()
        assert [item_id for (item_id,) in neighbors] == expected
        query = TO_VECTOR.format(vector="%s", k="%s")
        assert connection.execute(query, (vector_of(shop), k)).fetchall() == [("c0007",)]
        assert connection.execute("SELECT pix.from_array(%s) IS NOT NULL", ([0.5, 1.5],)).fetchone() == (True,)


def test_psycopg_3_votes_in_batches(voters):
    votes = [{"user_id": "new", "item_id": "c0001", "liked": True}]
    with psycopg.connect(voters.dsn("adam"), autocommit=True) as connection:
        as_text = connection.execute("SELECT status FROM pix.vote_batch(%s)", (json.dumps(votes),)).fetchall()
        assert as_text == [("logged",)]
        as_json = connection.execute(
            "SELECT status FROM pix.vote_batch(%s)", (psycopg.types.json.Jsonb(votes),)
        ).fetchall()
        assert as_json == [("logged",)]
        connection.execute(
            "SELECT pix.vote(%s, %s, %s, propensity => %s, cluster => %s)", ("new", "c0002", True, 0.5, 1)
        )
        results = connection.execute(
            "SELECT * FROM pix.recommend(%s, k => %s, diversity => %s)", ("new", 3, 0.5)
        ).fetchall()
        assert len(results) == 3
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("SELECT * FROM pix.vote_batch(%s)", ("not json",))
        assert caught.value.sqlstate == "PX121"


def test_psycopg_3_classifies_with_a_list(trained):
    query = "SELECT label FROM pix.classify_item((SELECT min(item_id) FROM pix.images), %s, %s)"
    with psycopg.connect(trained.dsn("rita")) as connection:
        assert len(connection.execute(query, (["heels"], 2)).fetchall()) == 2


def test_asyncpg(shop, expected):
    async def ask():
        connection = await connected(shop)
        try:
            # Outside of one, Greenplum 7.0 forgets what it bound while it planned a function with a SET clause.
            async with connection.transaction() if shop.server.is_distributed else nullcontext():
                neighbors = await connection.fetch(NEAREST.format(item_id="$1", k="$2", price="$3"), "c0001", K, PRICE)
                near = await connection.fetch(TO_VECTOR.format(vector="$1", k="$2"), vector_of(shop), K)
            return [row["item_id"] for row in neighbors], near[0]["item_id"]
        finally:
            await connection.close()

    assert asyncio.run(ask()) == (expected, "c0007")


async def connected(shop):
    parsed = psycopg.conninfo.conninfo_to_dict(shop.dsn("rita"))
    return await asyncpg.connect(
        host=parsed.get("host"), port=parsed.get("port"), user=parsed["user"], password=parsed.get("password"),
        database=parsed["dbname"],
    )  # fmt: skip


def test_sqlalchemy_on_its_default_driver(shop, expected):
    values = psycopg.conninfo.conninfo_to_dict(shop.dsn("rita"))
    url = sa.URL.create(
        "postgresql", values["user"], values.get("password"), database=values["dbname"],
        query={name: values[name] for name in ("host", "port") if name in values},
    )  # fmt: skip
    engine = sa.create_engine(url)
    try:
        assert engine.driver == "psycopg"
        with engine.connect() as connection:
            query = sa.text(NEAREST.format(item_id=":item_id", k=":k", price=":price"))
            results = connection.execute(query, {"item_id": "c0001", "k": K, "price": PRICE}).scalars().all()
            assert list(results) == expected
            query = sa.text(TO_VECTOR.format(vector=":vector", k=":k"))
            assert connection.execute(query, {"vector": vector_of(shop), "k": K}).scalar() == "c0007"
            functions = sa.func.pix.nearest("c0001", K, "clouds").table_valued("rank", "item_id", "distance")
            assert len(connection.execute(sa.select(functions)).all()) == K
    finally:
        engine.dispose()


def test_psycopg_2(shop, expected):
    rows = shop.query(NEAREST.format(item_id="%s", k="%s", price="%s"), ("c0001", K, PRICE), role="rita")
    assert [item_id for (item_id,) in rows] == expected


INLINED = {
    "nearest": "pix.nearest($1, k => 4, model_name => 'clouds')",
    "nearest, filtered": "pix.nearest($1, k => 4, filter => pix.items_where(max_price => $2))",
    "nearest_many": "pix.nearest_many(ARRAY[$1], k => 4, model_name => 'clouds')",
    "nearest_to_vector": "pix.nearest_to_vector(ARRAY[$2], k => 4, model_name => 'clouds')",
    "nearest_to_image": "pix.nearest_to_image($1::bytea, k => 4, model_name => 'clouds')",
    "classify": "pix.classify($1::bytea, '{heels}', k => 4)",
    "classify_item": "pix.classify_item($1, '{heels}', k => 4)",
    "cut_clusters": "pix.cut_clusters($1, 4)",
    "compare_policies": "pix.compare_policies('{greedy}', clustering => $1)",
    "model_layers": "pix.model_layers($1)",
    "feature_maps": "pix.feature_maps($1::bytea, 'mini_inception', 'y', k => 4)",
}
"""Calls with parameters: what is called with values alone may be run while it is planned."""


@pytest.mark.parametrize("optimizer", ["on", "off"])
@pytest.mark.parametrize("call", INLINED.values(), ids=INLINED)
def test_functions_are_inlined(shop, call, optimizer):
    """So they can be joined and stored like tables on Greenplum, and the planner sees what they are."""
    if shop.server.is_distributed:
        choice = f"SET optimizer = {optimizer};"
    elif optimizer == "on":
        choice = ""
    else:
        pytest.skip("this server has one planner")
    lines = shop.query(
        f"{choice} SET plan_cache_mode = force_generic_plan; "
        f"PREPARE asked (text, double precision) AS SELECT * FROM {call}; "
        "EXPLAIN (VERBOSE) EXECUTE asked ('c0001', 60.5)",
        role="rita",
    )
    plan = "\n".join(line for (line,) in lines)
    assert "pix_internal.unnest" in plan
    assert "$" in plan
    assert "Function Call: pix." not in plan.replace("pix_internal.", "")


def test_all_functions_that_can_be_joined_are_inlined(shop):
    names = shop.query(
        "SELECT p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang "
        "WHERE p.pronamespace = 'pix'::regnamespace AND l.lanname = 'sql' AND p.proretset AND p.provolatile = 's'"
    )
    assert {name for (name,) in names} == {name.split(",")[0] for name in INLINED}
