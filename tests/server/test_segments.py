"""On a cluster: where rows lie, where networks run, what travels, and what misuse is told."""

import re
from collections import deque

import psycopg2
import pytest
from pixload.migrations.tables import metadata

OPTIMIZERS = pytest.mark.parametrize("optimizer", ["on", "off"])

MISUSE = [
    "SELECT pix.nearest(item_id) FROM pix.items",
    "SELECT n.* FROM pix.items i, LATERAL pix.nearest(i.item_id, 3) n",
    "SELECT (SELECT n.item_id FROM pix.nearest(i.item_id, 1) n) FROM pix.items i",
    "SELECT item_id FROM pix.items i WHERE EXISTS (SELECT FROM pix.nearest(i.item_id) n)",
    "SELECT pix.nearest_many(ARRAY[item_id]) FROM pix.items",
    "SELECT i.item_id, n.* FROM pix.images i, LATERAL pix.nearest_to_image(i.content) n",
    "SELECT pix.warm_up(model_name) FROM pix.features",
    "SELECT pix.warm_up(max(model_name || '')) FROM pix.features",
    "SELECT pix.doctor() FROM pix.items",
    "SELECT i.item_id, d.* FROM pix.items i, LATERAL pix.doctor() d",
    "SELECT pix.drop_model(model_name) FROM pix.features",
    "SELECT pix.classify_item(item_id, '{mini_inception}') FROM pix.items",
    "SELECT i.item_id, c.* FROM pix.items i, LATERAL pix.classify_item(i.item_id, '{mini_inception}') c",
    "SELECT i.item_id, c.* FROM pix.images i, LATERAL pix.classify(i.content, '{mini_inception}') c",
    "SELECT pix.classify_all('mini_inception') FROM pix.items",
    "SELECT pix.classify_all(max(model_name || '')) FROM pix.features",
    "SELECT pix.train_classifier('x', model_name) FROM pix.features",
    "SELECT pix.train_classifier('x', max(model_name || '')) FROM pix.features",
    "SELECT pix.quantize_model(model_name, 'x') FROM pix.features",
    "SELECT pix.drop_classifier(model_name) FROM pix.features",
    "SELECT pix.embed(content) FROM (SELECT content FROM pix.images ORDER BY item_id LIMIT 1) i",
]


def test_tables_are_laid_out_as_the_metadata_says(segments, db):
    stored = dict(
        db.query(
            """
            SELECT localoid::regclass::text, CASE policytype WHEN 'r' THEN '{}' ELSE ARRAY(
                SELECT attname::text FROM pg_attribute WHERE attrelid = localoid AND attnum = ANY (distkey)
            ) END FROM gp_distribution_policy WHERE localoid::regclass::text ~ '^pix(_internal)?\\.'
            """,
            role=None,
        )
    )
    stored.pop("pix.alembic_version")
    assert stored == {name: list(table.info["distributed_by"]) for name, table in metadata.tables.items()}


def test_every_table_is_laid_out():
    for table in metadata.tables.values():
        columns = table.info["distributed_by"]
        assert set(columns) <= {column.name for column in table.primary_key}, table.name


@OPTIMIZERS
def test_networks_run_on_every_segment(segments, loaded, optimizer):
    """A segment writes a feature where it computed it; the function's own word says where it ran."""
    loaded.query(
        "CREATE OR REPLACE FUNCTION public.where_it_ran(vector pix.feature_vector) RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN gp_execution_segment(); END $$",
        role=None,
    )
    connection = loaded.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    cursor.execute("CALL pix.extract_features(chunk_size => 25)")
    cursor.execute(
        "SELECT s, count(*) FROM (SELECT public.where_it_ran(pix.embed(content)) s FROM pix.images) t GROUP BY s"
    )
    ran = dict(cursor.fetchall())
    assert sorted(ran) == list(range(segments))
    assert sum(ran.values()) == 60
    cursor.execute("SELECT gp_segment_id, count(*) FROM pix.features GROUP BY 1")
    assert dict(cursor.fetchall()) == ran


def plans_of(db, optimizer: str, sql: str) -> list[str]:
    """The plans of a statement and of those within it, as the server logs them."""
    owner = psycopg2.connect(db.dsn())
    owner.autocommit = True
    try:
        with owner.cursor() as cursor:
            try:
                cursor.execute("LOAD 'auto_explain'")
            except psycopg2.Error:
                pytest.skip("this server has no auto_explain")
            cursor.execute("SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on")
            cursor.execute("SET auto_explain.log_verbose = on; SET client_min_messages = log")
            cursor.execute("SET optimizer = %s", (optimizer,))
            owner.notices = deque()  # of a list the driver would keep the last fifty
            cursor.execute(sql)
    finally:
        owner.close()
    return [notice for notice in owner.notices if "plan:" in notice]


def moved(plan: str) -> list[str]:
    """What each Motion of a plan carries."""
    return re.findall(r"Motion \d+:\d+ .*?\n\s*Output: (.*)", plan)


@OPTIMIZERS
@pytest.mark.parametrize(
    "sql",
    [
        "CALL pix.extract_features(chunk_size => 25)",
        "SELECT item_id, pix.embed(content) FROM pix.images",
        "SELECT i.item_id, pix.embed(i.content) FROM pix.images i JOIN pix.items USING (item_id)",
        "SELECT * FROM pix.nearest('{item_id}', 3)",
        "SELECT * FROM pix.nearest_many(ARRAY['{item_id}'], 3)",
        "SELECT * FROM pix.extraction_progress",
        "SELECT pix.doctor()",
    ],
)
def test_no_image_travels(segments, extracted, optimizer, sql):
    extracted.query("DELETE FROM pix.features WHERE random() < 0.5")
    item_id = extracted.value("SELECT min(item_id) FROM pix.features")
    plans = plans_of(extracted, optimizer, sql.format(item_id=item_id))
    assert any(moved(plan) for plan in plans)
    if "embed" in sql or "extract_features" in sql:
        assert any("embed" in plan for plan in plans)
    for plan in plans:
        for output in moved(plan):
            computed = re.sub(r"_?\w*embed\((?:[^()]|\([^()]*\))*\)", "", output)
            assert "content" not in computed, plan


def test_motions_are_read_from_plans():
    plan = "plan:\nGather Motion 3:1  (slice1; segments: 3)\n  Output: content, item_id\n  ->  Seq Scan\n"
    assert moved(plan) == ["content, item_id"]


@OPTIMIZERS
def test_vectors_are_classified_where_they_lie(segments, extracted, optimizer):
    plans = plans_of(extracted, optimizer, "SELECT pix.classify_all('mini_inception')")
    classifying = [plan for plan in plans if "_best_class" in plan]
    assert classifying
    for plan in classifying:
        assert all("vector" not in re.sub(r"COALESCE\(.*\)", "", output) for output in moved(plan)), plan
    extracted.query("SELECT pix.classify_all('mini_inception')")
    lying = "SELECT gp_segment_id, count(*) FROM pix.{} GROUP BY 1 ORDER BY 1"
    assert extracted.query(lying.format("predictions")) == extracted.query(lying.format("features"))


@OPTIMIZERS
def test_classes_can_be_joined_and_stored(segments, extracted, optimizer):
    item_id = extracted.value("SELECT min(item_id) FROM pix.features")
    expected = extracted.value("SELECT label FROM pix.classify_item(%s, '{mini_inception}', k => 1)", (item_id,))
    connection = extracted.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    cursor.execute(
        "SELECT c.label FROM pix.classify_item(%s, '{mini_inception}', k => 1) c JOIN pix.items i ON i.item_id = %s",
        (item_id, item_id),
    )
    assert cursor.fetchall() == [(expected,)]
    cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM pix.classify_item(%s, '{mini_inception}')", (item_id,))
    cursor.execute("SELECT label FROM kept WHERE rank = 1")
    assert cursor.fetchall() == [(expected,)]


@OPTIMIZERS
def test_look_alikes_can_be_joined_and_stored(segments, extracted, optimizer):
    item_id = extracted.value("SELECT min(item_id) FROM pix.features")
    expected = [row[1] for row in extracted.query("SELECT * FROM pix.nearest(%s, 5)", (item_id,))]
    connection = extracted.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    for sql in (
        "SELECT n.item_id FROM pix.nearest(%s, 5) n JOIN pix.items i USING (item_id) ORDER BY n.rank",
        "SELECT n.item_id FROM pix.images i RIGHT JOIN pix.nearest(%s, 5) n USING (item_id) ORDER BY n.rank",
        "WITH n AS (SELECT * FROM pix.nearest(%s, 5)) "
        "SELECT item_id FROM n JOIN pix.items USING (item_id) ORDER BY rank",
        "SELECT n.neighbor_id FROM pix.nearest_many(ARRAY[%s], 5) n JOIN pix.items i ON i.item_id = n.neighbor_id "
        "ORDER BY n.rank",
        "SELECT n.item_id FROM pix.nearest_to_image((SELECT content FROM pix.images WHERE item_id = %s), 6) n "
        "WHERE n.rank > 1 ORDER BY n.rank",
    ):
        cursor.execute(sql, (item_id,))
        assert [row[0] for row in cursor] == expected, sql
    cursor.execute("CREATE TEMP TABLE kept AS SELECT * FROM pix.nearest(%s, 5) DISTRIBUTED BY (item_id)", (item_id,))
    cursor.execute("INSERT INTO kept SELECT * FROM pix.nearest(%s, 5)", (item_id,))
    cursor.execute("SELECT count(*), count(DISTINCT item_id) FROM kept")
    assert cursor.fetchone() == (10, 5)


@OPTIMIZERS
def test_filtered_look_alikes_can_be_joined_and_stored(segments, extracted, optimizer):
    names = [item_id for (item_id,) in extracted.query("SELECT item_id FROM pix.items ORDER BY item_id")]
    connection = extracted.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    search = "pix.nearest(%s, 60, filter => pix.items_where(only_ids => {}))"
    expected = set(names[10:20])
    for sql in (
        f"SELECT n.item_id FROM {search.format('%s')} n JOIN pix.items i USING (item_id)",
        f"CREATE TEMP TABLE kept AS SELECT * FROM {search.format('%s')}; SELECT item_id FROM kept",
    ):
        cursor.execute(sql, (names[0], names[10:20]))
        assert {item_id for (item_id,) in cursor} == expected, sql
    # A query as the filter, of some items and of none; alone, as where the result is joined it has to be a value.
    query = "coalesce(ARRAY(SELECT item_id FROM pix.items WHERE item_id = ANY (%s)), '{{}}')"
    for passing in (names[10:20], ["nothing"]):
        cursor.execute(f"SELECT item_id FROM {search.format(query)}".replace("{{}}", "{}"), (names[0], passing))
        assert {item_id for (item_id,) in cursor} == set(passing) & set(names)


@OPTIMIZERS
@pytest.mark.parametrize("sql", MISUSE)
def test_misuse_is_an_error_and_nothing_worse(segments, extracted, optimizer, sql):
    """The session that erred goes on working, and no other is ended: the coordinator did not crash."""
    bystander = extracted.connect("rita")
    connection = extracted.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    with pytest.raises(psycopg2.Error) as caught:
        cursor.execute(sql)
    assert caught.value.pgcode in ("0A000", "PX060"), "that is another error, or the connection was lost"
    item_id = extracted.value("SELECT min(item_id) FROM pix.items")
    cursor.execute("SELECT count(*) FROM pix.nearest(%s, 3)", (item_id,))
    assert cursor.fetchone() == (3,)
    cursor.execute("SELECT pix.to_array('\\x00000000')")
    assert cursor.fetchone() == ([0.0],)
    bystander.cursor().execute("SELECT 1")
    assert extracted.value("SELECT count(*) FROM pix.features") == 60


@OPTIMIZERS
def test_many_items_from_a_query(segments, extracted, optimizer):
    """A subquery as the argument works alone; where the result is stored, the array has to be a value."""
    connection = extracted.connect()
    cursor = connection.cursor()
    cursor.execute("SET optimizer = %s", (optimizer,))
    cursor.execute("SELECT count(*) FROM pix.nearest_many(ARRAY(SELECT item_id FROM pix.items), 3)")
    assert cursor.fetchone() == (180,)
    for sql in (
        "CREATE TEMP TABLE kept AS SELECT * FROM pix.nearest_many(ARRAY(SELECT item_id FROM pix.items), 3)",
        "SELECT n.* FROM pix.nearest_many(ARRAY(SELECT item_id FROM pix.items), 3) n JOIN pix.items USING (item_id)",
    ):
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(sql)
        assert caught.value.pgcode == "PX060"
        assert "a value or variable" in caught.value.diag.message_hint
    cursor.execute(
        """
        DO $$
        DECLARE
            item_ids text[] := ARRAY(SELECT item_id FROM pix.items);
        BEGIN
            CREATE TEMP TABLE kept AS SELECT * FROM pix.nearest_many(item_ids, k => 3);
        END
        $$
        """
    )
    cursor.execute("SELECT count(*) FROM kept")
    assert cursor.fetchone() == (180,)


def test_chunks_are_planned_in_no_time(segments, loaded):
    """A thousand keys are not a matter of seconds: the planner plans them, not the other optimizer."""
    for optimizer in ("on", "off"):
        plans = plans_of(loaded, optimizer, "CALL pix.extract_features(retry_failed => true)")
        chunk = [plan for plan in plans if "pix.images" in plan and "ANY" in plan]
        assert chunk or optimizer == "off"
        for plan in chunk:
            assert "Optimizer: Postgres query optimizer" in plan


def test_misuse_on_a_segment_names_the_remedy(segments, extracted):
    with pytest.raises(psycopg2.Error) as caught:
        extracted.query("SELECT item_id FROM pix.items i WHERE EXISTS (SELECT FROM pix.nearest(i.item_id) n)")
    assert caught.value.pgcode == "PX060"
    assert "nearest_many" in caught.value.diag.message_hint
